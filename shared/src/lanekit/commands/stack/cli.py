"""What the commands for the composed stack share: their options, its clients, and which run is meant."""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import redis
import structlog
from pydantic import ValidationError

from lanekit.commands.stack.health import require_stack
from lanekit.errors import InputError, did_you_mean
from lanekit.host.checkout import find_project_root
from lanekit.host.stack_settings import StackSettings, load_operator_settings
from lanekit.jobs.connection import connect_briefly
from lanekit.jobs.messages import FailureReport
from lanekit.plan.run_document import RunSpec, parse_run
from lanekit.results.outcome import RunOutcome, parse_outcome
from lanekit.store.documents import BUCKET, RunDocuments, RunPaths
from lanekit.store.minio import MinioStore
from lanekit.store.minio_client import RetryPolicy, StoreClient, make_client

PATIENCE = RetryPolicy(total_seconds=30.0)


@dataclass(frozen=True)
class Stack:
    """The operator's clients; nothing is sent before they are used."""

    settings: StackSettings
    redis: redis.Redis
    client: StoreClient
    documents: RunDocuments
    store: MinioStore

    def read_run(self, run_id: str) -> RunSpec:
        """Return a run as it was asked for."""
        content = self.documents.read(run_id, RunPaths.RUN)
        if content is None:
            raise InputError(f"run {run_id}: it has no {RunPaths.RUN}", remedy="enqueue it again")
        return parse_run(content, RunPaths.place(run_id, RunPaths.RUN))

    def read_outcome(self, run_id: str) -> RunOutcome | None:
        """Return how a run ended, None while it goes on."""
        content = self.documents.read(run_id, RunPaths.OUTCOME)
        return (
            parse_outcome(content, RunPaths.place(run_id, RunPaths.OUTCOME)) if content is not None else None
        )

    def read_failures(self, run_id: str) -> dict[str, FailureReport]:
        """Return the failures of a run by stage key."""
        failures = {}
        for name in self.documents.list_names(run_id, RunPaths.FAILURES):
            content = self.documents.read(run_id, name)
            with suppress(ValidationError):  # the controller counts an unreadable one as a failure as well
                failures[Path(name).stem] = FailureReport.model_validate_json(content or b"{}")
        return failures

    def read_asked_at(self, run_id: str) -> float:
        """Return when a run's document was written, in seconds since the epoch."""
        stat = self.client.call(
            f"looking at run {run_id}",
            lambda: self.client.minio.stat_object(BUCKET, RunPaths.place(run_id, RunPaths.RUN)),
        )
        written: datetime | None = stat.last_modified
        return written.timestamp() if written else 0.0


def make_stack_parser(doc: str | None) -> argparse.ArgumentParser:
    """Return a parser whose help is the script's docstring, with the options of every stack command."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--env-file", type=Path, default=find_project_root() / ".env",
        help="the stack's .env, which scripts/make_env.py writes (default: the repository's)",
    )  # fmt: skip
    return parser


def add_run_argument(parser: argparse.ArgumentParser) -> None:
    """Add the argument that names a run."""
    parser.add_argument(
        "run", nargs="?", default="", metavar="RUN",
        help="a run's id or the start of it, as far as it is unique; left out where there is one run",
    )  # fmt: skip


def open_stack(env_file: Path, workers: Iterable[str] | None = (), retry: RetryPolicy = PATIENCE) -> Stack:
    """Return the stack's clients once it is found ready.

    Args:
        workers: those that must be up; None checks nothing.

    Raises:
        InputError: the .env is missing.
        StackError: a part is missing; names all of them, with the commands that start them.
    """
    structlog.configure(  # what the clients log is for a person here, and standard output may be JSON
        wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR),
        logger_factory=lambda *_: structlog.PrintLogger(sys.stderr),
    )
    settings = load_operator_settings(env_file)
    if workers is not None:
        require_stack(settings, workers)
    client = make_client(settings, retry)
    return Stack(settings, connect_briefly(settings), client, RunDocuments(client), MinioStore(client))


def choose_run(run_ids: Sequence[str], wanted: str) -> str:
    """Return the run that a person means by its id or the start of it; the only one where none is said.

    Raises:
        InputError: there is no such run, or several; names them.
    """
    if not run_ids:
        raise InputError("no run was enqueued yet", remedy="python scripts/enqueue_lane.py --all")
    known = "\n    ".join(["runs:", *run_ids])
    if not wanted:
        if len(run_ids) == 1:
            return run_ids[0]
        raise InputError(f"there are {len(run_ids)} runs: say which", remedy=known)
    if wanted in run_ids:
        return wanted
    found = [run_id for run_id in run_ids if run_id.startswith(wanted)]
    if len(found) == 1:
        return found[0]
    if found:
        raise InputError(f"'{wanted}' begins {len(found)} runs", remedy="\n    ".join(["say more:", *found]))
    raise InputError(f"unknown run '{wanted}'{did_you_mean(wanted, run_ids)}", remedy=known)


def print_json(data: Any) -> None:
    """Print data as indented JSON for another program."""
    print(json.dumps(data, indent=2, ensure_ascii=False))
