"""Read the benchmark sets, check every row and lay them out as JSONL."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from lanekit.files.model_folder import write_report
from lanekit.progress import Progress
from lanekit.spec.params import PrepareBenchmarksParams, Source
from lanekit.spec.rows import BadRows, check_rows, has_own_id
from trainer.data.rows import describe_files, iterate_rows
from trainer.data.set_findings import SetFindings


def run(spec: PrepareBenchmarksParams, inputs: Mapping[str, Path], out: Path, progress: Progress) -> None:
    """Write `<set>.jsonl` for each set, whole, in the columns as published.

    Raises:
        InputError: a set is missing, lacks a column or rows, or has values that cannot be asked or judged;
            the first rows of all sets are named.
        TransientError: the hub could not be reached.
    """
    del inputs
    counts: dict[str, int] = {}
    findings: dict[str, SetFindings] = {}
    notes: list[str] = []
    bad = BadRows()
    for number, (name, source) in enumerate(spec.sets.items()):
        progress(number, len(spec.sets), f"reading {name} from {source.source}")
        notes += describe_files(source, name)
        counts[name], findings[name] = _copy_set(name, source, out / f"{name}.jsonl", bad)
        notes += findings[name].describe(name)
    fault = bad.make_error()
    if fault is not None:
        raise fault
    progress(len(spec.sets), len(spec.sets), "; ".join(["written", *notes]))
    write_report(
        out,
        rows=counts,
        sources={name: source.source for name, source in spec.sets.items()},
        digests={name: source.digest for name, source in spec.sets.items()},
        findings={name: dict(found.counts) for name, found in findings.items()},
        notes=notes,
    )


def _copy_set(name: str, source: Source, path: Path, bad: BadRows) -> tuple[int, SetFindings]:
    """Write a set's good rows; return their number and what was found in them."""
    count, findings = 0, SetFindings()
    with path.open("w", encoding="utf-8") as stream:
        for where, row, item in check_rows(name, iterate_rows(source, name), bad):
            findings.add(item, where, has_own_id=has_own_id(row))
            stream.write(json.dumps(row, ensure_ascii=False, default=str) + "\n")
            count += 1
    return count, findings
