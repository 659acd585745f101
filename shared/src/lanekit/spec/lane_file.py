"""Lane files: one short YAML file a lane, errors with file, line and column, all at once."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from lanekit.errors import InputError, did_you_mean
from lanekit.files.strict_yaml import FileProblem, InputProblems, KeyPath, YamlDocument, read_yaml
from lanekit.files.validation import validate
from lanekit.spec.params import Parameters
from lanekit.spec.stages import LANE_STAGES, STAGE_TYPES, StageType

LANE_NAME = re.compile(r"^[a-z0-9][a-z0-9_]{2,63}$")
LANE_KEYS = ("title", "group", "stages")
RESERVED_NAMES = ("baseline",)


@dataclass(frozen=True)
class LaneStage:
    """One stage that a lane asks for, with complete parameters and its place in the lane file."""

    type: StageType
    params: Parameters
    file: Path
    line: int


@dataclass(frozen=True)
class Lane:
    """A named chain of stages that starts from the base model."""

    name: str
    title: str
    group: str
    stages: tuple[LaneStage, ...]


class _LaneHeader(BaseModel):
    model_config = ConfigDict(extra="forbid")

    title: str
    group: str


def load_lanes(folder: Path, defaults: dict[str, dict[str, Any]]) -> list[Lane]:
    """Load every `lane*.yaml` of a folder, in the order of their names.

    Args:
        defaults: for each stage name, the parameters that all lanes share; a lane's own win.

    Raises:
        InputProblems: every problem of every file.
    """
    paths = sorted(folder.glob("lane*.yaml"))
    if not paths:
        raise InputError(f"{folder}: no lane*.yaml files", remedy="pass the folder of lane files")
    lanes: list[Lane] = []
    problems: list[FileProblem] = []
    for path in paths:
        try:
            lanes.append(load_lane(path, defaults))
        except InputProblems as error:
            problems.extend(error.problems)
    if problems:
        raise InputProblems(problems)
    return lanes


def load_lane(path: Path, defaults: dict[str, dict[str, Any]]) -> Lane:
    """Load one lane file; see `load_lanes`."""
    document = read_yaml(path)
    problems: list[FileProblem] = []
    if not LANE_NAME.match(path.stem) or path.stem in RESERVED_NAMES:
        problems.append(
            FileProblem(path, 1, 1, f"'{path.stem}' cannot name a lane: use a-z, 0-9 and _ alone")
        )
    if not isinstance(document.data, dict):
        raise InputProblems([document.problem((), "a lane file is a mapping with title, group, stages")])
    header = {k: v for k, v in document.data.items() if k != "stages"}
    problems += validate(_LaneHeader, header, document, (), allowed=LANE_KEYS)[1]
    stages = _read_stages(document, defaults, problems)
    if problems:
        raise InputProblems(problems)
    return Lane(path.stem, document.data["title"], document.data["group"], tuple(stages))


def select_lanes(lanes: list[Lane], only: list[str], max_lanes: int | None = None) -> list[Lane]:
    """Return the lanes named in `only` (all where empty), at most `max_lanes`.

    A lane may be named in full or by its number part ("lane04").

    Raises:
        InputError: an unknown name, with the closest known one.
    """
    chosen: list[Lane] = []
    for wanted in only:
        found = [x for x in lanes if x.name == wanted or x.name.split("_")[0] == wanted]
        if not found:
            hint = did_you_mean(wanted, [x.name for x in lanes])
            raise InputError(
                f"unknown lane '{wanted}'{hint}",
                remedy="known lanes: " + ", ".join(x.name for x in lanes),
            )
        chosen += [x for x in found if x not in chosen]
    chosen = chosen if only else list(lanes)
    if max_lanes is not None and max_lanes < 1:
        raise InputError(f"--max-lanes must be at least 1, not {max_lanes}")
    return chosen[:max_lanes]


def _read_stages(
    document: YamlDocument, defaults: dict[str, dict[str, Any]], problems: list[FileProblem]
) -> list[LaneStage]:
    items = document.data.get("stages")
    if not isinstance(items, list) or not items:
        problems.append(document.problem(("stages",), "'stages' must be a list of at least one stage"))
        return []
    stages: list[LaneStage] = []
    form = "dense"
    for index, item in enumerate(items):
        place: KeyPath = ("stages", index)
        if isinstance(item, str):
            item = {item: None}
        if not isinstance(item, dict) or len(item) != 1:
            problems.append(document.problem(place, "a stage is one name with its parameters"))
            continue
        name, own = next(iter(item.items()))
        place = (*place, name)
        if name not in LANE_STAGES:
            hint = did_you_mean(name, LANE_STAGES)
            allowed = ", ".join(LANE_STAGES)
            problems.append(document.problem(place, f"unknown stage '{name}'{hint}; allowed: {allowed}"))
            continue
        if own is not None and not isinstance(own, dict):
            problems.append(document.problem(place, f"the parameters of '{name}' must be a mapping"))
            continue
        stage_type = STAGE_TYPES[name]
        if form not in stage_type.takes:
            problems.append(
                document.problem(
                    place, f"'{name}' needs an unquantized model, but an earlier stage quantizes it"
                )
            )
        form = stage_type.gives or form
        merged = {**defaults.get(name, {}), **(own or {})}
        params, found = validate(stage_type.params, merged, document, place)
        problems += found
        if params is not None:
            stages.append(LaneStage(stage_type, params, document.path, document.locate(place)[0]))
    return stages
