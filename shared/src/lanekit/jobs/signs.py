"""Signs of life in Redis: who reported, and how long ago."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import redis
from pydantic import ValidationError

from lanekit.jobs.keys import RedisKeys
from lanekit.jobs.messages import REPORT_TTL_SECONDS, ControllerReport, WorkerReport


@dataclass(frozen=True)
class LiveWorker:
    """A worker that reported within the last seconds."""

    report: WorkerReport
    age_s: float


def read_controller_age_s(client: redis.Redis) -> float | None:
    """Return how long ago the controller reported, None where it did not within the report's life."""
    return _measure_age_s(client.pttl(RedisKeys.CONTROLLER))


def has_store(client: redis.Redis) -> bool:
    """Whether the controller reaches the store; one that is silent is not known to have lost it.

    Raises:
        ValidationError: its report is of another version.
    """
    content = client.get(RedisKeys.CONTROLLER)
    return content is None or ControllerReport.model_validate_json(content).store == "ok"


def read_workers(client: redis.Redis) -> list[LiveWorker]:
    """Return the workers that live, by service and name; a report of another version counts as none."""
    names = sorted(client.scan_iter(match=RedisKeys.worker("*"), count=500))
    pipe = client.pipeline(transaction=False)
    for name in names:
        pipe.get(name)
        pipe.pttl(name)
    answers = pipe.execute() if names else []
    workers = []
    for content, ttl_ms in zip(answers[::2], answers[1::2], strict=True):
        age_s = _measure_age_s(ttl_ms)
        if content is None or age_s is None:
            continue
        try:
            workers.append(LiveWorker(WorkerReport.model_validate_json(content), age_s))
        except ValidationError:
            continue
    return sorted(workers, key=lambda worker: (worker.report.service, worker.report.name))


def _measure_age_s(ttl_ms: Any) -> float | None:
    """A report's age by its remaining life: no clock of another host comes in. -2 is an absent key."""
    if int(ttl_ms) == -2:
        return None
    return max(0.0, REPORT_TTL_SECONDS - int(ttl_ms) / 1000) if int(ttl_ms) >= 0 else 0.0
