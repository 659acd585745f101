"""Files of one JSON object a line: the one reader, with a reason and a remedy for each line that is none."""

from __future__ import annotations

import json
from collections.abc import Iterator, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lanekit.errors import InputError

_CONVERT = (
    'python -c "import json; [print(json.dumps(row, ensure_ascii=False)) for row in '
    "json.load(open('{name}', encoding='utf-8'))]\" > {stem}.jsonl"
)


@dataclass(frozen=True)
class RowFault:
    """Why a row cannot be used.

    Attributes:
        reason: by which rows are counted, without what is this row's alone.
        remedy: what to do, most of all where many rows have it.
        detail: what is this row's alone.
    """

    reason: str
    remedy: str
    detail: str = ""

    def as_error(self, where: str) -> InputError:
        """Return the error for a row that may not be left out; `where` is its place."""
        return InputError(f"{where}: {self.reason}{self.detail}", remedy=self.remedy)


def read_json_lines(path: Path, wanted: Set[int] | None = None) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield each line's number, from 1, and object; see `iterate_lines` for `wanted`.

    Raises:
        InputError: a line is no JSON object (see `parse_json_line`); names file and line.
    """
    for number, line in iterate_lines(path, wanted):
        row = parse_json_line(line)
        if isinstance(row, RowFault):
            raise row.as_error(f"{path}:{number}")
        yield number, row


def iterate_lines(path: Path, wanted: Set[int] | None = None) -> Iterator[tuple[int, bytes]]:
    """Yield each line's number, from 1, and bytes; with `wanted` those at these places, from 0, alone.

    Empty lines have no place.

    Raises:
        InputError: the file is one JSON value over several lines.
    """
    place = -1
    with path.open("rb") as stream:
        for number, line in enumerate(stream, start=1):
            if not line.strip():
                continue
            place += 1
            if place == 0:
                _refuse_whole_value(path, number, line)
            if wanted is None or place in wanted:
                yield number, line


def parse_json_line(line: bytes) -> dict[str, Any] | RowFault:
    """Return the object of one line, or why there is none that can be used and written again."""
    try:
        row = json.loads(line.decode("utf-8-sig"))
        if b"\\ud" in line.lower():
            json.dumps(row, ensure_ascii=False).encode()
    except UnicodeDecodeError as error:
        detail = f": byte {error.start + 1} of the line is 0x{error.object[error.start]:02x}"
        return RowFault("not UTF-8", "save the file as UTF-8, e.g. iconv -f cp949 -t utf-8", detail)
    except UnicodeEncodeError as error:
        detail = f" ({error.object[error.start]!r})"
        return RowFault("holds half a character", "write this text anew: a character was cut in two", detail)
    except json.JSONDecodeError as error:
        detail = f": {error.msg} (column {error.colno})"
        return RowFault("not valid JSON", "write one JSON object on each line", detail)
    except ValueError as error:  # an integer of more digits than Python reads
        return RowFault("holds a number that cannot be read", "correct the number", f": {error}")
    except RecursionError:
        return RowFault("nested too deeply", "write one flat JSON object on each line")
    if not isinstance(row, dict):
        return RowFault("not a JSON object", "write one JSON object on each line")
    return row


def _refuse_whole_value(path: Path, number: int, line: bytes) -> None:
    """Refuse a file that is valid JSON, but an array, or one object over several lines."""
    text = line.removeprefix(b"\xef\xbb\xbf").strip()
    if text.startswith(b"["):
        raise InputError(
            f"{path}:{number}: a JSON array, where one JSON object on each line is needed",
            remedy="convert it: " + _CONVERT.format(name=path.name, stem=path.stem),
        )
    if text == b"{":
        raise InputError(
            f"{path}:{number}: one JSON object over several lines, where one object on each line is needed",
            remedy="write each row as one line; where this is no data, give the data file itself",
        )
