"""What the composed stack lacks, all of it at once, each problem with the command that mends it."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import redis
from redis.exceptions import AuthenticationError, BusyLoadingError, RedisError

from lanekit.errors import LanekitError
from lanekit.host.stack_settings import StackSettings
from lanekit.jobs.connection import PROBE_SECONDS, connect_briefly, redis_url
from lanekit.jobs.messages import REPORT_TTL_SECONDS
from lanekit.jobs.signs import read_controller_age_s, read_workers
from lanekit.plan.preflight.finding import Finding, PreflightError
from lanekit.spec.stages import BUCKETS
from lanekit.store.minio_client import REFUSED, RetryPolicy, make_client

UP = "docker compose up -d --wait"
AT_ONCE = RetryPolicy(total_seconds=0.0)  # a person waits: say what is wrong
SILENT_SECONDS = 12.0  # two reports missed


class StackError(PreflightError):
    """The stack is not ready; nothing was queued."""

    heading = "the stack is not ready: {} parts are missing"
    closing = "run the commands above, then this one again"


def require_stack(settings: StackSettings, workers: Iterable[str] = ()) -> None:
    """Check the stack.

    Raises:
        StackError: something that is needed is missing; names all of it.
    """
    problems = check_stack(settings, workers)
    if problems:
        raise StackError(problems)


def check_stack(settings: StackSettings, workers: Iterable[str]) -> list[Finding]:
    """Return what is missing, at once and with remedies; empty where `workers` can take work now."""
    redis_problem, minio_problem = check_redis(settings), check_minio(settings)
    if redis_problem and minio_problem and not is_answered(redis_url(settings)) \
            and not is_answered(settings.minio_url):  # fmt: skip
        return [Finding("stack", "it is not up: neither Redis nor MinIO answers", UP)]
    problems = [problem for problem in (redis_problem, minio_problem) if problem]
    if redis_problem is None:
        with connect_briefly(settings) as client:
            problems += check_processes(client, workers)
    return problems


def is_answered(url: str) -> bool:
    """Whether something accepts connections at a URL's host and port."""
    parts = urlsplit(url)
    port = parts.port or {"redis": 6379, "rediss": 6379, "https": 443}.get(parts.scheme, 80)
    try:
        with socket.create_connection((parts.hostname or "127.0.0.1", port), timeout=PROBE_SECONDS):
            return True
    except OSError:
        return False


def check_redis(settings: StackSettings) -> Finding | None:
    """Ask Redis for a reply with the operator's password."""
    where = redis_url(settings).rpartition("@")[2].partition("/")[0]
    try:
        with connect_briefly(settings) as client:
            client.ping()
    except AuthenticationError:
        return Finding(
            "redis", f"{where} refuses the password: it was started with another .env",
            f"{UP} (it starts Redis anew with this .env), or pass --env-file",
        )  # fmt: skip
    except BusyLoadingError:
        return Finding("redis", f"{where} still reads its data", "wait some seconds, then try again")
    except (RedisError, OSError, ValueError) as error:
        if is_answered(redis_url(settings)):
            return Finding("redis", f"{where} answers, but not as Redis: {error}",
                           "docker compose ps, or set another REDIS_PORT in .env")  # fmt: skip
        return Finding("redis", f"{where} does not answer", _start("redis"))
    return None


def check_minio(settings: StackSettings) -> Finding | None:
    """Read a listing of every bucket with the operator's key."""
    where = urlsplit(settings.minio_url).netloc
    if not is_answered(settings.minio_url):
        return Finding("minio", f"{where} does not answer", _start("minio"))
    client = make_client(settings, AT_ONCE)
    missing = []
    for bucket in BUCKETS:
        listing = partial(client.minio.list_objects, bucket, prefix="runs/")
        try:
            client.call("asking MinIO", _read_first, listing)
        except LanekitError as error:
            code = getattr(error.__cause__, "code", "")
            if code == "NoSuchBucket":
                missing.append(bucket)
            elif code in REFUSED:
                return Finding(
                    "minio", f"{where} refuses the account '{client.access_key}' ({code}): it is not set up, "
                    "or .env holds another key",
                    "docker compose up -d setup, or pass --env-file",
                )  # fmt: skip
            else:
                return Finding("minio", error.message, error.remedy or "docker compose logs minio")
    if missing:
        return Finding(
            "minio", f"{where} lacks the buckets {', '.join(missing)}", "docker compose up -d setup"
        )
    return None


def _read_first(listing: Callable[[], Iterable[Any]]) -> None:
    next(iter(listing()), None)


def check_processes(client: redis.Redis, workers: Iterable[str]) -> list[Finding]:
    """Return a problem for the controller and for each worker that is not up."""
    problems = []
    if read_controller_age_s(client) is None:
        problems.append(
            Finding("controller", f"no sign of life for {REPORT_TTL_SECONDS} s",
                    _start("controller"))
        )  # fmt: skip
    live = {worker.report.service for worker in read_workers(client)}
    problems += [
        Finding(worker, "no worker is up, and lanes need one", _start(worker))
        for worker in workers
        if worker not in live
    ]
    return problems


def _start(service: str) -> str:
    return f"docker compose up -d {service}; if it does not stay up: docker compose logs {service}"
