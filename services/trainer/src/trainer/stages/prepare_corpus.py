"""Split the instruction corpus into train and validation, and draw the calibration set from train."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lanekit.conversations import check_conversation
from lanekit.errors import InputError
from lanekit.modelfiles import write_report
from lanekit.params import PrepareCorpusParams
from lanekit.progress import Progress
from trainer.rows import read_rows

SPARE_FACTOR = 2


def run(spec: PrepareCorpusParams, inputs: Mapping[str, Path], out: Path, progress: Progress) -> None:
    """Write train.jsonl, validation.jsonl and calibration.jsonl.

    Raises:
        InputError: the corpus is missing, lacks a column, or has too few usable conversations.
    """
    del inputs
    progress(0, 3, "reading the corpus")
    needed = spec.train_rows + spec.validation_rows
    # A million rows need not all be held: twice what is needed leaves room for faulty ones.
    rows = read_rows(spec.corpus, "manta", SPARE_FACTOR * needed, sample_seed=spec.seed)
    progress(1, 3, "checking conversations")
    faults = [check_conversation(row["conversations"]) for row in rows]
    usable = [row for row, fault in zip(rows, faults, strict=True) if not fault]
    refused = Counter(fault for fault in faults if fault)
    if len(usable) < needed:
        raise InputError(
            f"{spec.corpus.source}: {needed} conversations are asked for, {len(usable)} of "
            f"{len(rows)} rows read are usable ({dict(refused) or 'no faulty ones'})",
            remedy="lower corpus.train_rows or validation_rows in the experiment file",
        )
    if spec.calibration_rows > spec.train_rows:
        raise InputError("corpus.calibration_rows is larger than corpus.train_rows, which it is drawn from")
    parts = split_rows(usable, spec)
    for name, part in parts.items():
        write_rows(out / f"{name}.jsonl", part)
    progress(3, 3, "written")
    write_report(
        out,
        source=spec.corpus.source,
        digest=spec.corpus.digest,
        rows=len(rows),
        refused=dict(refused),
        **{f"{name}_rows": len(part) for name, part in parts.items()},
    )


def split_rows(rows: list[dict[str, Any]], spec: PrepareCorpusParams) -> dict[str, list[dict[str, Any]]]:
    """Return the seeded parts. Train and validation share no row; calibration is part of train."""
    order = list(range(len(rows)))
    random.Random(spec.seed).shuffle(order)
    chosen = [rows[i] for i in order[: spec.train_rows + spec.validation_rows]]
    train = chosen[: spec.train_rows]
    return {
        "train": train,
        "validation": chosen[spec.train_rows :],
        "calibration": train[: spec.calibration_rows],
    }


def write_rows(path: Path, rows: list[dict[str, Any]]) -> None:
    """Write one JSON object a line."""
    with path.open("w", encoding="utf-8") as stream:
        for row in rows:
            stream.write(json.dumps(row, ensure_ascii=False, default=str) + "\n")
