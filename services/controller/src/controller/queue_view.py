"""What Redis says of our jobs, read in one atomic round trip: a picture, never the truth."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import redis
from pydantic import ValidationError
from rq import Queue
from rq.job import Job

from lanekit.errors import first_finding
from lanekit.jobs import messages
from lanekit.jobs.keys import RedisKeys
from lanekit.plan.graph import Plan, StageRun

POISONED_REMEDY = "see the worker's log; only workers write reports: see who else has the password of Redis"


@dataclass(frozen=True)
class JobView:
    """What Redis says of one job.

    Attributes:
        position: its place in the queue, from 1; None where it is not queued.
        rq_status: RQ's own word for it.
        is_live: whether a worker reports of it; `report` is None if that report is not readable.
        silent_s: seconds since the worker's last report, by Redis's clock; None without one.
        failure_age_s: seconds since the failure was reported, by Redis's clock.
        is_cancelled: whether a worker is told to stop it; was_stopped: whether one was, lately.
    """

    job_id: str
    queue: str
    position: int | None = None
    rq_status: str = ""
    is_live: bool = False
    report: messages.JobReport | None = None
    silent_s: float | None = None
    failure: messages.FailureReport | None = None
    failure_age_s: float = 0.0
    attempts: int = 0
    is_cancelled: bool = False
    was_stopped: bool = False

    @property
    def is_queued(self) -> bool:
        """Whether it waits in its queue."""
        return self.position is not None

    @property
    def has_failed(self) -> bool:
        """Whether its last attempt ended in a failure; a report beside it may be about to go."""
        if self.failure is None or self.is_queued:
            return False
        return not (self.is_live and self.rq_status == "started")

    @property
    def attempts_begun(self) -> int:
        """How often a worker began it, as far as that can be seen."""
        begun = self.is_running or self.has_failed
        return self.attempts if begun else max(self.attempts - 1, 0)

    @property
    def is_running(self) -> bool:
        """Whether a worker holds it."""
        return self.is_live and not self.is_queued and not self.has_failed


@dataclass
class QueueView:
    """One tick's picture of the jobs; `load` adds those of a plan that are not in it yet.

    `epoch_s` is when Redis was last found empty, by its own clock; None if it is empty now.
    """

    connection: redis.Redis
    now_s: float = 0.0
    epoch_s: float | None = None
    jobs: dict[str, JobView] = field(default_factory=dict)

    def load(self, plans: Iterable[Plan]) -> None:
        """Read what is not known yet of the plans' jobs.

        Raises:
            redis.exceptions.RedisError: Redis could not be asked.
        """
        runs = {run.key: run for plan in plans for run in plan.runs.values() if run.key not in self.jobs}
        queues = sorted({messages.name_queue(run) for run in runs.values()})
        pipe = self.connection.pipeline(transaction=True)
        pipe.time()
        pipe.get(RedisKeys.EPOCH)
        for queue in queues:
            pipe.lrange(Queue.redis_queue_namespace_prefix + queue, 0, -1)
        for run in runs.values():
            _ask(pipe, run)
        answers = iter(_check(pipe.execute(raise_on_error=False)))
        seconds, microseconds = next(answers)
        self.now_s = float(seconds) + float(microseconds) / 1e6
        self.epoch_s = _read_number(next(answers))
        places: dict[str, dict[str, int]] = {}
        for queue in queues:
            names = [_read_text(name) for name in reversed(next(answers) or [])]
            places[queue] = {name: len(names) - index for index, name in enumerate(names)}  # first place wins
        for run in runs.values():
            fields = [next(answers) for _ in range(COMMANDS_PER_JOB)]
            self.jobs[run.key] = _make_view(run, places[messages.name_queue(run)], fields)

    def __getitem__(self, key: str) -> JobView:
        return self.jobs[key]


COMMANDS_PER_JOB = 8


def _ask(pipe: Any, run: StageRun) -> None:
    job_id = messages.make_job_id(run)
    pipe.hget(Job.key_for(job_id), "status")
    pipe.get(RedisKeys.report(job_id))
    pipe.pttl(RedisKeys.report(job_id))
    pipe.get(RedisKeys.failure(job_id))
    pipe.pttl(RedisKeys.failure(job_id))
    pipe.get(RedisKeys.attempts(run.key))
    pipe.exists(RedisKeys.cancel(job_id))
    pipe.exists(RedisKeys.stopped(job_id))


def _make_view(run: StageRun, places: Mapping[str, int], fields: list[Any]) -> JobView:
    status, report, report_pttl, failure, failure_pttl, attempts, cancel, stopped = fields
    job_id = messages.make_job_id(run)
    return JobView(
        job_id=job_id,
        queue=messages.name_queue(run),
        position=places.get(job_id),
        rq_status=_read_text(status),
        is_live=report is not None,
        report=parse_report(report),
        silent_s=_age(report_pttl, messages.REPORT_TTL_SECONDS) if report is not None else None,
        failure=parse_failure(failure),
        failure_age_s=_age(failure_pttl, messages.FAILURE_TTL_SECONDS),
        attempts=int(_read_number(attempts) or 0),
        is_cancelled=bool(cancel),
        was_stopped=bool(stopped),
    )


def parse_report(content: Any) -> messages.JobReport | None:
    """Return a job's report; None where there is none or it is not readable."""
    try:
        return None if content is None else messages.JobReport.model_validate_json(content)
    except ValidationError:
        return None


def parse_failure(content: Any) -> messages.FailureReport | None:
    """Return a job's failure, None where there is none; an unreadable one is a failure for good."""
    try:
        return None if content is None else messages.FailureReport.model_validate_json(content)
    except ValidationError as error:
        message = f"the job failed, and its report cannot be read: {first_finding(error)}"
        return messages.FailureReport(message=message, remedy=POISONED_REMEDY)


def _age(pttl_ms: Any, ttl_s: float) -> float:
    """How long ago a key with this life was written; for ever where it has none."""
    remaining = int(pttl_ms)
    return ttl_s if remaining < 0 else max(0.0, ttl_s - remaining / 1000)


def _check(answers: list[Any]) -> list[Any]:
    """A key of a wrong type counts as an unreadable one; every other error is raised."""
    for index, answer in enumerate(answers):
        if isinstance(answer, Exception):
            if "WRONGTYPE" not in str(answer):
                raise answer
            answers[index] = b""
    return answers


def _read_text(value: Any) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value or "")


def _read_number(value: Any) -> float | None:
    try:
        return None if value is None else float(value)
    except ValueError:
        return 0.0
