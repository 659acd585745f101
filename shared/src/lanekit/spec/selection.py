"""Which lanes an experiment runs, and the most calibration rows it gives them. Pure.

Every lane file beside an experiment is one of its lanes; `lanes` of the experiment file names those that run
where a command names none.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from lanekit.errors import InputError
from lanekit.files.strict_yaml import FileProblem, YamlDocument
from lanekit.spec.lane_file import Lane, LaneStage, match_names

SELECTION = "lanes"
ROWS = "calibration_rows"


def resolve_selection(
    named: Sequence[str] | None, known: Sequence[str], document: YamlDocument
) -> tuple[tuple[str, ...] | None, list[FileProblem]]:
    """Return the lanes that an experiment names, in full and in the order of `known`; and what is wrong.

    Args:
        named: names in full or number parts ("lane04"), as `match_names` takes them; None: every lane.
        known: the names of the lane files, also of those that cannot be read.
        document: the experiment file, for the places.
    """
    if named is None:
        return None, []
    if not named:
        message = f"'{SELECTION}' names no lane: name some, or leave it out for all"
        return (), [document.problem((SELECTION,), message)]
    problems: list[FileProblem] = []
    first: dict[str, str] = {}
    for index, name in enumerate(named):
        try:
            found = match_names(known, [name])
        except InputError as error:
            problems.append(document.problem((SELECTION, index), f"{error.message}; {error.remedy}"))
            continue
        for lane in found:
            if lane in first:
                message = f"'{name}' names {lane} a second time (first as '{first[lane]}'): take it out"
                problems.append(document.problem((SELECTION, index), message))
            first.setdefault(lane, name)
    return tuple(lane for lane in known if lane in first), problems


def keep_selected(lanes: Iterable[Lane], selected: Sequence[str] | None) -> list[Lane]:
    """Return the lanes that run where none is named."""
    return [lane for lane in lanes if selected is None or lane.name in selected]


def limit_calibration(lanes: Iterable[Lane], most: int | None) -> list[Lane]:
    """Return the lanes with no stage asking for more calibration rows than `most`; None: as they ask."""
    return [replace(lane, stages=tuple(_limit_stage(stage, most) for stage in lane.stages)) for lane in lanes]


def _limit_stage(stage: LaneStage, most: int | None) -> LaneStage:
    asked = getattr(stage.params, ROWS, None)
    if most is None or asked is None or asked <= most:
        return stage
    return replace(stage, params=stage.params.model_copy(update={ROWS: most}))
