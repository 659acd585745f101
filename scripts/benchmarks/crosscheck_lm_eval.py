"""Compare the stage `evaluate` with EleutherAI's lm-evaluation-harness, item by item, on one model.

Both load the model, write the prompts, generate greedily, read the answers and score them, each by its own
code; both get the same items and the same benchmark files. Compared are the prompts' token ids, the replies,
the answers read from them, the gold answers and the verdicts. Exits with 1 where an item
differs without a known cause. KoMT-Bench, which a judge scores, is left out. Needs the package lm_eval.

Examples
  python scripts/benchmarks/crosscheck_lm_eval.py                          # the tiny model, its 300 items
  python scripts/benchmarks/crosscheck_lm_eval.py --engine vllm --json crosscheck.json
  python scripts/benchmarks/crosscheck_lm_eval.py --max-prompt-tokens 90   # half the documents are cut
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")  # it writes to standard output

from benchmarks import measure
from benchmarks.crosscheck import harness
from benchmarks.crosscheck.agreement import Agreement, compare_benchmark, count_unexplained
from benchmarks.crosscheck.causes import TieFinder
from benchmarks.crosscheck.harness import Answer
from benchmarks.crosscheck.ours import ask_ours, read_rows
from benchmarks.crosscheck.tasks import make_tasks
from benchmarks.suite import BENCHMARKS_FOLDER, add_engine_options, load_benchmarks, write_suite
from lanekit.spec.benchmark import Benchmark
from lanekit.spec.evaluation import EngineParams

MAX_SHOWN = 20


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = measure.make_parser(__doc__)
    add_engine_options(parser, engine="transformers", max_model_len=4096)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument(
        "--data", type=Path, metavar="DIR",
        help="a folder of <benchmark>.jsonl (default: what make_tiny_data.py writes)",
    )  # fmt: skip
    parser.add_argument("--benchmarks", type=Path, default=BENCHMARKS_FOLDER, metavar="DIR")
    parser.add_argument(
        "--max-prompt-tokens", type=int, metavar="TOKENS", help="instead of ko_longrag.yaml's"
    )
    parser.add_argument("--limit", type=int, metavar="N", help="the first N items of each benchmark")
    return parser.parse_args(arguments)


def compare(
    model: Path, suite: Path, benchmarks: Sequence[Benchmark], engine: EngineParams, limit: int | None = None
) -> dict[str, Agreement]:
    """Run both tools on one model and compare them, by benchmark."""
    ours, messages = ask_ours(model, suite, benchmarks, engine, limit)
    with tempfile.TemporaryDirectory() as name:
        tasks = make_tasks(benchmarks, read_rows(suite, messages, limit), Path(name))
        theirs = harness.answer_items(harness.load_model(model, engine), tasks)
    return compare_answers(ours, theirs, model)


def compare_answers(
    ours: Mapping[str, Sequence[Answer]], theirs: Mapping[str, Sequence[Answer]], model: Path
) -> dict[str, Agreement]:
    """Compare two tools' answers, by benchmark; a reply that parts at a tie is explained."""
    finder = TieFinder(model)
    return {name: compare_benchmark(name, ours[name], theirs[name], finder.explain) for name in ours}


def print_report(found: Mapping[str, Agreement]) -> None:
    """Print the comparison and the first differences."""
    heads = "benchmark", "items", "right: ours", "lm_eval", "equal: prompts", "replies", "answers", "verdicts"
    rows = []
    for name, each in found.items():
        shares = f"{each.right_ours:.4f}", f"{each.right_theirs:.4f}"
        equal = each.prompts_equal, each.replies_equal, each.answers_equal, each.verdicts_equal
        rows.append((name, str(each.n_items), *shares, *map(str, equal)))
    print(measure.render_table(heads, rows))
    differences = [difference for each in found.values() for difference in each.differences]
    for one in differences[:MAX_SHOWN]:
        print(f"{one.benchmark}, item {one.index}, {one.what}:")
        print(f"  ours {one.ours!r}\n  lm_eval {one.theirs!r}\n  {one.cause or 'no known cause'}")
    if len(differences) > MAX_SHOWN:
        print(f"and {len(differences) - MAX_SHOWN} more")
    print(f"{len(differences)} differences, {count_unexplained(found)} without a known cause")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the comparison; returns 1 where something differs without a known cause."""
    args = parse_arguments(arguments)
    engine = EngineParams(
        engine=args.engine, dtype=args.dtype, device=args.device, max_model_len=args.max_model_len,
        batch_size=32, enforce_eager=args.device == "cpu",
    )  # fmt: skip
    benchmarks = load_benchmarks(args.benchmarks, args.max_prompt_tokens)
    with tempfile.TemporaryDirectory() as name:
        suite = args.data or Path(name)
        if args.data is None:
            write_suite(suite)
        found = compare(args.model, suite, benchmarks, engine, args.limit)
    print_report(found)
    unexplained = count_unexplained(found)
    described = {
        "machine": measure.describe_machine("lm_eval", "torch", "transformers"),
        "model": str(args.model),
        "engine": engine.model_dump(mode="json"),
        "limit": args.limit,
        "unexplained": unexplained,
        "benchmarks": {name: asdict(each) for name, each in found.items()},
    }
    measure.write_json(args.json, described)
    return int(unexplained > 0)


if __name__ == "__main__":
    sys.exit(main())
