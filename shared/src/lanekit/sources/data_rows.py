"""Rows of a local data set, a JSONL or Parquet file or a folder of them: one reader, of stages and preflight.

A row that cannot be read stands as its fault: whoever reads decides whether it may be left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from lanekit.errors import InputError, did_you_mean
from lanekit.files.data_files import DataFiles, list_data_files
from lanekit.files.json_lines import RowFault, iterate_lines, parse_json_line
from lanekit.files.parquet import Row, count_parquet_rows, is_parquet, list_parquet_columns, read_parquet
from lanekit.spec.benchmark import REQUIRED_COLUMNS
from lanekit.spec.params import Source


def choose_files(source: Source) -> DataFiles:
    """Return the files of a local source.

    Raises:
        InputError: see `list_data_files`.
    """
    return list_data_files(Path(source.source).expanduser(), source.split)


def iterate_local_rows(source: Source, name: str) -> Iterator[tuple[str, Row | RowFault]]:
    """Yield each row of the data set `name` with its place, "file:line" or "file: row 3".

    Raises:
        InputError: no such source, unreadable content, a table without a column.
    """
    for path in choose_files(source).files:
        yield from read_file(path, name)


def read_file(path: Path, name: str, wanted: list[int] | None = None) -> Iterator[tuple[str, Row | RowFault]]:
    """Yield a file's rows with their places; with `wanted` those at these positions, from 0, in order.

    Raises:
        InputError: see `iterate_local_rows`.
    """
    if is_parquet(path):
        check_columns(list_parquet_columns(path), name, str(path))
        for number, row in read_parquet(path, wanted):
            yield f"{path}: row {number}", row
        return
    for number, line in iterate_lines(path, None if wanted is None else set(wanted)):
        parsed = parse_json_line(line)
        if not isinstance(parsed, RowFault):
            parsed = find_missing_columns(parsed, name) or parsed
        yield f"{path}:{number}", parsed


def count_rows(path: Path) -> int:
    """Return how many rows a file has: lines that are not empty, or what Parquet's metadata says.

    Raises:
        InputError: it is one JSON value over several lines, or not a readable Parquet file.
    """
    return count_parquet_rows(path) if is_parquet(path) else sum(1 for _ in iterate_lines(path))


def check_columns(columns: Iterable[str], name: str, where: str) -> None:
    """Refuse a table without the columns that the data set's schema has.

    Raises:
        InputError: names the missing columns and the likely ones.
    """
    fault = find_missing_columns(columns, name)
    if fault:
        raise fault.as_error(where)


def find_missing_columns(columns: Iterable[str], name: str) -> RowFault | None:
    """Return the fault of a row or a table that lacks columns of the data set's schema."""
    present = list(columns)
    missing = [c for c in REQUIRED_COLUMNS[name] if c not in present]
    if not missing:
        return None
    return RowFault(
        f"the column {', '.join(repr(c) for c in missing)} is missing",
        f"'{name}' needs {', '.join(REQUIRED_COLUMNS[name])}; found {', '.join(present) or 'none'}; where "
        "this file is no data, give the data file itself as the source",
        "".join(did_you_mean(c, present) for c in missing),
    )


def explain_no_rows(source: Source, name: str) -> InputError:
    """Return the error for a data set that is empty."""
    return InputError(
        f"{source.source}: the data set '{name}' has no rows",
        remedy=f"give a source with rows as data.{name} in the experiment file",
    )
