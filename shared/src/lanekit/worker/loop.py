"""The worker: takes stage jobs from RQ's queues and runs each in a warm child process.

It keeps to RQ's records, so that RQ's tools see queues, jobs and workers; the loop is its own, because RQ's
ends at the first lost connection and runs whatever function a job names.
"""

from __future__ import annotations

import os
import signal
import socket
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import structlog
from redis import Redis
from redis.exceptions import RedisError, ResponseError
from rq.serializers import JSONSerializer
from rq.utils import now
from rq.worker import SimpleWorker

from lanekit.errors import InputError, LanekitError, PermanentError
from lanekit.host.devices import name_hardware
from lanekit.jobs import job_state, messages
from lanekit.jobs.connection import make_impatient
from lanekit.jobs.keys import RedisKeys
from lanekit.jobs.safe_job import REMEDY, SafeJob, find_job, make_queue
from lanekit.plan.graph import StageRun
from lanekit.spec.stages import WORKERS
from lanekit.worker.heartbeat import Heartbeat, Link
from lanekit.worker.hold import HandBackError, Hold
from lanekit.worker.runner import StageRunner, Workplace
from lanekit.worker.watchdog import Watchdog

RETRY_SECONDS = 1.0

log = structlog.get_logger(__name__)


class StageWorker(SimpleWorker):
    """One of the stack's workers; `service` is its name in spec.stages.WORKERS."""

    job_class = SafeJob

    def __init__(self, service: str, client: Redis, place: Workplace) -> None:
        name = f"{service}-{socket.gethostname()}-{uuid.uuid4().hex[:6]}"
        client = make_impatient(client)
        hardware = name_hardware(list(place.devices))
        names = [service, messages.name_speed_queue(hardware)] if service == "evaluator" else [service]
        super().__init__(
            [make_queue(queue, client) for queue in names],
            name=name,
            connection=client,
            prepare_for_work=False,
            serializer=JSONSerializer,
            job_class=SafeJob,
        )
        self.hostname, self.pid = socket.gethostname(), os.getpid()
        self.birth_date = self.last_heartbeat = now()
        self.service = service
        self.place = place
        self.timing = place.timing
        self.link = Link()
        self.runner = StageRunner(place)
        self.pulse = Heartbeat(self, self.describe, self.link, self.timing, place.alive_file)
        self.watchdog = Watchdog(self.timing, place.pool.interrupt, self._leave)
        self._maintain_at = 0.0

    def _set_connection(self, connection: Redis) -> Redis:
        return connection  # RQ would wait seven minutes for an answer

    @property
    def is_stopping(self) -> bool:
        """Whether the worker was asked to stop."""
        return self.watchdog.is_stopping

    def stop(self, *_: object) -> None:
        """Ask the worker to hand back what it has and to end; this is the signal handler."""
        self.watchdog.is_stopping = True

    def describe(self, job_id: str) -> messages.WorkerReport:
        """Return what the worker says of itself."""
        assert self.birth_date is not None
        return messages.WorkerReport(
            name=self.name,
            service=self.service,
            host=self.hostname or "",
            queues=tuple(self.queue_names()),
            devices={device.id: device.name for device in self.place.devices},
            device_kind=self.place.devices[0].kind,
            lock_digest=self.place.lock_digests[WORKERS[self.service]],
            job_id=job_id,
            started_at=self.birth_date.timestamp(),
        )

    def work(self, *_: Any, **__: Any) -> bool:
        """Take jobs until SIGTERM, SIGINT or SIGHUP; return whether any was done."""
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            if number == signal.SIGHUP and signal.getsignal(number) is signal.SIG_IGN:
                continue  # it runs below nohup
            signal.signal(number, self.stop)
        log.info("worker_started", name=self.name, queues=self.queue_names(), pid=self.pid)
        self.pulse.start()
        self.watchdog.start()
        count = 0
        try:
            while not self.is_stopping:
                try:
                    count += self._work_once()
                except RedisError as error:
                    self._note_loss(error)
                    time.sleep(RETRY_SECONDS)
        finally:
            self._end()
        log.info("worker_stopped", name=self.name, jobs=count)
        return count > 0

    def _work_once(self) -> int:
        self._maintain()
        taken = job_state.take_job_id(self.connection, self.queue_names())
        if taken is None:
            if self.place.devices[0].kind == "cuda":  # where other services' stages want all of its memory
                self.place.pool.release_idle(self.timing.keep_engines)
            time.sleep(self.timing.poll)
            return 0
        job_id, queue_name = taken
        job = self._admit(job_id, queue_name)
        if job is None:
            job_state.forget_job_id(self.connection, queue_name, job_id)
            return 0
        try:
            run, stage_job = self._check(job, queue_name)
        except LanekitError as error:
            self._refuse(job, queue_name, error)
            return 0
        except Exception as error:  # whatever somebody thought of
            log.exception("job_check_failed", job=job.id)
            self._refuse(job, queue_name, InputError(f"{type(error).__name__}: {error}", remedy=REMEDY))
            return 0
        attempt = job_state.read_attempt(self.connection, run.key)
        execution = job_state.start_job(self.connection, job, queue_name, self.name, int(self.timing.job_ttl))
        if execution is None:
            return 0
        self._do(Hold(job, execution, run, attempt, stage_job.timeout_s, self.name), stage_job)
        return 1

    def _admit(self, job_id: bytes, queue_name: str) -> SafeJob | None:
        text = job_id.decode(errors="replace")
        try:
            job = find_job(text, self.connection)
        except ResponseError as error:  # another kind of key stands there
            log.error("job_refused", job=text[:120], queue=queue_name, reason=str(error))
            return None
        if job is None:
            reason = "no such job: removed, or lost with Redis"
            log.warning("job_refused", job=text[:120], queue=queue_name, reason=reason)
        elif job_state.is_running(self.connection, job, queue_name):
            log.warning("job_refused", job=job.id, queue=queue_name, reason="a living worker holds it")
            return None
        return job

    def _check(self, job: SafeJob, queue_name: str) -> tuple[StageRun, messages.StageJob]:
        """Return what a job asks for.

        Raises:
            InputError: it is not a stage job, or not one for this worker.
        """
        stage_job = job.read_stage_job()
        run = stage_job.make_run(self.place.lock_digests)
        if run.type.worker != self.service:
            raise InputError(
                f"stage {run.type.name} is the {run.type.worker} worker's, this is the {self.service} worker",
                remedy=REMEDY,
            )
        if job.id != messages.make_job_id(run):
            raise InputError(
                f"the job's id is not that of its contents: {messages.make_job_id(run)}", remedy=REMEDY
            )
        wanted = messages.name_queue(run)
        if wanted not in self.queue_names():
            raise InputError(
                f"stage {run.type.name} is asked of other hardware: it belongs to the queue {wanted}, "
                f"not to {queue_name}",
                remedy="start an evaluator on that hardware, or enqueue the lane for this one",
            )
        return run, stage_job

    def _refuse(self, job: SafeJob, queue_name: str, error: LanekitError) -> None:
        log.error("job_refused", job=job.id, queue=queue_name, reason=error.message, remedy=error.remedy)
        job.origin = queue_name
        job_state.fail_job(self.connection, job, None, self._explain(error))
        job_state.forget_job_id(self.connection, queue_name, job.id.encode())

    def _do(self, hold: Hold, stage_job: messages.StageJob) -> None:
        """Run a started job and close it, whatever becomes of it."""
        job_id, run = hold.job.id, hold.run
        log.info("job_taken", job=job_id, stage=run.type.name, key=run.key, name=run.name)
        self.pulse.take(hold)
        self.watchdog.hold = hold
        failure: LanekitError | None = None
        result: dict[str, Any] = {}
        try:
            result = self.runner.run(hold, stage_job)
        except LanekitError as error:
            failure = hold.stop or error
        except Exception as error:
            log.exception("stage_failed_unexpectedly", job=job_id)
            failure = hold.stop or PermanentError(
                f"{type(error).__name__}: {error}", remedy="report this as a bug"
            )
        self._keep_log(run)
        self.watchdog.hold = None
        self.pulse.take(None)
        if isinstance(failure, HandBackError):
            log.info("job_handed_back", job=job_id, key=run.key)
            self._close(lambda: job_state.hand_back_job(self.connection, hold.job, hold.execution))
        elif failure is not None:
            self._fail(hold, failure)
        else:
            log.info("stage_committed", stage=run.type.name, name=run.name, **result)
            self._close(lambda: job_state.finish_job(self.connection, hold.job, hold.execution, result))

    def _fail(self, hold: Hold, error: LanekitError) -> None:
        report = self._explain(error)
        log.error(
            "stage_failed",
            job=hold.job.id,
            stage=hold.run.type.name,
            key=hold.run.key,
            name=hold.run.name,
            reason=error.message,
            remedy=error.remedy,
            transient=error.transient,
        )
        self._close(lambda: job_state.fail_job(self.connection, hold.job, hold.execution, report))

    def _explain(self, error: LanekitError) -> messages.FailureReport:
        return messages.FailureReport(
            message=error.message,
            remedy=error.remedy,
            transient=error.transient,
            log_tail=tuple(error.log_tail),
            worker=self.name,
            at=time.time(),
        )

    def _keep_log(self, run: StageRun) -> None:
        path = self.place.pool.locate_log(run)
        if self.place.save_log is None or self.is_stopping or not path.is_file():
            return
        try:
            self.place.save_log(run.name, path)
        except Exception as error:  # the log is for reading; no stage fails for it
            log.warning("log_not_kept", name=run.name, error=f"{type(error).__name__}: {error}")

    def _close(self, write: Callable[[], None]) -> None:
        """Close a job in Redis, as soon as Redis is there; a stopping worker does not wait for it."""
        while True:
            try:
                return write()
            except RedisError as error:
                self._note_loss(error)
                if self.is_stopping:
                    return None
                time.sleep(RETRY_SECONDS)

    def _maintain(self) -> None:
        if time.monotonic() < self._maintain_at:
            return
        self._maintain_at = time.monotonic() + self.timing.maintenance
        for name in self.queue_names():
            job_state.forget_old(self.connection, name)

    def _note_loss(self, error: RedisError) -> None:
        if isinstance(error, ResponseError):
            log.error("redis_refused", error=str(error))
        else:
            self.link.note_loss(error)

    def _leave(self, hold: Hold) -> None:
        """Hand the job back and end this process at once; the children die with it."""
        log.warning("worker_left", job=hold.job.id, state=hold.state)
        with suppress(RedisError):
            job_state.hand_back_job(self.connection, hold.job, hold.execution)
            self.connection.delete(RedisKeys.worker(self.name))
        os._exit(0)

    def _end(self) -> None:
        self.place.pool.close()
        self.pulse.end()
        with suppress(RedisError):
            self.register_death()  # type: ignore[no-untyped-call]
