"""Reading rows of a data set: a local JSONL or Parquet file, a folder of them, or a hub data set.

A row's number counts from 1 over the whole source; in a single JSONL file without empty lines it is the line.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from lanekit.errors import InputError, did_you_mean
from lanekit.files.conversations import read_json_lines
from lanekit.spec.benchmark import REQUIRED_COLUMNS
from lanekit.spec.experiment_file import is_local
from lanekit.spec.params import Source
from trainer.data.hub_rows import fetch_dataset

SUFFIXES = (".jsonl", ".json", ".parquet")

Row = dict[str, Any]


def iterate_rows(source: Source, name: str) -> Iterator[tuple[str, Row]]:
    """Yield each row of the data set `name` with its place, "file:line" or "source: row 3".

    Raises:
        InputError: no such source, unreadable content, a missing column, another number of rows than
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
        for path in list_files(Path(source.source)):
            for where, row in _read_file(path, name, None):
                count += 1
                yield where, row
        if source.rows is not None and count != source.rows:
            raise InputError(
                f"{source.source}: {count} rows, {source.rows} are expected",
                remedy="correct 'rows' in the experiment file, or leave it out for a local source",
            )
    if not count:
        raise InputError(f"{source.source}: the data set '{name}' has no rows")


def sample_rows(source: Source, name: str, limit: int, seed: int) -> tuple[list[int], list[Row], int]:
    """Return the numbers and rows of a seeded sample in random order, and how many rows there are.

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
        return [i + 1 for i in chosen], [dict(row) for row in dataset.select(chosen)], total
    files = list_files(Path(source.source))
    counts = [_count_rows(path) for path in files]
    total = sum(counts)
    if not total:
        raise InputError(f"{source.source}: the data set '{name}' has no rows")
    chosen = random.Random(seed).sample(range(total), min(limit, total))
    wanted, found, offset = set(chosen), {}, 0
    for path, count in zip(files, counts, strict=True):
        inside = sorted(i - offset for i in wanted if offset <= i < offset + count)
        for index, (_, row) in zip(inside, _read_file(path, name, inside), strict=True):
            found[offset + index] = row
        offset += count
    return [i + 1 for i in chosen], [found[i] for i in chosen], total


def check_columns(columns: Iterable[str], name: str, where: str) -> None:
    """Refuse a row or a table without the columns that the data set's schema has."""
    present = list(columns)
    missing = [c for c in REQUIRED_COLUMNS[name] if c not in present]
    if missing:
        hints = "".join(did_you_mean(c, present) for c in missing)
        raise InputError(
            f"{where}: the column {', '.join(repr(c) for c in missing)} is missing{hints}",
            remedy=f"'{name}' needs {', '.join(REQUIRED_COLUMNS[name])}; found {', '.join(present)}",
        )


def list_files(path: Path) -> list[Path]:
    """Return the data files of a local source in order.

    Raises:
        InputError: there is none, or the file is of another kind.
    """
    files = [path]
    if path.is_dir():
        files = sorted(p for p in path.rglob("*") if p.suffix in SUFFIXES)
    if not files or not all(f.is_file() for f in files):
        raise InputError(
            f"{path}: no such file, or a folder without {', '.join(SUFFIXES)}",
            remedy="correct the path in the experiment file",
        )
    if files[0].suffix not in SUFFIXES:
        raise InputError(f"{path}: not one of {', '.join(SUFFIXES)}")
    return files


def _count_rows(path: Path) -> int:
    if path.suffix == ".parquet":
        return int(_open_parquet(path).metadata.num_rows)
    with path.open("rb") as stream:
        return sum(1 for line in stream if line.strip())


def _read_file(path: Path, name: str, wanted: list[int] | None) -> Iterator[tuple[str, Row]]:
    """Yield the rows at the places `wanted`, in order, or all of them."""
    if path.suffix == ".parquet":
        yield from _read_parquet(path, name, wanted)
        return
    for number, row in read_json_lines(path, None if wanted is None else set(wanted)):
        check_columns(row, name, f"{path}:{number}")
        yield f"{path}:{number}", row


def _read_parquet(path: Path, name: str, wanted: list[int] | None) -> Iterator[tuple[str, Row]]:
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
                rows = file.read_row_group(group).take(inside).to_pylist()
                for index, row in zip(inside, rows, strict=True):
                    yield f"{path}: row {offset + index + 1}", dict(row)
            offset += count
    except (pa.ArrowException, OSError) as error:
        raise _explain_parquet(path, error) from error


def _open_parquet(path: Path) -> Any:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.ParquetFile(path)
    except (pa.ArrowException, OSError) as error:
        raise _explain_parquet(path, error) from error


def _explain_parquet(path: Path, error: Exception) -> InputError:
    return InputError(f"{path}: not a readable Parquet file: {error}", remedy="fetch the file again")
