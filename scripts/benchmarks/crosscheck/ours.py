"""The answers of the stage `evaluate`, and the rows on which the harness can answer alike."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.crosscheck.harness import Answer
from evaluator.quality.chat import ChatTokenizer
from evaluator.quality.items import load_items
from evaluator.quality.outputs import read_items
from evaluator.quality.prompts import render_items
from evaluator.stages import evaluate
from lanekit.errors import InputError
from lanekit.progress import ignore_progress
from lanekit.results.collect import ITEMS_NAME
from lanekit.spec.benchmark import Benchmark
from lanekit.spec.evaluation import EngineParams, EvaluateParams
from tiny.datasets import load_rows


def ask_ours(
    model: Path, suite: Path, benchmarks: Sequence[Benchmark], engine: EngineParams, limit: int | None = None
) -> tuple[dict[str, list[Answer]], dict[str, list[str]]]:
    """Evaluate with our stage; returns the answers and the user messages, by benchmark."""
    spec = EvaluateParams(engine=engine, benchmarks=tuple(benchmarks), limit_items=limit)
    with tempfile.TemporaryDirectory() as name:
        evaluate.run(spec, {"model": model, "suite": suite}, Path(name), ignore_progress)
        rows = read_items(Path(name) / ITEMS_NAME)
    chat = ChatTokenizer(model)
    answers: dict[str, list[Answer]] = {}
    messages: dict[str, list[str]] = {}
    for benchmark in benchmarks:
        items = load_items(suite, benchmark, limit)
        prompts = render_items(benchmark, items, chat, engine.max_model_len)
        own = [row for row in rows if row["benchmark"] == benchmark.name]
        if [row["prompt_tokens"] for row in own] != [len(prompt.token_ids) for prompt in prompts]:
            raise RuntimeError(f"{benchmark.name}: the stage's prompts are not those of render_items")
        messages[benchmark.name] = [prompt.message for prompt in prompts]
        answers[benchmark.name] = [
            Answer(
                tuple(prompt.token_ids),
                row["response"],
                row["parsed"],
                row["gold"],
                bool(row["exact"]),
                n_options=len(getattr(item, "options", ())),
            )
            for item, prompt, row in zip(items, prompts, own, strict=True)
        ]
    return answers, messages


def read_rows(
    suite: Path, messages: Mapping[str, Sequence[str]], limit: int | None = None
) -> dict[str, list[dict[str, Any]]]:
    """Return the items' rows for the harness, which cuts no documents: a cut context is put in its place."""
    rows = {}
    for name, said in messages.items():
        rows[name] = load_rows(suite / f"{name}.jsonl")[:limit]
        if name == "ko_longrag":
            rows[name] = [cut_row(row, message) for row, message in zip(rows[name], said, strict=True)]
    return rows


def cut_row(row: Mapping[str, Any], message: str) -> dict[str, Any]:
    """Return a document row whose context is what stands in its place in the user message."""
    titles = row["titles"] if isinstance(row["titles"], str) else ", ".join(row["titles"])
    template = row["prompt"].replace("{titles}", titles).replace("{question}", row["question"])
    before, _, after = template.partition("{context}")
    if not (message.startswith(before) and message.endswith(after)):
        raise InputError(
            f"ko_longrag, item {row['id']}: the question or the titles are not whole in the message",
            remedy="the token budget may cut documents alone: this is a fault of the evaluator",
        )
    return {**row, "context": message[len(before) : len(message) - len(after)]}
