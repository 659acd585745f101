"""What the controller does to Redis: jobs in and out of the queues, and what others read of it."""

from __future__ import annotations

from collections.abc import Iterable

import redis
from redis.client import Pipeline
from rq import Queue
from rq.defaults import RQ_KEY_PREFIX
from rq.job import Job
from rq.results import Result

from lanekit.jobs import messages
from lanekit.jobs.keys import RedisKeys
from lanekit.jobs.safe_job import FUNCTION, NO_TIMEOUT, make_queue
from lanekit.plan.graph import Plan, StageRun

RESULT_TTL_SECONDS = 600
RQ_FAILURE_TTL_SECONDS = 24 * 3600
DAY_SECONDS = 24 * 3600
CANCEL_TTL_SECONDS = 60
STOPPED_TTL_SECONDS = 600
EXECUTION_PREFIX = f"{RQ_KEY_PREFIX}:execution:"
EXECUTIONS_PREFIX = f"{RQ_KEY_PREFIX}:executions:"


class QueueWork:
    """Writes to the queues; every call may be repeated."""

    def __init__(self, connection: redis.Redis) -> None:
        self.connection = connection
        self._queues: dict[str, Queue] = {}

    def enqueue(self, plan: Plan, run: StageRun) -> int:
        """Put a run's job at its queue's end, in place of every trace of an older one.

        Returns:
            Which attempt it is, from 1.
        """
        job_id, queue = messages.make_job_id(run), self._open(messages.name_queue(run))
        pipe = self.connection.pipeline(transaction=True)
        pipe.multi()
        self._remove(pipe, run)
        pipe.delete(RedisKeys.failure(job_id), RedisKeys.cancel(job_id), RedisKeys.stopped(job_id))
        queue.enqueue_call(
            FUNCTION,
            kwargs={"payload": messages.make_stage_job(plan, run).model_dump(mode="json")},
            timeout=NO_TIMEOUT,
            result_ttl=RESULT_TTL_SECONDS,
            failure_ttl=RQ_FAILURE_TTL_SECONDS,
            description=run.name,
            job_id=job_id,
            pipeline=pipe,
        )
        pipe.incr(RedisKeys.attempts(run.key))
        pipe.expire(RedisKeys.attempts(run.key), DAY_SECONDS)
        return int(pipe.execute()[-2])  # what incr answered; expire is the last

    def remove(self, run: StageRun) -> None:
        """Take a job out of its queue and of RQ's registries."""
        pipe = self.connection.pipeline(transaction=True)
        self._remove(pipe, run)
        pipe.execute()

    def _remove(self, pipe: Pipeline, run: StageRun) -> None:
        """Add the removal of a job to a transaction.

        RQ's own `Job.delete` follows the job's status, and raises where a flush or a dead worker left half
        of its records; an entry that stays in the registry of started jobs would fail the next attempt.
        """
        job_id, queue = messages.make_job_id(run), self._open(messages.name_queue(run))
        started = queue.started_job_registry.key
        members: list[bytes] = self.connection.zrange(started, 0, -1)  # type: ignore[assignment]
        entries = [entry.decode(errors="replace") for entry in members]
        entries = [entry for entry in entries if entry.partition(":")[0] == job_id]
        pipe.lrem(queue.key, 0, job_id)
        pipe.lrem(queue.intermediate_queue_key, 0, job_id)
        for registry in (queue.failed_job_registry, queue.finished_job_registry):
            pipe.zrem(registry.key, job_id)
        if entries:
            pipe.zrem(started, *entries)
            pipe.delete(*(EXECUTION_PREFIX + entry for entry in entries))
        results = str(Result.get_key(job_id))  # type: ignore[no-untyped-call]
        pipe.delete(Job.key_for(job_id), results, EXECUTIONS_PREFIX + job_id)

    def cancel(self, run: StageRun) -> None:
        """Tell the worker that holds a job to stop it; to be repeated while it runs."""
        job_id = messages.make_job_id(run)
        self.connection.set(RedisKeys.cancel(job_id), 1, ex=CANCEL_TTL_SECONDS)
        self.connection.set(RedisKeys.stopped(job_id), 1, ex=STOPPED_TTL_SECONDS)

    def keep(self, run: StageRun) -> None:
        """Take back `cancel`."""
        job_id = messages.make_job_id(run)
        self.connection.delete(RedisKeys.cancel(job_id))

    def forget(self, runs: Iterable[StageRun]) -> None:
        """Drop what is counted and reported of runs, so that they begin anew."""
        names = [
            name
            for run in runs
            for name in (RedisKeys.failure(messages.make_job_id(run)), RedisKeys.attempts(run.key))
        ]
        if names:
            self.connection.delete(*names)

    def mark_epoch(self, now_s: float) -> None:
        """Remember, in Redis itself, since when it holds what it holds."""
        self.connection.set(RedisKeys.EPOCH, f"{now_s:.3f}", nx=True)

    def show_snapshot(self, snapshot: messages.RunSnapshot) -> None:
        """Write a run's snapshot."""
        self.connection.set(RedisKeys.snapshot(snapshot.run_id), snapshot.model_dump_json(), ex=DAY_SECONDS)

    def show_heartbeat(self, report: messages.ControllerReport) -> None:
        """Write the controller's own sign of life."""
        content = report.model_dump_json()
        self.connection.set(RedisKeys.CONTROLLER, content, ex=messages.REPORT_TTL_SECONDS)

    def _open(self, name: str) -> Queue:
        if name not in self._queues:
            self._queues[name] = make_queue(name, self.connection)
        return self._queues[name]
