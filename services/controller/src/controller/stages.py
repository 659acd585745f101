"""Sees to the stages that are to run: once in the queue, again when lost, given up after some failures."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import structlog

from controller.active import ActiveRun
from controller.committed import CommittedStore
from controller.queue_view import JobView, QueueView
from controller.queue_work import QueueWork
from controller.reconcile import Decision, Policy, decide
from lanekit.plan.graph import Plan, StageRun
from lanekit.store.documents import JSON, RunDocuments, RunPaths

log = structlog.get_logger()


@dataclass
class Demand:
    """A stage that is to run now, and the runs that wait for it."""

    plan: Plan
    run: StageRun
    waiting: list[ActiveRun] = field(default_factory=list)


class StageKeeper:
    """Brings Redis to what the demands ask."""

    def __init__(
        self,
        documents: RunDocuments,
        store: CommittedStore,
        work: QueueWork,
        policy: Policy,
        clock: Callable[[], float],
    ) -> None:
        self.documents = documents
        self.store = store
        self.work = work
        self.policy = policy
        self._clock = clock
        self._signs: dict[str, float] = {}  # when the queue or a worker last showed a job, by this clock
        self._patient_until_s = float("-inf")

    def start_anew(self) -> None:
        """After an outage of Redis: workers have the time of a flush to say that they run."""
        self._signs.clear()
        self._patient_until_s = self._clock() + self.policy.settle_s

    def keep_signs(self, jobs: Iterable[JobView]) -> None:
        """Forget all other jobs."""
        ids = {job.job_id for job in jobs}
        self._signs = {job_id: at_s for job_id, at_s in self._signs.items() if job_id in ids}

    def is_settled(self, view: QueueView) -> bool:
        """Whether, after a flush, an outage or an empty start, running workers had the time to say so."""
        if view.epoch_s is None:
            self.work.mark_epoch(view.now_s)
            self._signs.clear()
            return self.policy.settle_s <= 0
        return view.now_s - view.epoch_s >= self.policy.settle_s and self._clock() >= self._patient_until_s

    def watch(self, run: StageRun, job: JobView) -> None:
        """Note a sign of a stage that somebody needs; it is no longer to be stopped."""
        self.measure_silence(job)
        if job.is_cancelled:  # for another run that needs it no more
            self.work.keep(run)

    def serve(self, demand: Demand, view: QueueView) -> None:
        """Do what a demanded stage needs now."""
        run, job = demand.run, view[demand.run.key]
        silent_s = self.measure_silence(job)
        decision = decide(job, silent_s, self.policy)
        for active in demand.waiting:
            if decision.note:
                active.waits[run.key] = decision.note
        if decision.action == "fail":
            self._fail(demand, decision)
        elif decision.action != "keep":
            self._enqueue(demand, job, decision, silent_s)

    def measure_silence(self, job: JobView) -> float:
        """Return for how many seconds neither the queue nor a worker has shown a sign of a job."""
        now = self._clock()
        if job.is_queued:
            self._signs[job.job_id] = now
        elif job.is_live:
            self._signs[job.job_id] = now - (job.silent_s or 0.0)
        return now - self._signs.setdefault(job.job_id, now)

    def stop(self, own: Iterable[StageRun], view: QueueView) -> bool:
        """Take a cancelled run's jobs back; to be repeated until it returns that none is left."""
        own = list(own)
        busy = [run for run in own if self._is_busy(view[run.key])]
        for run in own:
            if view[run.key].is_queued:
                self.work.remove(run)
        for run in busy:
            self.work.cancel(run)
        if not busy:
            self.work.forget(own)
        return not busy

    def _is_busy(self, job: JobView) -> bool:
        if job.is_queued or job.has_failed:
            return False
        if job.is_live:
            return True
        return job.rq_status == "started" and self.measure_silence(job) <= self.policy.lost_after_s

    def _enqueue(self, demand: Demand, job: JobView, decision: Decision, silent_s: float) -> None:
        run = demand.run
        if job.failure is not None:
            self.store.forget((run.key, *run.inputs.values()))  # one of them may be what is wrong
        attempt = self.work.enqueue(demand.plan, run)
        self._signs[job.job_id] = self._clock()
        about = {"job_id": job.job_id, "name": run.name, "attempt": attempt}
        if decision.action == "replace":
            log.warning("job_lost", silent_s=round(silent_s, 1), **about)
        if decision.action == "retry" and job.failure is not None:
            log.warning("stage_retried", reason=job.failure.message, **about)
        log.info("job_enqueued", queue=job.queue, runs=[a.run_id for a in demand.waiting], **about)

    def _fail(self, demand: Demand, decision: Decision) -> None:
        """Write a final failure into every run that waits for the stage, then let Redis forget it."""
        assert decision.failure is not None
        run, failure = demand.run, decision.failure
        for active in demand.waiting:
            content = failure.model_dump_json(indent=2).encode()
            self.documents.write(active.run_id, RunPaths.failure(run.key), content, JSON)
            log.warning("stage_failed", run_id=active.run_id, name=run.name, reason=failure.message)
        self.work.remove(run)
        self.work.forget([run])
        self.store.forget((run.key, *run.inputs.values()))
