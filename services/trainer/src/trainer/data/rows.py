"""Reading rows of a data set: local files as lanekit reads them, or a hub data set.

A row's number counts from 1 over the whole source.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field

from lanekit.errors import InputError
from lanekit.files.json_lines import RowFault
from lanekit.files.parquet import Row
from lanekit.sources.data_rows import (
    check_columns,
    choose_files,
    count_rows,
    explain_no_rows,
    iterate_local_rows,
    read_file,
)
from lanekit.spec.experiment_file import is_local
from lanekit.spec.params import Source
from trainer.data.hub_rows import fetch_dataset


@dataclass(frozen=True)
class Sample:
    """Rows in random order with their numbers and places, the source's row count, and notes on its files."""

    numbers: list[int]
    places: list[str]
    rows: list[Row | RowFault]
    n_source: int
    notes: list[str] = field(default_factory=list)


def describe_files(source: Source, name: str) -> list[str]:
    """Return the notes on the files of a source; a hub data set has none."""
    return choose_files(source).describe(name) if is_local(source.source) else []


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
            yield _name_place(source, count), dict(row)
    else:
        for placed in iterate_local_rows(source, name):
            count += 1
            yield placed
        if source.rows is not None and count != source.rows:
            raise InputError(
                f"{source.source}: {count} rows, {source.rows} are expected",
                remedy="correct 'rows' in the experiment file, or leave it out for a local source",
            )
    if not count:
        raise explain_no_rows(source, name)


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
        numbers = [i + 1 for i in chosen]
        places = [_name_place(source, number) for number in numbers]
        return Sample(numbers, places, [dict(row) for row in dataset.select(chosen)], total)
    choice = choose_files(source)
    counts = [count_rows(path) for path in choice.files]
    total = sum(counts)
    if not total:
        raise explain_no_rows(source, name)
    chosen = random.Random(seed).sample(range(total), min(limit, total))
    wanted, offset = set(chosen), 0
    found: dict[int, tuple[str, Row | RowFault]] = {}
    for path, count in zip(choice.files, counts, strict=True):
        inside = sorted(i - offset for i in wanted if offset <= i < offset + count)
        for index, placed in zip(inside, read_file(path, name, inside), strict=True):
            found[offset + index] = placed
        offset += count
    places, rows = [found[i][0] for i in chosen], [found[i][1] for i in chosen]
    return Sample([i + 1 for i in chosen], places, rows, total, choice.describe(name))


def _name_place(source: Source, number: int) -> str:
    return f"{source.source}: row {number}"
