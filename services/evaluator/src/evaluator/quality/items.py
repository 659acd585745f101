"""The suite's rows, checked: `<benchmark>.jsonl`, one JSON object a line, in the published columns."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lanekit.errors import InputError
from lanekit.spec.benchmark import Benchmark
from lanekit.spec.rows import Item, parse_row


def load_items(suite: Path, benchmark: Benchmark, limit: int | None = None) -> list[Item]:
    """Read a benchmark's rows, the first `limit` of them where one is given.

    Raises:
        InputError: the file is missing, empty or not JSON lines, or a row has a missing or wrong column; the
            message names file, line and column.
    """
    path = suite / f"{benchmark.name}.jsonl"
    if not path.is_file():
        raise InputError(
            f"{path}: the suite has no rows for the benchmark '{benchmark.name}'",
            remedy="give it a source under data in the experiment file, or no weight",
        )
    items: list[Item] = []
    with path.open(encoding="utf-8") as stream:
        for number, line in enumerate(stream, start=1):
            if len(items) == limit:
                break
            if line.strip():
                items.append(
                    parse_row(benchmark.name, _read_row(line, f"{path}:{number}"), f"{path}:{number}")
                )
    if not items:
        raise InputError(f"{path}: the file has no rows", remedy="prepare the benchmark's data again")
    return items


def _read_row(line: str, where: str) -> Mapping[str, Any]:
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise InputError(
            f"{where}:{error.colno}: not JSON: {error.msg}", remedy="write one JSON object on each line"
        ) from error
    if not isinstance(row, dict):
        raise InputError(f"{where}: a row must be a JSON object", remedy="write one JSON object on each line")
    return row
