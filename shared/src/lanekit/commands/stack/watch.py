"""Following a run of the composed stack: a live view, or plain lines of what changed. It only looks."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial

import redis
from pydantic import ValidationError
from redis.exceptions import RedisError
from rich.console import Console
from rich.live import Live

from lanekit.commands.lines import PlainLines
from lanekit.commands.notes import NoteTeller, print_note
from lanekit.commands.stack.drawing import RunDrawing, Sight, describe_trouble
from lanekit.errors import LanekitError
from lanekit.jobs.keys import RedisKeys
from lanekit.jobs.messages import RunSnapshot
from lanekit.jobs.signs import has_store, read_controller_age_s, read_workers
from lanekit.results.outcome import RunOutcome

LOOK_SECONDS = 1.0
OUTCOME_SECONDS = 5.0
END_PHASES = ("complete", "failed", "cancelled")


def look_at_run(client: redis.Redis, run_id: str, before: Sight) -> Sight:
    """Return what Redis tells of a run now; what cannot be seen stays as it was before, and is named."""
    try:
        content = client.get(RedisKeys.snapshot(run_id))
        snapshot = RunSnapshot.model_validate_json(content) if content else before.snapshot
        return Sight(snapshot, read_workers(client), read_controller_age_s(client), has_store(client))
    except (RedisError, OSError):
        trouble = "Redis does not answer"
    except ValidationError:
        trouble = "the controller is of another version: docker compose up -d --build"
    since = before.seen_at if before.trouble == trouble else time.monotonic()
    return Sight(before.snapshot, before.workers, before.controller_age_s, True, trouble, since)


def watch_run(
    run_id: str,
    client: redis.Redis,
    read_outcome: Callable[[], RunOutcome | None],
    console: Console,
    asked_at: float,
    look_seconds: float = LOOK_SECONDS,
) -> RunOutcome:
    """Show a run until it ends and return its outcome.

    Redis, the store or the controller may go away meanwhile: the view says so and goes on.

    Args:
        client: fails at once where Redis is away; see stack_health.connect_briefly.
        read_outcome: gives None while the run goes on, and raises LanekitError where the store is away.
        asked_at: when the run was asked for, in seconds since the epoch.
    """
    drawing = RunDrawing(run_id, asked_at)
    lines = SightLines(console)
    live = Live(drawing, console=console, refresh_per_second=4) if console.is_terminal else None
    notes = lines.notes if live is None else NoteTeller(partial(print_note, console))
    asked_store_at = 0.0
    if live:
        live.start()
    try:
        while True:
            sight = look_at_run(client, run_id, drawing.sight)
            drawing.sight = sight
            if live is None:
                lines.show(sight)
            elif sight.snapshot is not None:
                notes.show(sight.snapshot.collect_notes())
            ended = sight.snapshot is not None and sight.snapshot.phase in END_PHASES
            if ended or time.monotonic() - asked_store_at > OUTCOME_SECONDS:
                asked_store_at = time.monotonic()
                with suppress(LanekitError):  # the store is away: the next look asks again
                    outcome = read_outcome()
                    if outcome is not None:
                        notes.show(outcome.notes)  # of what was committed after the last look
                        return outcome
            time.sleep(look_seconds)
    finally:
        if live:
            live.stop()


class SightLines:
    """What is in the way of a look, and what changed since the last one, as lines."""

    def __init__(self, console: Console) -> None:
        self._lines = PlainLines(console)
        self._in_trouble = False
        self.notes = self._lines.notes

    def show(self, sight: Sight) -> None:
        """Print what is new."""
        trouble = describe_trouble(sight, time.monotonic())
        if bool(trouble) != self._in_trouble:
            self._in_trouble = bool(trouble)
            self._lines.print(trouble or "the controller reports", "yellow")
        self._lines.show(sight.snapshot)
