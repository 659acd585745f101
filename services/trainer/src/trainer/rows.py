"""Reading rows of a data set: a local JSONL or Parquet file, a folder of them, or a hub data set."""

from __future__ import annotations

import random
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from lanekit.benchmarks import REQUIRED_COLUMNS
from lanekit.conversations import read_json_lines
from lanekit.errors import InputError, did_you_mean
from lanekit.experiment import is_local
from lanekit.params import Source

SUFFIXES = (".jsonl", ".json", ".parquet")


def read_rows(
    source: Source, name: str, limit: int | None = None, sample_seed: int | None = None
) -> list[dict[str, Any]]:
    """Return `limit` rows of the data set `name`, its required columns checked.

    They are the first ones, or with `sample_seed` a seeded sample in random order.

    Raises:
        InputError: no such source, unreadable content, or a missing column; names file and remedy.
    """
    if is_local(source.source):
        rows = _read_local(Path(source.source), name, None if sample_seed is not None else limit)
        if sample_seed is not None and limit is not None:
            rows = random.Random(sample_seed).sample(rows, min(limit, len(rows)))
    else:
        rows = _read_hub(source, name, limit, sample_seed)
    if not rows:
        raise InputError(f"{source.source}: the data set '{name}' has no rows")
    return rows


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


def _read_local(path: Path, name: str, limit: int | None) -> list[dict[str, Any]]:
    files = [path]
    if path.is_dir():
        files = sorted(p for p in path.rglob("*") if p.suffix in SUFFIXES)
    if not files or not all(f.is_file() for f in files):
        raise InputError(
            f"{path}: no such file, or a folder without {', '.join(SUFFIXES)}",
            remedy="correct the path in the experiment file",
        )
    rows: list[dict[str, Any]] = []
    for file in files:
        if limit is not None and len(rows) >= limit:
            break
        rows += _read_file(file, name)
    return rows[:limit]


def _read_file(path: Path, name: str) -> list[dict[str, Any]]:
    if path.suffix == ".parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            table = pq.read_table(path)
        except (pa.ArrowException, OSError) as error:
            raise InputError(
                f"{path}: not a readable Parquet file: {error}", remedy="fetch the file again"
            ) from error
        check_columns(table.column_names, name, str(path))
        return [dict(row) for row in table.to_pylist()]
    if path.suffix not in SUFFIXES:
        raise InputError(f"{path}: not one of {', '.join(SUFFIXES)}")
    rows = []
    for number, row in read_json_lines(path):
        check_columns(row, name, f"{path}:{number}")
        rows.append(row)
    return rows


def _read_hub(source: Source, name: str, limit: int | None, sample_seed: int | None) -> list[dict[str, Any]]:
    from datasets import load_dataset
    from datasets.exceptions import DatasetNotFoundError

    try:
        dataset = load_dataset(source.source, split=source.split, revision=source.revision)
    except DatasetNotFoundError as error:
        raise InputError(
            f"{source.source}: not found on the hub, or gated: {error}",
            remedy="accept the data set's terms on its hub page and set HF_TOKEN, or give a local path",
        ) from error
    except ValueError as error:  # e.g. an unknown split: the message lists the known ones
        raise InputError(
            f"{source.source}: {error}", remedy="correct 'split' in the experiment file"
        ) from error
    check_columns(dataset.column_names, name, source.source)
    if sample_seed is not None:
        dataset = dataset.shuffle(seed=sample_seed)
    if limit is not None:
        dataset = dataset.select(range(min(limit, len(dataset))))
    return [dict(row) for row in dataset]
