"""Read the benchmark sets, check every row and lay them out as JSONL."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from lanekit.errors import InputError
from lanekit.files.json_lines import RowFault
from lanekit.files.model_folder import write_report
from lanekit.progress import Progress
from lanekit.spec.params import PrepareBenchmarksParams, Source
from lanekit.spec.rows import has_own_id, parse_row
from trainer.data.rows import choose_files, iterate_rows
from trainer.data.set_findings import SetFindings

MAX_NAMED = 5


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
    faults: list[InputError] = []
    for number, (name, source) in enumerate(spec.sets.items()):
        progress(number, len(spec.sets), f"reading {name} from {source.source}")
        notes += choose_files(source).describe(name)
        counts[name], findings[name], found = _copy_set(name, source, out / f"{name}.jsonl")
        notes += findings[name].describe(name)
        faults += found
    if faults:
        raise _join_faults(faults)
    progress(len(spec.sets), len(spec.sets), "; ".join(["written", *notes]))
    write_report(
        out,
        rows=counts,
        sources={name: source.source for name, source in spec.sets.items()},
        digests={name: source.digest for name, source in spec.sets.items()},
        findings={name: dict(found.counts) for name, found in findings.items()},
        notes=notes,
    )


def _copy_set(name: str, source: Source, path: Path) -> tuple[int, SetFindings, list[InputError]]:
    """Write a set's good rows; return their number, what was found in them, and the bad rows' errors."""
    count, findings = 0, SetFindings()
    faults: list[InputError] = []
    with path.open("w", encoding="utf-8") as stream:
        for where, row in iterate_rows(source, name):
            try:
                if isinstance(row, RowFault):
                    raise row.as_error(where)
                findings.add(parse_row(name, row, where), where, has_own_id=has_own_id(row))
            except InputError as error:
                faults.append(error)
                continue
            stream.write(json.dumps(row, ensure_ascii=False, default=str) + "\n")
            count += 1
    return count, findings, faults


def _join_faults(faults: list[InputError]) -> InputError:
    if len(faults) == 1:
        return faults[0]
    lines = [fault.message for fault in faults[:MAX_NAMED]]
    more = len(faults) - MAX_NAMED
    lines += [f"and {more} more rows"] if more > 0 else []
    return InputError(
        f"{len(faults)} rows of the benchmark sets cannot be used:\n  " + "\n  ".join(lines),
        remedy="; ".join(dict.fromkeys(fault.remedy for fault in faults[:MAX_NAMED])),
    )
