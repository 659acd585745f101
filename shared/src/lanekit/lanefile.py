"""Lane files: one short YAML file a lane, errors with file, line and column, all at once."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

from lanekit.errors import InputError, did_you_mean
from lanekit.params import Parameters
from lanekit.specs import LANE_STAGES, STAGE_TYPES, StageType
from lanekit.yamlfile import InputProblems, KeyPath, Problem, YamlDocument, read_yaml

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
    problems: list[Problem] = []
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
    problems: list[Problem] = []
    if not LANE_NAME.match(path.stem) or path.stem in RESERVED_NAMES:
        problems.append(Problem(path, 1, 1, f"'{path.stem}' cannot name a lane: use a-z, 0-9 and _ alone"))
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
    document: YamlDocument, defaults: dict[str, dict[str, Any]], problems: list[Problem]
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


def validate(
    model: type[Any],
    data: Any,
    document: YamlDocument,
    place: KeyPath,
    allowed: tuple[str, ...] | None = None,
) -> tuple[Any | None, list[Problem]]:
    """Build `model` from `data`; turn what pydantic finds into problems that point into the file."""
    try:
        return model.model_validate(data), []
    except ValidationError as error:
        return None, [
            document.problem(
                (*place, *detail["loc"], *_read_place(detail)), describe_error(model, detail, allowed)
            )
            for detail in error.errors()
        ]


def _read_place(detail: ErrorDetails) -> KeyPath:
    """Return where within the value a model's own check found the fault (see benchmarks.PlacedError)."""
    return tuple(getattr(detail.get("ctx", {}).get("error"), "place", ()))


_NEVER_SHOWN = ("api_key_env",)  # whoever errs here has written the key itself


def describe_error(model: type[Any], detail: ErrorDetails, allowed: tuple[str, ...] | None = None) -> str:
    """Return one of pydantic's findings in our words, with the allowed values and the closest one."""
    location = detail["loc"]
    name = ".".join(str(part) for part in location)
    kind = detail["type"]
    if kind == "extra_forbidden":
        names = allowed or _field_names(model, location[:-1])
        hint = did_you_mean(str(location[-1]), names)
        return f"unknown name '{location[-1]}'{hint}; allowed: {', '.join(names)}"
    if kind == "missing":
        return f"'{name}' is missing"
    if kind == "literal_error":
        choices = _literal_choices(model, location)
        hint = did_you_mean(str(detail["input"]), choices)
        return f"{name}: unknown value '{detail['input']}'{hint}; allowed: {', '.join(choices)}"
    if kind == "value_error":  # of our own validators, which name the value where it matters
        return ": ".join(filter(None, (name, detail["msg"].removeprefix("Value error, "))))
    if not name or location[-1] in _NEVER_SHOWN:
        return f"{name}: {detail['msg']}" if name else detail["msg"]
    return f"{name}: {detail['msg']}, not {detail['input']!r}"


def _inner_model(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for inner in get_args(annotation) if get_origin(annotation) else ():
        found = _inner_model(inner)
        if found:
            return found
    return None


def _model_at(model: type[Any], location: tuple[int | str, ...]) -> type[Any]:
    for part in location:
        field = model.model_fields.get(part) if isinstance(part, str) else None
        inner = _inner_model(field.annotation) if field else None
        model = inner or model
    return model


def _field_names(model: type[Any], location: tuple[int | str, ...]) -> tuple[str, ...]:
    return tuple(_model_at(model, location).model_fields)


def _literal_choices(model: type[Any], location: tuple[int | str, ...]) -> tuple[str, ...]:
    owner = _model_at(model, location[:-1])
    field = owner.model_fields.get(str(location[-1]))
    return tuple(str(c) for c in get_args(field.annotation)) if field else ()
