"""Stage `evaluate`: run the benchmark suite on one model, greedily, through the chat template."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from evaluator.chat import ChatTokenizer
from evaluator.engines import load_engine
from evaluator.engines.base import Engine
from evaluator.items import ChoiceItem, DocumentItem, Item, load_items
from evaluator.judge import Judged, judge_reply, omit_benchmark, summarize_benchmark
from evaluator.prompts import Prompt, render_choice, render_document
from lanekit.benchmarks import Benchmark
from lanekit.child import list_versions
from lanekit.modelfiles import measure_weights, write_json
from lanekit.params import EvaluateParams
from lanekit.progress import Progress
from lanekit.results import BenchmarkResult


def run(spec: EvaluateParams, inputs: Mapping[str, Path], out: Path, progress: Progress) -> None:
    """Evaluate `inputs["model"]` on `inputs["suite"]`; writes metrics.json, items.jsonl and report.json.

    Raises:
        InputError: a row, the model or a length is at fault.
    """
    model, suite = inputs["model"], inputs["suite"]
    chat = ChatTokenizer(model, enable_thinking=spec.enable_thinking)
    items = {benchmark.name: load_items(suite, benchmark) for benchmark in spec.benchmarks}
    prompts = {
        benchmark.name: _render(benchmark, items[benchmark.name], chat, spec.engine.max_model_len)
        for benchmark in spec.benchmarks
        if benchmark.metric != "judge"
    }
    total = sum(map(len, prompts.values()))
    progress(0, total, "loading the model")
    started = time.perf_counter()
    engine = load_engine(model, spec.engine)
    load_seconds = time.perf_counter() - started
    try:
        results: dict[str, BenchmarkResult] = {}
        timings: dict[str, dict[str, Any]] = {}
        lines: list[Judged] = []
        for benchmark in spec.benchmarks:
            rows = items[benchmark.name]
            if benchmark.metric == "judge":
                results[benchmark.name] = omit_benchmark(benchmark, len(rows))
                continue
            judged, seconds = _ask(
                benchmark, rows, prompts[benchmark.name], engine, chat, progress, len(lines), total
            )
            lines += judged
            results[benchmark.name] = summarize_benchmark(benchmark, judged)
            timings[benchmark.name] = summarize_time(judged, seconds)
        description = engine.describe()
    finally:
        engine.close()
    metrics = {
        "benchmarks": {name: result.model_dump() for name, result in results.items()},
        "size_bytes": measure_weights(model),
    }
    write_json(out / "metrics.json", metrics)
    with (out / "items.jsonl").open("w", encoding="utf-8") as stream:
        for line in lines:
            stream.write(json.dumps(asdict(line), ensure_ascii=False) + "\n")
    report = {
        "benchmarks": timings,
        "load_seconds": load_seconds,
        "total_seconds": time.perf_counter() - started,
        "engine": description,
        "device": engine.device,
        "versions": list_versions(),
    }
    write_json(out / "report.json", report)


def _render(
    benchmark: Benchmark, items: Sequence[Item], chat: ChatTokenizer, max_model_len: int
) -> list[Prompt]:
    room = max_model_len - benchmark.max_new_tokens
    prompts = []
    for item in items:
        if isinstance(item, ChoiceItem):
            prompts.append(render_choice(benchmark, item, chat, room))
        elif isinstance(item, DocumentItem):
            prompts.append(render_document(benchmark, item, chat, room))
    return prompts


def _ask(
    benchmark: Benchmark,
    items: Sequence[Item],
    prompts: Sequence[Prompt],
    engine: Engine,
    chat: ChatTokenizer,
    progress: Progress,
    done: int,
    total: int,
) -> tuple[list[Judged], float]:
    """Generate and judge one benchmark; returns the items and the seconds spent generating."""
    progress(done, total, benchmark.name)
    started = time.perf_counter()
    outputs = engine.generate(
        [prompt.token_ids for prompt in prompts],
        benchmark.max_new_tokens,
        on_progress=lambda step: progress(done + step, total, benchmark.name),
    )
    seconds = time.perf_counter() - started
    judged = [
        judge_reply(
            benchmark,
            item,
            prompt,
            chat.decode_reply(output.token_ids),
            index=index,
            new_tokens=len(output.token_ids) + output.finished,
            finished=output.finished,
            thinking_opened=chat.enable_thinking,
        )
        for index, (item, prompt, output) in enumerate(zip(items, prompts, outputs, strict=True))
    ]
    return judged, seconds


def summarize_time(judged: Sequence[Judged], seconds: float) -> dict[str, Any]:
    """Return how fast a benchmark ran; `s_per_token` is free-running: wall seconds per token generated."""
    new_tokens = sum(item.new_tokens for item in judged)
    return {
        "seconds": seconds,
        "items": len(judged),
        "items_per_s": len(judged) / seconds,
        "prompt_tokens": sum(item.prompt_tokens for item in judged),
        "new_tokens": new_tokens,
        "s_per_token": seconds / new_tokens if new_tokens else None,
        "unfinished": sum(not item.finished for item in judged),
    }
