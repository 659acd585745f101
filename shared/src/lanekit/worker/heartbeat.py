"""The worker's pulse: a thread that tells Redis what the worker does, and hears what Redis says.

Redis may be away for minutes: the thread goes on, and everything is told again when Redis is back.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import structlog
from redis.exceptions import RedisError
from rq.worker import BaseWorker

from lanekit.jobs import job_state, messages
from lanekit.jobs.connection import IMPATIENT_CONNECT_SECONDS, IMPATIENT_READ_SECONDS
from lanekit.jobs.keys import RedisKeys
from lanekit.worker.hold import CancelledError, Hold

TICK_SECONDS = 0.5  # at most two reports of progress a second
ALIVE_SECONDS = 60.0

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class WorkerTiming:
    """Seconds between a worker's doings; tests shrink them.

    Attributes:
        report: between two reports; a report lives four times as long.
        job_ttl: how long RQ counts a dead worker's job as running.
        maintenance: between two clean-ups of RQ's lists.
        poll: between two looks into empty queues.
        hand_back: how long a stopping worker waits for what it does.
        publish: the same while it publishes a finished stage.
        keep_engines: how long engines sleep on a GPU for a next stage that may want them.
    """

    report: float = messages.REPORT_SECONDS
    job_ttl: float = float(job_state.JOB_TTL_SECONDS)
    maintenance: float = 60.0
    poll: float = 0.2
    hand_back: float = 5.0
    publish: float = 30.0
    keep_engines: float = 60.0


class Link:
    """Whether Redis answers; says in the log when that changes."""

    def __init__(self) -> None:
        self.is_up = True
        self.last_answer = -math.inf  # alive is who was answered
        self._mutex = threading.Lock()

    def note_answer(self) -> None:
        """Redis answered."""
        with self._mutex:
            now = time.monotonic()
            if not self.is_up:
                away_s = round(now - self.last_answer, 1) if math.isfinite(self.last_answer) else None
                log.info("redis_back", seconds=away_s)
                self.is_up = True
            self.last_answer = now

    def note_loss(self, error: RedisError) -> None:
        """Redis did not answer."""
        with self._mutex:
            if self.is_up:
                log.warning("redis_lost", error=f"{type(error).__name__}: {error}")
                self.is_up = False


class Heartbeat(threading.Thread):
    """Tells of the worker and of the job in hand, and looks for a word to stop."""

    def __init__(
        self,
        worker: BaseWorker,
        describe: Callable[[str], messages.WorkerReport],
        link: Link,
        timing: WorkerTiming,
        alive_file: Path | None,
    ) -> None:
        super().__init__(name="lanekit-heartbeat", daemon=True)
        self.worker = worker
        self.describe = describe
        self.link = link
        self.timing = timing
        self.alive_file = alive_file
        self.client = worker.connection
        self._hold: Hold | None = None
        self._ended = threading.Event()
        self._mutex = threading.Lock()

    def take(self, hold: Hold | None) -> None:
        """Tell of this job from now on; of none once this has returned with None."""
        with self._mutex:
            self._hold = hold

    def end(self) -> None:
        """Stop; the worker's report is taken back."""
        self._ended.set()
        self.join(IMPATIENT_READ_SECONDS + IMPATIENT_CONNECT_SECONDS)
        with suppress(RedisError):  # it expires
            self.client.delete(RedisKeys.worker(self.worker.name))

    def run(self) -> None:
        """Beat until the end."""
        next_beat = 0.0
        while not self._ended.is_set():
            try:
                with self._mutex:
                    is_due = time.monotonic() >= next_beat
                    if is_due:
                        self._beat()
                    self._report(is_due)
                if is_due:
                    next_beat = time.monotonic() + self.timing.report
                    self.link.note_answer()
            except RedisError as error:
                self.link.note_loss(error)
            except Exception:  # a fault here must not cost the worker its pulse
                log.exception("heartbeat_failed")
            self._touch()
            self._ended.wait(TICK_SECONDS)

    def _beat(self) -> None:
        hold = self._hold
        job_state.beat(
            self.worker,
            hold.job if hold else None,
            hold.execution if hold else None,
            int(self.timing.job_ttl),
        )
        report = self.describe(hold.job.id if hold else "")
        self.client.set(
            RedisKeys.worker(self.worker.name),
            report.model_dump_json(),
            px=int(4000 * self.timing.report),
        )
        if hold is not None and self.client.exists(RedisKeys.cancel(hold.job.id)):
            hold.ask_to_stop(CancelledError("cancelled", remedy="enqueue the lane again to run it after all"))

    def _report(self, is_due: bool) -> None:
        hold = self._hold
        if hold is None or not (is_due or hold.is_changed):
            return
        hold.is_changed = False
        name, content = RedisKeys.report(hold.job.id), hold.report.model_dump_json()
        self.client.set(name, content, px=int(4000 * self.timing.report))

    def _touch(self) -> None:
        if self.alive_file is not None and time.monotonic() - self.link.last_answer < ALIVE_SECONDS:
            try:
                self.alive_file.touch()
            except OSError as error:
                log.warning("alive_file_not_written", error=str(error))
