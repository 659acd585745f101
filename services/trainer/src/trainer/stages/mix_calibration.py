"""Put the calibration sets of several sources together; each was guarded against benchmark text by itself."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lanekit.errors import InputError
from lanekit.files.json_lines import read_json_lines
from lanekit.files.model_folder import REPORT_NAME, write_report
from lanekit.progress import Progress
from lanekit.spec.calibration import interleave
from lanekit.spec.corpus_rows import hash_conversation
from lanekit.spec.params import MixCalibrationParams
from trainer.stages.prepare_corpus import write_rows


def run(spec: MixCalibrationParams, inputs: Mapping[str, Path], out: Path, progress: Progress) -> None:
    """Write calibration.jsonl: the first rows of each source, so mixed that every prefix is as the whole.

    A conversation that stands in two sources is taken once, and the next row of the later source instead.

    Raises:
        InputError: a source's calibration set has fewer rows than its share.
    """
    known: set[bytes] = set()
    chosen = {name: _take_rows(inputs[name], name, count, known) for name, count in spec.rows.items()}
    mixed = [{**chosen[name][place], "source": name} for name, place in interleave(spec.rows)]
    write_rows(out / "calibration.jsonl", mixed)
    counts: dict[str, int] = {}
    for name in spec.rows:
        for benchmark, count in _read_contamination(inputs[name]).items():
            counts[benchmark] = counts.get(benchmark, 0) + count
    write_report(
        out,
        rows=spec.rows,
        calibration_rows=len(mixed),
        contamination={"calibration": counts},
    )
    progress(1, 1, f"{len(mixed)} rows of {', '.join(spec.rows)}")


def _take_rows(folder: Path, name: str, count: int, known: set[bytes]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    n_there = 0
    for _, row in read_json_lines(folder / "calibration.jsonl"):
        n_there += 1
        digest = hash_conversation(row["conversations"])
        if digest in known:
            continue
        known.add(digest)
        rows.append(row)
        if len(rows) == count:
            return rows
    raise InputError(
        f"the mix takes {count} rows of '{name}', whose calibration set has {n_there}"
        f"{f', {n_there - len(rows)} of them in another source too' if len(rows) < n_there else ''}",
        remedy=f"lower its rows in the lane's mix to at most {len(rows)}, or raise corpus.calibration_rows "
        "in the experiment file",
    )


def _read_contamination(folder: Path) -> dict[str, int]:
    report = json.loads((folder / REPORT_NAME).read_text(encoding="utf-8"))
    found: dict[str, int] = report["contamination"]["calibration"]
    return found
