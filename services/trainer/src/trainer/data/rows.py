"""Reading rows of a data set: a local JSONL or Parquet file, a folder of them, or a hub data set.

A row's number counts from 1 over the whole source; in a single JSONL file without empty lines it is the line.
A row that cannot be read stands as its fault: whoever reads decides whether it may be left out.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lanekit.errors import InputError, did_you_mean
from lanekit.files.data_files import DataFiles, list_data_files
from lanekit.files.json_lines import RowFault, iterate_lines, parse_json_line
from lanekit.spec.benchmark import REQUIRED_COLUMNS
from lanekit.spec.experiment_file import is_local
from lanekit.spec.params import Source
from trainer.data.hub_rows import fetch_dataset

Row = dict[str, Any]


@dataclass(frozen=True)
class Sample:
    """Rows in random order with their numbers, how many rows the source has, and notes on its files."""

    numbers: list[int]
    rows: list[Row | RowFault]
    n_source: int
    notes: list[str] = field(default_factory=list)


def choose_files(source: Source) -> DataFiles:
    """Return the files of a local source; none for a hub data set.

    Raises:
        InputError: see `list_data_files`.
    """
    return list_data_files(Path(source.source), source.split) if is_local(source.source) else DataFiles([])


def iterate_rows(source: Source, name: str) -> Iterator[tuple[str, Row | RowFault]]:
    """Yield each row of the data set `name` with its place, "file:line" or "source: row 3".

    Raises:
        InputError: no such source, unreadable content, a table without a column, another number of rows than
            `source.rows`; names file and remedy.
        TransientError: the hub could not be reached.
    """
    count = 0
    if not is_local(source.source):
        dataset = fetch_dataset(source)
        check_columns(dataset.column_names, name, source.source)
        for count, row in enumerate(dataset, start=1):
            yield f"{source.source}: row {count}", dict(row)
    else:
        for path in choose_files(source).files:
            for where, row in _read_file(path, name, None):
                count += 1
                yield where, row
        if source.rows is not None and count != source.rows:
            raise InputError(
                f"{source.source}: {count} rows, {source.rows} are expected",
                remedy="correct 'rows' in the experiment file, or leave it out for a local source",
            )
    if not count:
        raise _has_no_rows(source, name)


def sample_rows(source: Source, name: str, limit: int, seed: int) -> Sample:
    """Return a seeded sample of `limit` rows, or of all where there are fewer.

    Only the sample is held: a local file is read twice, first to count.

    Raises:
        InputError: as `iterate_rows` does; lines outside the sample are counted, not read.
        TransientError: the hub could not be reached.
    """
    if not is_local(source.source):
        dataset = fetch_dataset(source)
        check_columns(dataset.column_names, name, source.source)
        total = len(dataset)
        chosen = random.Random(seed).sample(range(total), min(limit, total))
        return Sample([i + 1 for i in chosen], [dict(row) for row in dataset.select(chosen)], total)
    choice = choose_files(source)
    counts = [_count_rows(path) for path in choice.files]
    total = sum(counts)
    if not total:
        raise _has_no_rows(source, name)
    chosen = random.Random(seed).sample(range(total), min(limit, total))
    wanted, found, offset = set(chosen), {}, 0
    for path, count in zip(choice.files, counts, strict=True):
        inside = sorted(i - offset for i in wanted if offset <= i < offset + count)
        for index, (_, row) in zip(inside, _read_file(path, name, inside), strict=True):
            found[offset + index] = row
        offset += count
    return Sample([i + 1 for i in chosen], [found[i] for i in chosen], total, choice.describe(name))


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


def _has_no_rows(source: Source, name: str) -> InputError:
    return InputError(
        f"{source.source}: the data set '{name}' has no rows",
        remedy=f"give a source with rows as data.{name} in the experiment file",
    )


def _count_rows(path: Path) -> int:
    if path.suffix.lower() == ".parquet":
        return int(_open_parquet(path).metadata.num_rows)
    return sum(1 for _ in iterate_lines(path))


def _read_file(path: Path, name: str, wanted: list[int] | None) -> Iterator[tuple[str, Row | RowFault]]:
    """Yield the rows at the places `wanted`, in order, or all of them."""
    if path.suffix.lower() == ".parquet":
        yield from _read_parquet(path, name, wanted)
        return
    for number, line in iterate_lines(path, None if wanted is None else set(wanted)):
        row = parse_json_line(line)
        if not isinstance(row, RowFault):
            row = find_missing_columns(row, name) or row
        yield f"{path}:{number}", row


def _read_parquet(path: Path, name: str, wanted: list[int] | None) -> Iterator[tuple[str, Row | RowFault]]:
    import pyarrow as pa

    file = _open_parquet(path)
    check_columns(file.schema_arrow.names, name, str(path))
    offset = 0
    try:
        for group in range(file.num_row_groups):
            count = file.metadata.row_group(group).num_rows
            inside = list(range(count))
            if wanted is not None:
                inside = [i - offset for i in wanted if offset <= i < offset + count]
            if inside:
                rows = _as_rows(file.read_row_group(group).take(inside))
                for index, row in zip(inside, rows, strict=True):
                    yield f"{path}: row {offset + index + 1}", row
            offset += count
    except (pa.ArrowException, OSError) as error:
        raise _explain_parquet(path, error) from error


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


def _open_parquet(path: Path) -> Any:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.ParquetFile(path)
    except (pa.ArrowException, OSError) as error:
        raise _explain_parquet(path, error) from error


def _explain_parquet(path: Path, error: Exception) -> InputError:
    return InputError(f"{path}: not a readable Parquet file: {error}", remedy="fetch the file again")
