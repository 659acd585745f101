"""Read the benchmark sets, check their columns and lay them out as JSONL."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from lanekit.modelfiles import write_report
from lanekit.params import PrepareBenchmarksParams
from lanekit.progress import Progress
from trainer.rows import read_rows
from trainer.stages.prepare_corpus import write_rows


def run(spec: PrepareBenchmarksParams, inputs: Mapping[str, Path], out: Path, progress: Progress) -> None:
    """Write `<set>.jsonl` for each set.

    Raises:
        InputError: a set is missing or lacks a column.
    """
    del inputs
    counts: dict[str, int] = {}
    for number, (name, source) in enumerate(spec.sets.items()):
        progress(number, len(spec.sets), f"reading {name}")
        rows = read_rows(source, name, spec.limit_items)
        write_rows(out / f"{name}.jsonl", rows)
        counts[name] = len(rows)
    write_report(out, rows=counts, digests={name: s.digest for name, s in spec.sets.items()})
