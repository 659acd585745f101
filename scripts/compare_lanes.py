"""Show the items on which two lanes differ: by value, or by another answer of the same value.

Reads results/<lane>/items.parquet, as run_all.py, 05_rank_and_package.py and fetch.py leave them. The name
"baseline" stands for the uncompressed model. First the counts by benchmark, with an exact or permutation
test of the pairs; then the items: those that B gained or lost against A, then those that only changed. An
item under whose id the lanes were asked another question is left out. ⚠ marks a contaminated lane. B's
loss against A is held against a margin, 1 % of A's value if the last ranking had no other. Where the lanes
have a screen, their KL to the base, and B's less A's with the standard error of the paired conversations.

Two folders of lm-evaluation-harness (0.4.13, --log_samples) are compared alike, task by task.

  python scripts/compare_lanes.py baseline lane01_gptq_w4a16
  python scripts/compare_lanes.py lane01_gptq_w4a16 lane03_gptq_w8a16 --benchmark kmmlu_pro --only lost
  python scripts/compare_lanes.py baseline lane12_fp8_static --limit 0     # the counts alone
  python scripts/compare_lanes.py baseline lane12_fp8_static --json | jq '.items[].id'
  python scripts/compare_lanes.py out/base out/w4a16 --metric acc_norm --filter mini_sum=strict-match

Exit codes: 0; 2 the input is at fault.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from lanekit.commands import cli
from lanekit.errors import InputError, did_you_mean
from lanekit.host.settings import load_host_settings

if TYPE_CHECKING:
    from lanekit.results.ranking import MarginTest
    from ranker.statistics.comparison import Answer, Counts, Pair

LIMIT = 20
QUESTION_CHARACTERS, REPLY_CHARACTERS = 160, 120
KINDS = ("gained", "lost", "changed")
STYLES = {"gained": "green", "lost": "red", "changed": "yellow"}


def main() -> int:
    """Compare two lanes; see the docstring for the exit codes."""
    args = parse_arguments()
    try:
        from ranker.statistics import comparison, harness_folders, screens
    except ImportError as error:  # the light environment of the stack's commands
        raise InputError(
            f"this command reads parquet files, and {error.name} is not installed",
            remedy="./scripts/dev setup installs the whole environment",
        ) from error
    notes: list[str] = []
    names = (args.lane_a, args.lane_b)
    is_foreign = harness_folders.are_folders(args.results, names, [*args.metric, *args.filter])
    if is_foreign:
        choices = harness_folders.map_choices(args.metric), harness_folders.map_choices(args.filter)
        rows = harness_folders.load_rows(names, args.benchmark, *choices, notes)
    else:
        rows = [comparison.load_lane(args.results, lane) for lane in names]
    everything = comparison.pair_lanes(*rows)
    pairs, unlike = comparison.leave_out_unlike(everything)
    weights, margin = ({}, comparison.MARGIN) if is_foreign else comparison.read_rules(args.results)
    margin = margin if args.margin is None else args.margin
    contamination = {n: {} if is_foreign else comparison.read_contamination(args.results, n) for n in names}
    found_screens = [None if is_foreign else screens.read_screen(args.results, name) for name in names]
    known = list(dict.fromkeys(pair.benchmark for pair in pairs))
    if args.benchmark:
        if args.benchmark not in known:
            raise InputError(
                f"no items of the benchmark '{args.benchmark}'{did_you_mean(args.benchmark, known)}",
                remedy=f"name one of {', '.join(known)}",
            )
        pairs = [pair for pair in pairs if pair.benchmark == args.benchmark]
    counts = comparison.count_pairs(pairs, margin)
    perf = comparison.judge_perf(pairs, weights, margin)
    shown = choose_pairs(pairs, args.only)
    if args.json:
        items = [comparison.describe_pair(pair) for pair in shown[: args.limit]]
        content = {"a": args.lane_a, "b": args.lane_b, "n_items": len(shown), "items": items}
        content |= {"margin": margin, "perf": perf.model_dump(mode="json") if perf else None, "notes": notes}
        content |= {"n_other_questions": len(unlike), "contamination": contamination}
        content |= {"screen": screens.describe_screens(*found_screens)}
        print(
            json.dumps(
                content | {"benchmarks": [comparison.describe_counts(c) for c in counts]},
                ensure_ascii=False,
                indent=2,
            )
        )
        return 0
    console = cli.make_console()
    marked = [f"{name}{' ⚠' if contamination[name] else ''}" for name in names]
    show_counts(console, counts, *marked)
    tests = {found.benchmark: found.margin_test for found in counts} | {"Perf": perf}
    show_margins(console, {name: test for name, test in tests.items() if test}, margin)
    for note in (*screens.list_lines(*found_screens), *notes):
        console.print(note, style="dim", highlight=False, markup=False)
    n_alone = [len(found) - len(everything) for found in rows]
    if any(n_alone):
        console.print(f"asked of one lane alone, left out: A {n_alone[0]}, B {n_alone[1]}", style="yellow")
    if unlike:
        first = unlike[0]
        console.print(
            f"another question or gold answer under the same id, left out: {len(unlike)}, e.g. "
            f"{first.benchmark} {first.id} ({first.index})",
            style="yellow",
            markup=False,
        )
    for name, found in contamination.items():
        where = ", ".join(f"{count} of {benchmark}" for benchmark, count in found.items())
        if where:
            warning = f"⚠ {name} is contaminated: it learnt from text that holds items: {where}"
            console.print(warning, style="yellow", markup=False)
    show_pairs(console, shown, args)
    return 0


def parse_arguments() -> argparse.Namespace:
    """Return the command line's arguments."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("lane_a", metavar="LANE_A", help="a lane's name, baseline, or a folder of samples")
    parser.add_argument("lane_b", metavar="LANE_B", help="likewise; folders are compared with folders")
    parser.add_argument("--benchmark", metavar="B", help="this benchmark or task alone (default: all)")
    parser.add_argument(
        "--margin", type=_share, metavar="M", help="the loss that counts as none, of A's value (0.01: 1 %%)"
    )
    for name in ("metric", "filter"):
        parser.add_argument(
            f"--{name}", action="append", default=[], metavar="[TASK=]NAME",
            help=f"of folders: the {name} to compare by, where a task has several; may be repeated",
        )  # fmt: skip
    parser.add_argument(
        "--results",
        type=Path,
        default=load_host_settings().results,
        help="results folder (default: %(default)s)",
    )
    parser.add_argument(
        "--limit", type=_count, default=LIMIT, metavar="N", help="items shown (default: %(default)s)"
    )
    parser.add_argument(
        "--only", choices=KINDS, help="gained: B better than A; lost: worse; changed: neither"
    )
    parser.add_argument("--json", action="store_true", help="print data for another program")
    return parser.parse_args()


def choose_pairs(pairs: Sequence[Pair], only: str | None) -> list[Pair]:
    """Return the pairs that differ, those of one value last; with `only` those of that kind."""
    wanted = [only] if only else list(KINDS)
    return sorted(
        (pair for pair in pairs if pair.change in wanted), key=lambda pair: pair.change == "changed"
    )


def show_counts(console: Console, counts: Sequence[Counts], lane_a: str, lane_b: str) -> None:
    """Print how the two lanes agree, by benchmark."""
    table = Table(title=f"A = {lane_a}, B = {lane_b}", title_justify="left")
    table.add_column("benchmark", no_wrap=True)
    heads = ("items", "both right", "only A", "only B", "neither", "gained", "lost", "changed", "p")
    for name in heads:
        table.add_column(name, justify="right")
    table.add_column("test")
    for found in counts:
        p_value = "–" if found.p_value is None else f"{found.p_value:.3g}"
        numbers = (
            found.n_items, found.both_right, found.only_a, found.only_b, found.neither, found.n_gained,
            found.n_lost, found.n_changed,
        )  # fmt: skip
        table.add_row(found.benchmark, *map(str, numbers), p_value, found.test or "no values")
    console.print(table)
    console.print(
        "right: the whole value; gained, lost: B's value is higher, lower; changed: another answer of the "
        "same value. p: two-sided, of the paired values.",
        style="dim",
        highlight=False,
    )


def show_margins(console: Console, tests: Mapping[str, MarginTest], margin: float) -> None:
    """Print B's difference from A by benchmark, and the verdict against the margin."""
    from ranker.report.tables_margin import list_values

    if not tests:
        return
    table = Table(title=f"is B's loss below {100 * margin:g} % of A's value?", title_justify="left")
    for head in ("benchmark", "verdict"):
        table.add_column(head, no_wrap=True)
    for head in ("Δ, points", "95 % interval", "loss allowed", "could show", "items", "items needed"):
        table.add_column(head, justify="right")
    for name, test in tests.items():
        (verdict, _), (difference, interval), *others = list_values(test)
        table.add_row(name, verdict, difference, interval, *(value for value, _ in others))
    console.print(table)
    console.print(
        "Δ, interval, loss allowed, could show (with 80 % power): percentage points, 1 is 0.01 of a value. "
        "Items needed: to settle the verdict, were the difference seen the true one.",
        style="dim",
        highlight=False,
    )


def show_pairs(console: Console, pairs: Sequence[Pair], args: argparse.Namespace) -> None:
    """Print the items, each with both lanes' answers."""
    kind = args.only or "different"
    if not pairs:
        console.print(f"No {kind} item.")
        return
    for pair in pairs[: args.limit]:
        turn = f", turn {pair.turn}" if pair.turn > 1 else ""
        title = Text.assemble(
            (pair.change, f"bold {STYLES[pair.change]}"),
            f"  {pair.benchmark}  {pair.id} ({pair.index}{turn})",
        )
        console.print(title)
        table = Table(show_header=False, box=None, pad_edge=False)
        table.add_column(style="dim", no_wrap=True)
        table.add_column(overflow="fold")
        table.add_row("question", Text(shorten(pair.question, QUESTION_CHARACTERS)))
        if pair.gold:
            table.add_row("gold", Text(shorten(pair.gold, REPLY_CHARACTERS)))
        for side, answer in (("A", pair.a), ("B", pair.b)):
            table.add_row(side, draw_answer(answer))
        console.print(table)
        console.print()
    hidden = len(pairs) - min(args.limit, len(pairs))
    if hidden:
        console.print(f"{hidden} more {kind} items: --limit {len(pairs)} shows all.", highlight=False)


def draw_answer(answer: Answer) -> Text:
    """Return an answer's value, what was parsed, and the reply's beginning."""
    value = "–" if answer.value is None else f"{answer.value:.3g}"
    parsed = "not parsed" if answer.parsed is None else shorten(answer.parsed, REPLY_CHARACTERS)
    text = Text.assemble((f"{value:>5}  ", "bold"), parsed)
    reply = shorten(answer.response, REPLY_CHARACTERS)
    return text if reply == parsed else text.append(f"  ← {reply}", "dim")


def shorten(text: str, limit: int) -> str:
    """Return foreign text on one line, without control characters, its middle left out where it is long."""
    line = "".join(c for c in " ".join(text.split()) if c.isprintable())
    if len(line) <= limit:
        return line
    end = limit // 3
    return f"{line[: limit - end]} … {line[-end:]}"


def _share(text: str) -> float:
    number = float(text)
    if not 0 < number < 1:
        raise argparse.ArgumentTypeError("a margin is a share between 0 and 1, e.g. 0.01")
    return number


def _count(text: str) -> int:
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError("a number of items is 0 or more")
    return number


if __name__ == "__main__":
    cli.run_main(main)
