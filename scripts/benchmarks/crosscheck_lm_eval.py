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
import json
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")  # it writes to standard output

from rich.console import Console
from rich.table import Table

from benchmarks import harness
from benchmarks.agreement import Agreement, TieFinder, compare_benchmark, count_unexplained
from benchmarks.harness import Answer
from lanekit.errors import InputError
from lanekit.progress import ignore_progress
from lanekit.spec.benchmark import Benchmark
from lanekit.spec.experiment_file import load_benchmark
from lanekit.spec.params import EngineParams, EvaluateParams
from tiny.datasets import build_datasets, write_datasets

ROOT = Path(__file__).resolve().parents[2]
NAMES = ("kmmlu_pro", "kmmlu_redux", "ko_longrag")
MAX_SHOWN = 20


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path, default=ROOT / "scripts" / "tiny" / "fixture", metavar="DIR")
    parser.add_argument(
        "--data",
        type=Path,
        metavar="DIR",
        help="a folder of <benchmark>.jsonl (default: what make_tiny_data.py writes)",
    )
    parser.add_argument("--benchmarks", type=Path, default=ROOT / "lanes" / "benchmarks", metavar="DIR")
    parser.add_argument("--engine", choices=("transformers", "vllm"), default="transformers")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--dtype", choices=("float32", "bfloat16", "float16"), default="float32")
    parser.add_argument("--max-model-len", type=int, default=4096, metavar="TOKENS")
    parser.add_argument(
        "--max-prompt-tokens", type=int, metavar="TOKENS", help="instead of ko_longrag.yaml's"
    )
    parser.add_argument("--limit", type=int, metavar="N", help="the first N items of each benchmark")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the comparison there")
    return parser.parse_args(arguments)


def load_benchmarks(folder: Path, max_prompt_tokens: int | None = None) -> list[Benchmark]:
    """Return the benchmarks that both can score."""
    benchmarks = [load_benchmark(folder / f"{name}.yaml") for name in NAMES]
    if max_prompt_tokens:
        benchmarks[-1] = benchmarks[-1].model_copy(update={"max_prompt_tokens": max_prompt_tokens})
    return benchmarks


def ask_ours(
    model: Path, suite: Path, benchmarks: Sequence[Benchmark], engine: EngineParams, limit: int | None = None
) -> tuple[dict[str, list[Answer]], dict[str, list[str]]]:
    """Evaluate with our stage; returns the answers and the user messages, by benchmark."""
    from evaluator.quality.chat import ChatTokenizer
    from evaluator.quality.items import load_items
    from evaluator.quality.outputs import read_items
    from evaluator.quality.prompts import render_items
    from evaluator.stages import evaluate
    from lanekit.results.collect import ITEMS_NAME

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
        lines = (suite / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
        rows[name] = [json.loads(line) for line in lines if line.strip()][:limit]
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


def compare(
    model: Path, suite: Path, benchmarks: Sequence[Benchmark], engine: EngineParams, limit: int | None = None
) -> dict[str, Agreement]:
    """Run both tools on one model and compare them, by benchmark."""
    ours, messages = ask_ours(model, suite, benchmarks, engine, limit)
    with tempfile.TemporaryDirectory() as name:
        tasks = harness.make_tasks(benchmarks, read_rows(suite, messages, limit), Path(name))
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
    console = Console(width=None if sys.stdout.isatty() else 110, highlight=False)
    table = Table("benchmark", caption="evaluate against lm_eval: shares right, and numbers of equal items")
    for column in ("items", "ours", "lm_eval", "prompts", "replies", "answers", "verdicts"):
        table.add_column(column, justify="right")
    for name, each in found.items():
        shares = f"{each.right_ours:.4f}", f"{each.right_theirs:.4f}"
        equal = each.prompts_equal, each.replies_equal, each.answers_equal, each.verdicts_equal
        table.add_row(name, str(each.n_items), *shares, *map(str, equal))
    console.print(table)
    differences = [difference for each in found.values() for difference in each.differences]
    for one in differences[:MAX_SHOWN]:
        console.print(f"{one.benchmark}, item {one.index}, {one.what}:", markup=False)
        console.print(f"  ours {one.ours!r}\n  lm_eval {one.theirs!r}", markup=False)
        console.print(f"  {one.cause or 'no known cause'}", markup=False)
    if len(differences) > MAX_SHOWN:
        console.print(f"and {len(differences) - MAX_SHOWN} more")
    console.print(f"{len(differences)} differences, {count_unexplained(found)} without a known cause")


def describe_run(
    found: Mapping[str, Agreement], args: argparse.Namespace, engine: EngineParams
) -> dict[str, Any]:
    """Return the comparison and its conditions as JSON values."""
    packages = "lm_eval", "torch", "transformers"
    return {
        "date": str(date.today()),
        "model": str(args.model),
        "engine": engine.model_dump(mode="json"),
        "limit": args.limit,
        "versions": {package: version(package) for package in packages},
        "unexplained": count_unexplained(found),
        "benchmarks": {name: each.describe() for name, each in found.items()},
    }


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
            write_datasets(build_datasets(42), suite)
        found = compare(args.model, suite, benchmarks, engine, args.limit)
    print_report(found)
    if args.json:
        described = describe_run(found, args, engine)
        args.json.write_text(json.dumps(described, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
    return int(count_unexplained(found) > 0)


if __name__ == "__main__":
    sys.exit(main())
