"""Rows of Parquet files, a piece at a time; whatever is wrong with a file is said with its name.

pyarrow is not everywhere: ask `can_read` first where that is no fault.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from lanekit.errors import InputError
from lanekit.files.json_lines import RowFault

Row = dict[str, Any]

SUFFIX = ".parquet"
BATCH_ROWS = 256  # whoever wants the first rows alone does not wait for a whole row group


def is_parquet(path: Path) -> bool:
    """Whether a file is read as Parquet."""
    return path.suffix.lower() == SUFFIX


def can_read(path: Path) -> bool:
    """Whether a file is no Parquet file, or the library for it is here."""
    return not is_parquet(path) or find_spec("pyarrow") is not None


def count_parquet_rows(path: Path) -> int:
    """Return the rows that the file's own metadata tells of.

    Raises:
        InputError: it is not a readable Parquet file.
    """
    return int(_open(path).metadata.num_rows)


def list_parquet_columns(path: Path) -> list[str]:
    """Return the names of a file's columns.

    Raises:
        InputError: it is not a readable Parquet file.
    """
    return list(_open(path).schema_arrow.names)


def read_parquet(path: Path, wanted: list[int] | None = None) -> Iterator[tuple[int, Row | RowFault]]:
    """Yield each row's number, from 1, and values; with `wanted` those at these places, from 0, in order.

    Raises:
        InputError: it is not a readable Parquet file.
    """
    import pyarrow as pa

    file = _open(path)
    try:
        yield from _read_all(file) if wanted is None else _read_some(file, wanted)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise _explain(path, error) from error


def _read_all(file: Any) -> Iterator[tuple[int, Row | RowFault]]:
    number = 0
    for batch in file.iter_batches(batch_size=BATCH_ROWS):
        for row in _as_rows(batch):
            number += 1
            yield number, row


def _read_some(file: Any, wanted: list[int]) -> Iterator[tuple[int, Row | RowFault]]:
    offset = 0
    for group in range(file.num_row_groups):
        count = file.metadata.row_group(group).num_rows
        inside = [place - offset for place in wanted if offset <= place < offset + count]
        if inside:
            rows = _as_rows(file.read_row_group(group).take(inside))
            for place, row in zip(inside, rows, strict=True):
                yield offset + place + 1, row
        offset += count


def _as_rows(table: Any) -> list[Row | RowFault]:
    """Return a table's rows; where some cannot be had as values of Python, these as their faults."""
    try:
        return [dict(row) for row in table.to_pylist()]
    except (ValueError, OverflowError):  # text that is no UTF-8, a time beyond year 9999
        return [_as_row(table.slice(index, 1)) for index in range(table.num_rows)]


def _as_row(one: Any) -> Row | RowFault:
    try:
        return dict(one.to_pylist()[0])
    except (ValueError, OverflowError) as error:
        return RowFault("a value cannot be read", "write the file again with text as UTF-8", f": {error}")


def _open(path: Path) -> Any:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(path)
        _ = file.schema_arrow  # made when it is asked for: a damaged one fails here
    except (pa.ArrowException, OSError, ValueError) as error:
        raise _explain(path, error) from error
    return file


def _explain(path: Path, error: Exception) -> InputError:
    return InputError(f"{path}: not a readable Parquet file: {error}", remedy="fetch or write the file again")
