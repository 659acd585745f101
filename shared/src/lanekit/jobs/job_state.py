"""What becomes of a job in RQ: started, finished, failed, handed back. Each step is one transaction.

A step writes to a job's hash only where the hash is there and this worker is its holder: after a flush, or
after somebody queued the job anew, no half of a job is left behind.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from redis import Redis
from redis.client import Pipeline
from rq import worker_registration
from rq.executions import Execution
from rq.job import JobStatus
from rq.results import Result
from rq.utils import current_timestamp, now, utcformat
from rq.worker import BaseWorker

from lanekit.jobs import messages
from lanekit.jobs.keys import RedisKeys
from lanekit.jobs.safe_job import SafeJob, make_queue

JOB_TTL_SECONDS = 60
WORKER_TTL_SECONDS = 60
LEFTOVER_SECONDS = 3600


def read_attempt(client: Redis, key: str) -> int:
    """Return which attempt at a stage this is, as the controller counts them; 1 where nobody counts."""
    count = client.get(RedisKeys.attempts(key))
    return int(count) if isinstance(count, bytes) and count.isdigit() else 1


def take_job_id(client: Redis, queue_names: list[str]) -> tuple[bytes, str] | None:
    """Move the next job's id to its queue's intermediate list; return it with the queue's name."""
    for name in queue_names:
        queue = make_queue(name, client)
        # Not RQ's dequeue: the id stands in one list at any moment, so a worker that dies here loses nothing.
        job_id = client.lmove(queue.key, queue.intermediate_queue_key, "LEFT", "RIGHT")
        if job_id is not None:
            return job_id if isinstance(job_id, bytes) else str(job_id).encode(), name
    return None


def forget_job_id(client: Redis, queue_name: str, job_id: bytes) -> None:
    """Remove an id from the queue's intermediate list."""
    client.lrem(make_queue(queue_name, client).intermediate_queue_key, 0, job_id)  # type: ignore[arg-type]


def start_job(
    client: Redis, job: SafeJob, queue_name: str, worker: str, ttl_seconds: int
) -> Execution | None:
    """Mark a job started and return its execution, None where the job is gone."""
    execution: Execution | None = None
    queue = make_queue(queue_name, client)

    def transact(pipe: Pipeline) -> None:
        nonlocal execution
        execution = None  # redis-py calls this again where the watched job changed meanwhile
        exists = pipe.exists(job.key)
        pipe.multi()
        if exists:
            job.origin = queue_name
            execution = Execution.create(job, ttl_seconds, pipe, worker_name=worker)
            job.prepare_for_execution(worker, pipe)
            pipe.hset(job.key, "origin", queue_name)
            pipe.persist(job.key)  # an earlier attempt's end gave the hash a time to live
        pipe.lrem(queue.intermediate_queue_key, 0, job.id)

    client.transaction(transact, job.key)
    return execution


def is_running(client: Redis, job: SafeJob, queue_name: str) -> bool:
    """Whether a living worker holds the job: an id may stand in a queue twice."""
    key = make_queue(queue_name, client).started_job_registry.key
    return job._status is JobStatus.STARTED and job.id in _list_running(client, key)


def finish_job(client: Redis, job: SafeJob, execution: Execution, result: dict[str, Any]) -> None:
    """Mark a job finished, with a small result."""

    def write(pipe: Pipeline) -> None:
        ttl = job.result_ttl or 1
        fields = {"status": JobStatus.FINISHED.value, "ended_at": utcformat(now())}
        pipe.hset(job.key, mapping=fields)  # type: ignore[arg-type]
        Result.create(job, Result.Type.SUCCESSFUL, ttl, return_value=result, pipeline=pipe)  # type: ignore[no-untyped-call]
        pipe.zrem(job.failed_job_registry.key, job.id)
        job.finished_job_registry.add(job, ttl, pipe)
        pipe.expire(job.key, ttl)

    def report(pipe: Pipeline) -> None:
        pipe.delete(RedisKeys.failure(job.id))

    _settle(client, job, execution, write, report)


def fail_job(
    client: Redis, job: SafeJob, execution: Execution | None, failure: messages.FailureReport
) -> None:
    """Mark a job failed, and say why for the controller."""

    def write(pipe: Pipeline) -> None:
        ttl = job.failure_ttl or 1
        fields = {"status": JobStatus.FAILED.value, "ended_at": utcformat(now())}
        pipe.hset(job.key, mapping=fields)  # type: ignore[arg-type]
        Result.create_failure(job, ttl, failure.describe(), pipeline=pipe)  # type: ignore[no-untyped-call]
        pipe.zadd(job.failed_job_registry.key, {job.id: current_timestamp() + ttl})
        pipe.expire(job.key, ttl)

    def report(pipe: Pipeline) -> None:
        pipe.set(RedisKeys.failure(job.id), failure.model_dump_json(), ex=messages.FAILURE_TTL_SECONDS)

    _settle(client, job, execution, write, report)


def hand_back_job(client: Redis, job: SafeJob, execution: Execution) -> None:
    """Put a job back at the front of its queue."""

    def write(pipe: Pipeline) -> None:
        fields = {"status": JobStatus.QUEUED.value, "worker_name": "", "started_at": ""}
        pipe.hset(job.key, mapping=fields)  # type: ignore[arg-type]
        pipe.lpush(make_queue(job.origin, client).key, job.id)

    _settle(client, job, execution, write, lambda _pipe: None, only_started=True)


def beat(worker: BaseWorker, job: SafeJob | None, execution: Execution | None, ttl_seconds: int) -> None:
    """Keep the worker, and the job that it holds, alive in RQ; a worker that was flushed registers anew."""
    client = worker.connection

    def transact(pipe: Pipeline) -> None:
        is_known = pipe.exists(worker.key)
        is_held = job is not None and _is_held(pipe, job, worker.name)
        pipe.multi()
        worker.last_heartbeat = now()
        if is_known:
            pipe.hset(worker.key, "last_heartbeat", utcformat(worker.last_heartbeat))
        else:
            # Flushed: heartbeats alone would leave a worker that RQ's own commands do not see.
            pipe.hset(worker.key, mapping=worker.serialize())
            worker_registration.register(worker, pipe)
        pipe.hset(worker.key, "state", "busy" if job is not None else "idle")
        pipe.expire(worker.key, WORKER_TTL_SECONDS)
        pipe.expire(worker.executions_key, WORKER_TTL_SECONDS)
        if job is not None and execution is not None and is_held:
            execution.heartbeat(job.started_job_registry, ttl_seconds, pipe)
            pipe.hset(job.key, "last_heartbeat", utcformat(now()))

    client.transaction(transact, *([worker.key] if job is None else [worker.key, job.key]))


def forget_old(client: Redis, queue_name: str) -> None:
    """Drop what has expired from RQ's lists, and nothing else.

    RQ's own clean-up would fail the jobs that were not heard of for a while; whether such a job is lost is
    the controller's to say, and it queues it anew.
    """
    queue = make_queue(queue_name, client)
    for registry in (queue.finished_job_registry, queue.failed_job_registry):
        client.zremrangebyscore(registry.key, 0, current_timestamp())
    client.zremrangebyscore(queue.started_job_registry.key, 0, current_timestamp() - LEFTOVER_SECONDS)
    worker_registration.clean_worker_registry(queue)


def _list_running(client: Redis, registry_key: str) -> set[str]:
    entries: Any = client.zrangebyscore(registry_key, f"({current_timestamp()}", "+inf")
    return {entry.decode(errors="replace").partition(":")[0] for entry in entries}


def _is_held(pipe: Pipeline, job: SafeJob, worker: str) -> bool:
    return pipe.hget(job.key, "worker_name") == worker.encode()  # type: ignore[comparison-overlap]


def _settle(
    client: Redis,
    job: SafeJob,
    execution: Execution | None,
    write: Callable[[Pipeline], None],
    report: Callable[[Pipeline], None],
    only_started: bool = False,
) -> None:
    def transact(pipe: Pipeline) -> None:
        if execution is None:
            may_write = bool(pipe.exists(job.key))
        else:
            may_write = _is_held(pipe, job, execution.worker_name)
        if only_started and pipe.hget(job.key, "status") != b"started":  # type: ignore[comparison-overlap]
            may_write = False
        pipe.multi()
        if execution is not None:
            execution.delete(job, pipe)
            pipe.delete(RedisKeys.report(job.id))
        report(pipe)
        if may_write:
            write(pipe)

    client.transaction(transact, job.key)
