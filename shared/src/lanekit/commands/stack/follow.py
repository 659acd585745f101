"""Following a run of the composed stack to its end: the live view, then the table and what to do next."""

from __future__ import annotations

from contextlib import suppress

from rich.console import Console

from lanekit.commands.cli import EXIT_FAILED, tell_exit_code
from lanekit.commands.outcome_table import show_outcome
from lanekit.commands.stack.cli import Stack
from lanekit.commands.stack.fetch import build_outcome
from lanekit.commands.stack.health import AT_ONCE
from lanekit.commands.stack.watch import watch_run
from lanekit.errors import LanekitError
from lanekit.results.outcome import RunOutcome, parse_outcome
from lanekit.store.documents import RunDocuments, RunPaths
from lanekit.store.minio_client import make_client


def follow_run(stack: Stack, run_id: str, console: Console) -> int:
    """Watch a run to its end, show its table and return the exit code.

    0: complete; 1: a lane failed, a package was refused, or the run failed or was cancelled; 130: Ctrl-C,
    143, 129: other signals, which leave the run as it is.
    """
    brief = RunDocuments(make_client(stack.settings, AT_ONCE))  # the view must not stand still meanwhile

    def read_outcome() -> RunOutcome | None:
        content = brief.read(run_id, RunPaths.OUTCOME)
        return (
            parse_outcome(content, RunPaths.place(run_id, RunPaths.OUTCOME)) if content is not None else None
        )

    try:
        ended = watch_run(run_id, stack.redis, read_outcome, console, stack.read_asked_at(run_id))
    except KeyboardInterrupt as error:
        with suppress(OSError):  # after SIGHUP there is no terminal
            console.print(f"the run goes on; watch again with: python scripts/status.py {run_id} --watch",
                          highlight=False, soft_wrap=True)  # fmt: skip
        return tell_exit_code(error)
    return show_end(stack, ended, console)


def show_end(stack: Stack, ended: RunOutcome, console: Console) -> int:
    """Show how a run ended and what to do next, and return the exit code."""

    def say(text: str, style: str = "") -> None:
        console.print(text, style=style, markup=False, highlight=False, soft_wrap=True)

    if ended.summary is not None:
        try:
            show_outcome(console, build_outcome(stack, ended))
        except LanekitError as error:
            say(f"the table cannot be shown: {error}", "yellow")
    reason = f": {ended.reason}" if ended.reason else ""
    say(f"run {ended.run_id}: {ended.phase}{reason}", "" if ended.is_complete else "red")
    if ended.summary is not None:
        say(f"  python scripts/fetch.py {ended.run_id}   # results/ and submissions/")
    if not ended.is_complete:
        say(f"  python scripts/status.py {ended.run_id}   # why, with the ends of the logs")
        say(f"  python scripts/retry.py {ended.run_id}   # try again what failed")
    return 0 if ended.is_complete else EXIT_FAILED
