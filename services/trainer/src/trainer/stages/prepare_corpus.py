"""Split the instruction corpus into train and validation, draw the calibration set from train, guard all."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lanekit.errors import InputError
from lanekit.files.conversations import Message
from lanekit.files.model_folder import write_json, write_report
from lanekit.progress import Progress
from lanekit.spec.corpus_rows import CorpusRow
from lanekit.spec.params import PrepareCorpusParams
from trainer.data.benchmark_texts import read_item_texts
from trainer.data.calibration import Candidate, count_tokens, describe_bins, select_calibration
from trainer.data.contamination import Guard, Match, count_items
from trainer.data.corpus import Draw, draw_rows
from trainer.models.dense import load_tokenizer

N_STEPS = 4
MAX_MATCHES = 1000
MAX_UNCHECKED = 50
MAX_EXAMPLES = 3
REPORT_EVERY = 500


def run(spec: PrepareCorpusParams, inputs: Mapping[str, Path], out: Path, progress: Progress) -> None:
    """Write train.jsonl, validation.jsonl, calibration.jsonl and contamination.json.

    Raises:
        InputError: the corpus is missing, lacks a column, has too few usable or differing conversations, or
            holds benchmark text and `spec.contamination` is "refuse".
        TransientError: the hub could not be reached.
    """
    if spec.calibration_rows > spec.train_rows:
        raise InputError(
            f"corpus.calibration_rows is {spec.calibration_rows}, larger than corpus.train_rows "
            f"{spec.train_rows}, which it is drawn from",
            remedy="lower corpus.calibration_rows in the experiment file",
        )
    progress(0, N_STEPS, "reading the benchmark texts")
    guard = Guard(read_item_texts(inputs["suite"]), spec.ngram_words)
    progress(1, N_STEPS, f"reading the corpus from {spec.corpus.source}")
    tokenizer = load_tokenizer(inputs["model"])
    n_measured, n_rows = 0, spec.train_rows + spec.validation_rows

    def measure(messages: Sequence[Message]) -> int:
        nonlocal n_measured
        if n_measured % REPORT_EVERY == 0:
            progress(
                1,
                N_STEPS,
                f"measuring conversations, {n_measured} of {n_rows}",
            )
        n_measured += 1
        return count_tokens(tokenizer, messages)

    draw = draw_rows(spec, guard, measure)
    if spec.contamination == "refuse" and draw.matches:
        raise _refuse(spec, draw, guard)
    progress(2, N_STEPS, "choosing the calibration set")
    parts = {"train": draw.rows[: spec.train_rows], "validation": draw.rows[spec.train_rows :]}
    calibration, n_alike = _choose_calibration(spec, parts["train"])
    progress(3, N_STEPS, "writing")
    for name, rows in parts.items():
        write_rows(out / f"{name}.jsonl", (_as_json(row) for row in rows))
    write_rows(out / "calibration.jsonl", calibration)
    found = _split_matches(draw, parts, {row["row"] for row in calibration})
    matches = [match.as_json(part=part) for part, inside in found.items() for match in inside]
    write_json(
        out / "contamination.json",
        {
            "policy": spec.contamination,
            "ngram_words": spec.ngram_words,
            "matches": matches[:MAX_MATCHES],
            "n_matches": len(matches),
            "unchecked": {name: items[:MAX_UNCHECKED] for name, items in guard.unchecked.items()},
        },
    )
    bins = [(row["bin"], row["n_tokens"], row["complexity"]) for row in calibration]
    write_report(
        out,
        source=spec.corpus.source,
        digest=spec.corpus.digest,
        source_rows=draw.n_source,
        rows=draw.n_read,
        refused=dict(draw.faults.counts),
        notes=draw.describe(),
        duplicates=draw.n_duplicates,
        dropped=draw.n_dropped,
        **{f"{name}_rows": len(rows) for name, rows in parts.items()},
        calibration_rows=len(calibration),
        calibration_too_alike=n_alike,
        calibration_bins=describe_bins(bins, spec.calibration_bins),
        contamination_policy=spec.contamination,
        contamination={part: count_items(inside, guard.n_items) for part, inside in found.items()},
        benchmark_items=guard.n_items,
        benchmark_items_unchecked={name: len(items) for name, items in guard.unchecked.items()},
    )
    progress(N_STEPS, N_STEPS, "written")


def write_rows(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Write one JSON object a line."""
    with path.open("w", encoding="utf-8") as stream:
        for row in rows:
            stream.write(json.dumps(row, ensure_ascii=False, default=str) + "\n")


def _as_json(row: CorpusRow) -> dict[str, Any]:
    return {"row": row.number, "conversations": row.messages, "complexity": row.complexity}


def _choose_calibration(
    spec: PrepareCorpusParams, train: list[CorpusRow]
) -> tuple[list[dict[str, Any]], int]:
    candidates = [Candidate(place, row.n_tokens, row.complexity) for place, row in enumerate(train)]
    conversations = [row.messages for row in train]
    chosen = select_calibration(
        conversations, candidates, spec.calibration_rows, spec.calibration_bins, spec.seed
    )
    rows = [
        {**_as_json(train[place]), "n_tokens": candidates[place].n_tokens, "bin": bin_name}
        for place, bin_name in zip(chosen.places, chosen.bins, strict=True)
    ]
    return rows, chosen.n_alike


def _split_matches(
    draw: Draw, parts: Mapping[str, list[CorpusRow]], calibration: set[int]
) -> dict[str, list[Match]]:
    """Return the matches by the part that their row stands in; calibration rows stand in train as well."""
    numbers = {name: {row.number for row in rows} for name, rows in parts.items()}
    numbers["calibration"] = calibration
    return {
        name: [match for match in draw.matches if match.row in inside] for name, inside in numbers.items()
    }


def _refuse(spec: PrepareCorpusParams, draw: Draw, guard: Guard) -> InputError:
    counts = count_items(draw.matches, guard.n_items)
    found = ", ".join(f"{name} {n} of {guard.n_items[name]} items" for name, n in counts.items() if n)
    n_rows = len({match.row for match in draw.matches})
    examples = "".join(
        f"\n  {m.benchmark} item {m.item} in row {m.row}: {m.excerpt}" for m in draw.matches[:MAX_EXAMPLES]
    )
    return InputError(
        f"{spec.corpus.source}: {n_rows} of {len(draw.rows)} rows drawn hold benchmark text ({found}); "
        f"what is trained or calibrated on it cannot be ranked fairly{examples}",
        remedy="in the experiment file set corpus.contamination to 'drop' (leaves these rows out and draws "
        "others in their place) or 'label' (keeps them and marks every lane that uses them); "
        "scripts/01_prepare_data.py --contamination drop tries it out",
    )
