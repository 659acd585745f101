"""Numbers in files that people write: a boolean is none, and a seed has a range."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, get_args

from pydantic import BaseModel, Field, ValidationInfo, field_validator

SEED_HIGHEST = 2**32 - 1  # numpy's limit, and so that of every library that seeds it

Seed = Annotated[int, Field(ge=0, le=SEED_HIGHEST)]


class PlacedError(ValueError):
    """A fault of the value at `place`, keys and positions from the validated object on."""

    def __init__(self, message: str, *place: str | int) -> None:
        super().__init__(message)
        self.place = place


class PlainNumbers(BaseModel):
    """Refuses `yes` and `true` where a number is wanted: pydantic would take them for 1."""

    @field_validator("*", mode="before")
    @classmethod
    def refuse_booleans(cls, value: Any, info: ValidationInfo) -> Any:
        """Refuse a boolean, alone or in a list or mapping, of a field that takes none."""
        kinds = set(_list_kinds(cls.model_fields[str(info.field_name)].annotation))
        if kinds & {int, float} and not kinds & {bool, Any, object}:
            for place, item in _walk(value):
                if isinstance(item, bool):
                    raise PlacedError(f"a number is wanted, not {_name(item)}", *place)
        return value


def _list_kinds(annotation: Any) -> Iterator[Any]:
    inner = get_args(annotation)
    if not inner:
        yield annotation
    for part in inner:
        yield from _list_kinds(part)


def _walk(value: Any, place: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], Any]]:
    yield place, value
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in pairs:
        yield from _walk(inner, (*place, key))


def _name(value: bool) -> str:
    return "true (YAML reads yes and on so, too)" if value else "false (YAML reads no and off so, too)"
