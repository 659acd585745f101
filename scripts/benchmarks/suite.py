"""What the benchmarks of the evaluation run on: the tiny model, its benchmarks and items, an engine."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from lanekit.spec.benchmark import Benchmark
from lanekit.spec.experiment_file import load_benchmark
from tiny.datasets import build_datasets, write_datasets

ROOT = Path(__file__).resolve().parents[2]
BENCHMARKS_FOLDER = ROOT / "lanes" / "benchmarks"
NAMES = ("kmmlu_pro", "kmmlu_redux", "ko_longrag")  # a judge scores the fourth


def load_benchmarks(
    folder: Path = BENCHMARKS_FOLDER, max_prompt_tokens: int | None = None
) -> list[Benchmark]:
    """Return the benchmarks that need no judge; `max_prompt_tokens` stands instead of ko_longrag.yaml's."""
    benchmarks = [load_benchmark(folder / f"{name}.yaml") for name in NAMES]
    if max_prompt_tokens:
        benchmarks[-1] = benchmarks[-1].model_copy(update={"max_prompt_tokens": max_prompt_tokens})
    return benchmarks


def write_suite(folder: Path, copies: int = 1) -> dict[str, list[dict[str, Any]]]:
    """Write each benchmark's synthetic items `copies` times over and return them."""
    rows = build_datasets()
    chosen = {name: rows[name] * copies for name in NAMES}
    write_datasets(chosen, folder)
    return chosen


def add_engine_options(parser: argparse.ArgumentParser, *, engine: str, max_model_len: int) -> None:
    """Add the options of the model and of the engine that runs it, with these defaults."""
    parser.add_argument("--model", type=Path, default=ROOT / "scripts" / "tiny" / "fixture", metavar="DIR")
    parser.add_argument("--engine", choices=("transformers", "vllm"), default=engine)
    parser.add_argument("--dtype", choices=("float32", "bfloat16", "float16"), default="float32")
    parser.add_argument("--max-model-len", type=int, default=max_model_len, metavar="TOKENS")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything that was found there")
