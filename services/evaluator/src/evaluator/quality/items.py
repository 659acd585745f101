"""The suite's rows, checked: `<benchmark>.jsonl`, one JSON object a line, in the published columns."""

from __future__ import annotations

from pathlib import Path

from lanekit.errors import InputError
from lanekit.files.json_lines import read_json_lines
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
    for number, row in read_json_lines(path):
        if len(items) == limit:
            break
        items.append(parse_row(benchmark.name, row, f"{path}:{number}"))
    if not items:
        raise InputError(f"{path}: the file has no rows", remedy="prepare the benchmark's data again")
    return items
