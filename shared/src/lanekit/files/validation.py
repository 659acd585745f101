"""What pydantic finds in a file's data, in our words and with its place."""

from __future__ import annotations

from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from lanekit.errors import did_you_mean
from lanekit.files.strict_yaml import FileProblem, KeyPath, YamlDocument


def validate(
    model: type[Any],
    data: Any,
    document: YamlDocument,
    place: KeyPath,
    allowed: tuple[str, ...] | None = None,
) -> tuple[Any | None, list[FileProblem]]:
    """Build `model` from `data`; turn what pydantic finds into problems that point into the file."""
    try:
        return model.model_validate(data), []
    except ValidationError as error:
        return None, [
            document.problem(
                (*place, *detail["loc"], *_read_place(detail)),
                describe_error(model, detail, allowed),
                "missing" if detail["type"] == "missing" else "other",
            )
            for detail in error.errors()
        ]


def _read_place(detail: ErrorDetails) -> KeyPath:
    """Return where within the value a model's own check found the fault (see spec.numbers.PlacedError)."""
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
    return tuple(map(str, _list_literals(field.annotation))) if field else ()


def _list_literals(annotation: Any) -> list[Any]:
    """Return the values of a Literal, also of one that may be left out (`Literal[…] | None`)."""
    parts = get_args(annotation)
    if get_origin(annotation) is Literal:
        return list(parts)
    return [value for part in parts for value in _list_literals(part)]
