"""Keep the server's scores beside the local ones, and say what local scores are worth.

`add` appends a line to lanes/ledger.csv (keep it under version control): the score and the minutes that the
server showed for a lane's package, the package's sha256, and the local score of the very model in it, if the
last ranking has one. `show` prints all, with the runs of the slow host marked, the rank correlation of local
and server scores, and how far apart two local scores must lie to order the server's. The same table stands in
results/summary.html and summary.md from then on. A line is corrected by hand; a faulty one is named.

  python scripts/ledger.py add lane12_fp8_static --score 0.6220 --minutes 9:41
  python scripts/ledger.py add lane04 --score 0.5051 --minutes 13:02 --at 2026-11-28T03:12+09:00
  python scripts/ledger.py add lane03 --score 0.61 --package ./submit_top1.zip --note "second draw"
  python scripts/ledger.py show
  python scripts/ledger.py show --json | jq .agreement

Exit codes: 0; 2 the input is at fault.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

from rich.console import Console

from lanekit.commands import cli
from lanekit.errors import InputError
from lanekit.host.checkout import find_project_root
from lanekit.host.settings import STACK_CACHE, load_host_settings
from lanekit.results.ledger import (
    HOSTS,
    LEDGER_NAME,
    Entry,
    append_entry,
    parse_minutes,
    parse_name,
    parse_score,
    parse_time,
    read_ledger,
)
from lanekit.results.submitted import find_submitted
from ranker.report.ledger_section import refresh_tables

Value = TypeVar("Value")


def main() -> int:
    """Add an entry or show them; see the docstring for the exit codes."""
    args = parse_arguments()
    if args.command == "add":
        return add(args, cli.make_console())
    return show(args, cli.make_console())


def parse_arguments() -> argparse.Namespace:
    """Return the command line's arguments."""
    settings = load_host_settings()
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument(
        "--ledger", type=Path, default=find_project_root() / "lanes" / LEDGER_NAME,
        help=f"the file (default: lanes/{LEDGER_NAME}, beside the experiment file)",
    )  # fmt: skip
    commands = parser.add_subparsers(dest="command", required=True, metavar="add|show")
    adding = commands.add_parser("add", parents=[shared], help="append a score of the server")
    adding.add_argument("lane", metavar="LANE", help="the lane, by name or number")
    adding.add_argument("--score", required=True, type=_option(parse_score), help="as the server shows it")
    adding.add_argument(
        "--minutes",
        type=_option(parse_minutes),
        help="how long the run took, 9.8 or 9:48; tells the slow host",
    )
    adding.add_argument(
        "--at", type=_option(read_time), default=None,
        help="when it ran, e.g. 2026-11-28T03:12+09:00; without an offset it is this machine's time "
        "(default: now)",
    )  # fmt: skip
    adding.add_argument(
        "--package", type=Path, metavar="ZIP", help="the zip that was handed in, where the lane has several"
    )
    adding.add_argument("--host", choices=HOSTS[1:], default="", help="the server's state, where you know it")
    adding.add_argument("--note", type=_option(read_note), default="", help="a few words")
    adding.add_argument(
        "--store", type=cli.read_folder, default=settings.store,
        help=f"store that holds the package (default: %(default)s; {STACK_CACHE} is looked at as well)",
    )  # fmt: skip
    adding.add_argument(
        "--results", type=cli.read_folder, default=settings.results,
        help="folder of the tables (default: %(default)s)",
    )  # fmt: skip
    showing = commands.add_parser("show", parents=[shared], help="print all entries and what they say")
    showing.add_argument("--json", action="store_true", help="print data for another program")
    return parser.parse_args()


def add(args: argparse.Namespace, console: Console) -> int:
    """Append an entry and put the ledger into the tables."""
    if not args.ledger.parent.is_dir():
        raise InputError(f"{args.ledger.parent}: no such folder", remedy="make it, or pass another --ledger")
    stores = list(dict.fromkeys((args.store, STACK_CACHE)))
    found = find_submitted(read_lane(args.lane), stores, args.results, args.package)
    entry = Entry(
        at=args.at or datetime.now().astimezone().replace(microsecond=0),
        score=args.score, minutes=args.minutes, host=args.host, note=args.note,
        **{name: value for name, value in vars(found).items() if name != "notes"},
    )  # fmt: skip
    append_entry(args.ledger, entry)
    local = "" if entry.local_score is None else f", local score {entry.local_score:.4f}"
    lines = [
        f"{args.ledger}: {entry.lane}, package {entry.package[:12]}, {entry.score:.4f}{local}",
        *found.notes,
    ]
    for line in (*lines, *refresh_tables(args.results, args.ledger)):
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    return 0


def show(args: argparse.Namespace, console: Console) -> int:
    """Print the entries and what they say."""
    entries = read_ledger(args.ledger)
    if not entries and not args.json:
        console.print(f"{args.ledger}: no entry; python scripts/ledger.py add --help", markup=False)
        return 0
    try:
        from ranker.report.markdown import draw_table
        from ranker.report.tables_ledger import assess, tabulate_ledger
    except ImportError as error:  # the light environment of the stack's commands
        raise InputError(
            f"showing the ledger needs {error.name}, which is not installed",
            remedy="./scripts/dev setup installs the whole environment",
        ) from error
    if args.json:
        hosts, agreement, device = assess(entries)
        rows = [
            describe_entry(e) | {"state": h.state, "why": h.reason}
            for e, h in zip(entries, hosts, strict=True)
        ]
        interval = agreement.interval.model_dump() if agreement.interval else None
        found = asdict(agreement) | {"interval": interval, "device": device}
        print(json.dumps({"entries": rows, "agreement": found}, ensure_ascii=False, indent=2))
        return 0
    for line in draw_table(tabulate_ledger(entries)):
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    return 0


def describe_entry(entry: Entry) -> dict[str, Any]:
    """Return an entry for another program."""
    return asdict(entry) | {"at": entry.at.isoformat()}


def read_time(text: str) -> datetime:
    """Return a time; one without an offset is this machine's."""
    try:
        return datetime.fromisoformat(text).astimezone()
    except ValueError:
        return parse_time(text)  # tells what is wrong


def read_note(text: str) -> str:
    """Return a note on one line."""
    return parse_name(" ".join(text.split())) if text.strip() else ""


def read_lane(text: str) -> str:
    """Return a lane's name.

    Raises:
        InputError: it is none.
    """
    try:
        return parse_name(text.strip())
    except ValueError as error:
        raise InputError(
            f"LANE '{text}' {error}", remedy="name the lane whose package was handed in"
        ) from error


def _option(parse: Callable[[str], Value]) -> Callable[[str], Value]:
    """Return a parser of a cell as argparse wants it, its remedy in the message."""

    def read(text: str) -> Value:
        try:
            return parse(text.strip())
        except ValueError as error:
            raise argparse.ArgumentTypeError(f"'{text}' {error}: {getattr(error, 'remedy', '')}") from error

    return read


if __name__ == "__main__":
    cli.run_main(main)
