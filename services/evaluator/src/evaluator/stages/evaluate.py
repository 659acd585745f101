"""Stage `evaluate`: run the benchmark suite on one model, greedily, through the chat template."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from evaluator.engines.registry import Wanted, hold_engines
from evaluator.quality.asking import Asker, count_turns, summarize_time
from evaluator.quality.chat import ChatTokenizer
from evaluator.quality.grade import Graded, summarize_benchmark
from evaluator.quality.items import load_items
from evaluator.quality.outputs import write_items
from evaluator.quality.prompts import render_items
from lanekit.files.model_folder import measure_weights, write_json
from lanekit.host.probe import list_versions
from lanekit.progress import Progress
from lanekit.results.collect import ITEMS_NAME
from lanekit.results.schema import BenchmarkResult
from lanekit.spec.evaluation import EvaluateParams


def run(spec: EvaluateParams, inputs: Mapping[str, Path], out: Path, progress: Progress) -> None:
    """Evaluate `inputs["model"]` on `inputs["suite"]`; writes metrics.json, items.parquet and report.json.

    A judged benchmark is answered, all turns, and has no value yet. The report's `load_seconds` are those of
    tokenizer and engine, `generate_seconds` those within the engine; `other_seconds` is all else but closing.
    `engine_starts` is 0 where an engine of an earlier stage was there (see engines.registry).

    Raises:
        InputError: a row, the model or a length is at fault.
    """
    started = time.perf_counter()
    model, suite = inputs["model"], inputs["suite"]
    progress(0, 0, "rendering the prompts")
    chat = ChatTokenizer(model, enable_thinking=spec.enable_thinking)
    load_seconds = time.perf_counter() - started
    items = {b.name: load_items(suite, b, spec.limit_items) for b in spec.benchmarks}
    max_model_len, thinking = spec.engine.max_model_len, spec.enable_thinking
    prompts = {
        b.name: render_items(b, items[b.name], chat, max_model_len, thinking=thinking)
        for b in spec.benchmarks
    }
    total = sum(count_turns(item) for rows in items.values() for item in rows)
    asker = Asker(chat, max_model_len, progress, total)
    results: dict[str, BenchmarkResult] = {}
    timings: dict[str, dict[str, Any]] = {}
    graded: list[Graded] = []
    wanted = [Wanted(model, spec.engine)]
    with hold_engines(wanted, lambda message: progress(0, total, message)) as held:
        engine = held.engine
        for benchmark in spec.benchmarks:
            rows, seconds = asker.ask(engine, benchmark, items[benchmark.name], prompts[benchmark.name])
            graded += rows
            room = max_model_len - benchmark.count_new_tokens(thinking=thinking)
            results[benchmark.name] = summarize_benchmark(benchmark, rows, room)
            timings[benchmark.name] = summarize_time(rows, seconds)
        description = engine.describe()
        close_started = time.perf_counter()
    close_seconds = time.perf_counter() - close_started
    load_seconds += held.seconds[0]
    metrics = {
        "benchmarks": {name: result.model_dump() for name, result in results.items()},
        "size_bytes": measure_weights(model),
    }
    write_json(out / "metrics.json", metrics)
    write_items(out / ITEMS_NAME, [asdict(row) for row in graded])
    total_seconds = time.perf_counter() - started
    generate_seconds = math.fsum(timing["seconds"] for timing in timings.values())
    report = {
        "benchmarks": timings,
        "load_seconds": load_seconds,
        **held.describe(),
        "generate_seconds": generate_seconds,
        "close_seconds": close_seconds,
        "other_seconds": total_seconds - load_seconds - generate_seconds - close_seconds,
        "total_seconds": total_seconds,
        "thinking": thinking,
        "engine": description,
        "device": engine.device,
        "versions": list_versions(),
    }
    write_json(out / "report.json", report)
