"""Lane files: one short YAML file a lane, errors with file, line and column, all at once."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, Field

from lanekit.errors import InputError, did_you_mean
from lanekit.files.strict_yaml import FileProblem, InputProblems, KeyPath, Location, YamlDocument, read_yaml
from lanekit.files.validation import validate
from lanekit.spec.calibration import count_mixed
from lanekit.spec.lane_engine import PLAIN, LaneEngine
from lanekit.spec.numbers import PlainNumbers
from lanekit.spec.params import Parameters
from lanekit.spec.replicates import FIRST, MOST_REPLICATES, name_replicate, shorten_name
from lanekit.spec.stages import LANE_STAGES, STAGE_TYPES, StageType

LANE_NAME = re.compile(r"^[a-z0-9][a-z0-9_]{2,63}$")
LANE_KEYS = ("title", "group", "stages", "replicates", "engine")
RESERVED_NAMES = ("baseline",)
NAME_RULE = "use 3 to 64 of a-z, 0-9 and _, not _ first, and not 'baseline'"
LANE_SUFFIXES = (".yaml", ".yml", ".json", ".txt", "")
MAX_LANE_BYTES = 1 << 20
_HAS_STAGES = re.compile(rb"""^\s*["']?stages["']?\s*:""", re.MULTILINE)


@dataclass(frozen=True)
class LaneStage:
    """One stage that a lane asks for, with complete parameters and its place in the lane file."""

    type: StageType
    params: Parameters
    file: Path
    line: int
    column: int = 1
    places: Mapping[str, Location] = field(default_factory=dict)

    def locate(self, parameter: str = "") -> str:  # pragma: no mutate (any name that none has)
        """Return the place of a parameter, or of the stage where the lane file does not give it.

        The line 0 says that the stage comes from no file, but from the command that `file` names.
        """
        line, column = self.places.get(parameter, (self.line, self.column))
        return f"{self.file}:{line}:{column}" if line else str(self.file)


@dataclass(frozen=True)
class Lane:
    """A named chain of stages that starts from the base model.

    `replicates` says over how many draws it is run; `replicates_at` is where that is asked for, as
    `engine_at` is for the engine's arguments.
    """

    name: str
    title: str
    group: str
    stages: tuple[LaneStage, ...]
    replicates: int = FIRST
    replicates_at: str = ""
    engine: LaneEngine = PLAIN
    engine_at: str = ""

    @property
    def names(self) -> tuple[str, ...]:
        """The names of its replicates, its own first."""
        return tuple(name_replicate(self.name, number) for number in range(FIRST, self.replicates + 1))


class _LaneHeader(PlainNumbers):
    model_config = ConfigDict(extra="forbid")

    title: str
    group: str
    replicates: int = Field(default=FIRST, ge=FIRST, le=MOST_REPLICATES)


def find_lane_files(folder: Path) -> list[Path]:
    """Return every `lane*.yaml` of a folder, in the order of their names."""
    return sorted(folder.glob("lane*.yaml"))


def read_lanes(folder: Path, defaults: dict[str, dict[str, Any]]) -> tuple[list[Lane], list[FileProblem]]:
    """Read every `lane*.yaml` of a folder, in the order of their names; what cannot be read is a problem.

    Args:
        defaults: for each stage name, the parameters that all lanes share; a lane's own win.

    Raises:
        InputError: the folder has no lane file.
    """
    paths = find_lane_files(folder)
    if not paths:
        raise InputError(f"{folder}: no lane*.yaml files", remedy="pass the folder of lane files")
    lanes: list[Lane] = []
    problems: list[FileProblem] = []
    for path in paths:
        try:
            lanes.append(load_lane(path, defaults))
        except InputProblems as error:
            problems.extend(error.problems)
    return lanes, problems


def load_lane(path: Path, defaults: dict[str, dict[str, Any]]) -> Lane:
    """Load one lane file; see `read_lanes`."""
    document = read_yaml(path)
    problems: list[FileProblem] = []
    if not LANE_NAME.match(path.stem) or path.stem in RESERVED_NAMES:
        problems.append(FileProblem(path, 1, 1, f"'{path.stem}' cannot name a lane: {NAME_RULE}"))
    if not isinstance(document.data, dict):
        raise InputProblems([document.problem((), "a lane file is a mapping with title, group, stages")])
    header = {k: v for k, v in document.data.items() if k not in ("stages", "engine")}
    found, faults = validate(_LaneHeader, header, document, (), allowed=LANE_KEYS)
    engine, engine_faults = validate(LaneEngine, document.data.get("engine", {}), document, ("engine",))
    problems += [*faults, *engine_faults]
    stages = _read_stages(document, defaults, problems)
    if problems or found is None or engine is None:
        raise InputProblems(problems)
    places = {name: _locate(document, name) for name in ("replicates", "engine") if name in document.data}
    return Lane(
        path.stem, found.title, found.group, tuple(stages), found.replicates, places.get("replicates", ""),
        engine, places.get("engine", ""),
    )  # fmt: skip


def _locate(document: YamlDocument, key: str) -> str:
    line, column = document.locate((key,))
    return f"{document.path}:{line}:{column}"


def find_passed_over(folder: Path) -> list[Path]:
    """Return the files of a folder that hold a lane and are not read for their names' sake.

    `lane13.yml` or `Lane13.yaml`, say; a file holds a lane where it has stages.
    """
    return [
        path
        for path in sorted(folder.iterdir())
        if path.is_file()
        and path.suffix.lower() in LANE_SUFFIXES
        and not path.match("lane*.yaml")
        and not path.name.startswith(".")
        and path.stat().st_size <= MAX_LANE_BYTES
        and _HAS_STAGES.search(path.read_bytes())
    ]


def parse_names(text: str | None) -> list[str]:
    """Return the names of an option such as `--only A,B`; none where the option is not given.

    Raises:
        InputError: the option is given and names nothing.
    """
    names = [name.strip() for name in (text or "").split(",") if name.strip()]
    if text is not None and not names:
        raise InputError(
            f"--only '{text}' names no lane", remedy="name lanes, e.g. lane01,lane04; or leave --only out"
        )
    return names


def match_names(known: Sequence[str], wanted: Iterable[str]) -> list[str]:
    """Return the lanes that are wanted, each once: named in full or by their number part ("lane04").

    Raises:
        InputError: an unknown name, with the closest known one.
    """
    chosen: list[str] = []
    for name in wanted:
        found = [lane for lane in known if name in (lane, shorten_name(lane))]
        if not found:
            raise InputError(
                f"unknown lane '{name}'{_find_closest(name, known)}",
                remedy="known lanes: " + ", ".join(known),
            )
        chosen += [lane for lane in found if lane not in chosen]
    return chosen


def select_lanes(lanes: list[Lane], only: list[str], max_lanes: int | None = None) -> list[Lane]:
    """Return the lanes named in `only` (all where empty; see `match_names`), at most `max_lanes`.

    Raises:
        InputError: an unknown name, with the closest known one.
    """
    by_name = {lane.name: lane for lane in lanes}
    chosen = [by_name[name] for name in match_names(list(by_name), only)] if only else list(lanes)
    if max_lanes is not None and max_lanes < 1:
        raise InputError(
            f"--max-lanes must be at least 1, not {max_lanes}",
            remedy="give a number from 1 on, or leave it out",
        )
    return chosen[:max_lanes]


def replicate_lanes(lanes: Iterable[Lane], count: int | None, option: str = "--replicates") -> list[Lane]:
    """Return the lanes with so many replicates each; as their files say where `count` is None.

    Raises:
        InputError: the number is out of range.
    """
    if count is None:
        return list(lanes)
    if not FIRST <= count <= MOST_REPLICATES:
        raise InputError(
            f"{option} must be from {FIRST} to {MOST_REPLICATES}, not {count}",
            remedy="3 to 5 show the spread between draws; leave it out for what the lane files say",
        )
    return [replace(lane, replicates=count, replicates_at=option) for lane in lanes]


def _find_closest(wanted: str, known: Sequence[str]) -> str:
    """Return the hint at the closest lane: the one of the same number before the one spelt alike."""
    number = re.search(r"\d+", wanted)
    same = [
        lane
        for lane in known
        if number and (own := re.search(r"\d+", shorten_name(lane))) and int(own[0]) == int(number[0])
    ]
    if same and "_" not in wanted:
        return f" (did you mean '{same[0]}'?)"
    return did_you_mean(wanted, known)


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
        shared = dict(defaults.get(name, {}))
        if count_mixed(own) is not None:  # the lane's own mix says how many rows
            shared.pop("calibration_rows", None)
        merged = {**shared, **(own or {})}
        params, found = validate(stage_type.params, merged, document, place)
        problems += found
        if params is not None:
            places = {key: document.locate((*place, key)) for key in own or {}}
            stages.append(LaneStage(stage_type, params, document.path, *document.locate(place), places))
    return stages
