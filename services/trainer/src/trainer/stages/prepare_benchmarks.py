"""Read the benchmark sets, check every row and lay them out as JSONL."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from lanekit.files.model_folder import write_report
from lanekit.progress import Progress
from lanekit.spec.params import PrepareBenchmarksParams
from lanekit.spec.rows import parse_row
from trainer.data.rows import iterate_rows


def run(spec: PrepareBenchmarksParams, inputs: Mapping[str, Path], out: Path, progress: Progress) -> None:
    """Write `<set>.jsonl` for each set, whole, in the columns as published.

    Raises:
        InputError: a set is missing, lacks a column or rows, or has a value that cannot be asked or judged.
        TransientError: the hub could not be reached.
    """
    del inputs
    counts: dict[str, int] = {}
    for number, (name, source) in enumerate(spec.sets.items()):
        progress(number, len(spec.sets), f"reading {name} from {source.source}")
        counts[name] = 0
        with (out / f"{name}.jsonl").open("w", encoding="utf-8") as stream:
            for where, row in iterate_rows(source, name):
                parse_row(name, row, where)
                stream.write(json.dumps(row, ensure_ascii=False, default=str) + "\n")
                counts[name] += 1
    progress(len(spec.sets), len(spec.sets), "written")
    write_report(
        out,
        rows=counts,
        sources={name: source.source for name, source in spec.sets.items()},
        digests={name: source.digest for name, source in spec.sets.items()},
    )
