"""From what the store and Redis say to what is to be done. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from controller.queue_view import JobView
from lanekit.jobs import messages
from lanekit.plan.graph import LanePlan, Plan, StageRun
from lanekit.plan.state import RunState

DEAD_REMEDY = (
    "see the service's log and its host's memory (docker compose logs SERVICE; dmesg), "
    "then python scripts/retry.py RUN"
)


@dataclass(frozen=True)
class Policy:
    """How patient the controller is; seconds.

    Attributes:
        attempts: how often a stage is enqueued before its failure is final.
        pauses_s: how long a passing failure rests before the second, third, … attempt.
        lost_after_s: how long nothing may be heard of a job that is not in its queue.
        settle_s: how long running workers have, after a flush, to say that they run.
        snapshot_s: how old a run's snapshot may grow.
    """

    attempts: int = 3
    pauses_s: tuple[float, ...] = (5.0, 30.0)
    lost_after_s: float = messages.REPORT_TTL_SECONDS
    settle_s: float = 2 * messages.REPORT_SECONDS
    snapshot_s: float = 2.0

    def choose_pause_s(self, attempts: int) -> float:
        """Return the rest after this many attempts."""
        return self.pauses_s[min(max(attempts, 1), len(self.pauses_s)) - 1] if self.pauses_s else 0.0


Action = Literal["keep", "enqueue", "retry", "replace", "fail"]


@dataclass(frozen=True)
class Decision:
    """What to do with a stage that is to run; `failure` is what was reported or found."""

    action: Action
    failure: messages.FailureReport | None = None
    note: str = ""


def decide(job: JobView, silent_s: float, policy: Policy) -> Decision:
    """Decide on a stage whose inputs are committed and whose own artifact is not.

    `silent_s`: how long neither the queue nor a worker has shown a sign of the job.
    """
    if job.is_queued or job.is_running:
        return Decision("keep")
    if job.failure is not None:
        if job.was_stopped:  # it was stopped for a run that is not the one that needs it now
            return Decision("enqueue")
        if not job.failure.transient or job.attempts >= policy.attempts:
            return Decision("fail", _count(job))
        wait_s = policy.choose_pause_s(job.attempts) - job.failure_age_s
        note = f"attempt {max(job.attempts, 1)} failed: {job.failure.message}"
        if wait_s > 0:
            return Decision("keep", job.failure, f"{note}; the next one in {wait_s:.0f} s")
        return Decision("retry", job.failure, note)
    if job.attempts == 0 and job.rq_status != "started":
        return Decision("enqueue")
    if silent_s <= policy.lost_after_s:
        return Decision("keep", note=f"no sign of its worker for {silent_s:.0f} s" if silent_s >= 5 else "")
    if job.attempts >= policy.attempts:
        message = f"its worker died without a word, {job.attempts} times"
        return Decision("fail", messages.FailureReport(message=message, remedy=DEAD_REMEDY, transient=True))
    return Decision("replace")


def _count(job: JobView) -> messages.FailureReport:
    assert job.failure is not None
    if not job.failure.transient or job.attempts < 2:
        return job.failure
    return job.failure.model_copy(update={"message": f"{job.failure.message} ({job.attempts} attempts)"})


def build_state(
    plan: Plan,
    committed: Collection[str],
    made: Collection[str],
    failures: Mapping[str, messages.FailureReport],
    jobs: Mapping[str, JobView],
) -> RunState:
    """Return the state of a plan; `made`: what was committed while the run was under way."""
    state = RunState(plan)
    for key in plan.runs:
        if key in committed:
            state.mark(key, "reused")
    state.skip_unneeded()
    for key, status in list(state.status.items()):
        if status == "reused":
            if key in committed and key in made:
                state.mark(key, "done")
        elif key in failures:
            state.mark(key, "failed", failures[key].describe(), failures[key].log_tail)
        elif jobs[key].is_running:
            state.mark(key, "running")
    return state


def order_ready(runs: Iterable[StageRun]) -> list[StageRun]:
    """Return ready runs as they are enqueued: in plan order, what needs a host to itself last."""
    return sorted(runs, key=lambda run: run.type.exclusive)


def describe_runs(
    state: RunState,
    jobs: Mapping[str, JobView],
    lanes: Mapping[str, list[str]],
    waits: Mapping[str, str],
    notes: Mapping[str, tuple[str, ...]],
) -> list[messages.RunInfo]:
    """Return a plan's runs as a snapshot shows them.

    `lanes`, `waits` (what a waiting run waits for) and `notes` (of its manifest) are by key. A failure that
    takes no lane with it, a screen's, stands in no lane's reason: it is told as a note.
    """
    infos = []
    for key, run in state.plan.runs.items():
        job, status = jobs[key], state.status[key]
        is_queued = status == "waiting" and job.is_queued
        attempt = job.attempts_begun if status in ("waiting", "running") else job.attempts
        reason = state.reasons.get(key, "") if status in ("failed", "blocked") else ""
        told = notes.get(key, ())
        if status == "failed" and lanes[key] and not state.plan.list_lanes_requiring(key):
            told = messages.shorten_notes((*told, f"failed; its lanes are ranked without it: {reason}"))
        infos.append(
            messages.RunInfo(
                key=key,
                name=run.name,
                stage=run.type.name,
                service=run.type.service,
                status=status,
                lanes=tuple(lanes[key]),
                reason=reason or (waits.get(key, "") if status == "waiting" else ""),
                attempt=attempt,
                queue=job.queue,
                queue_position=job.position if is_queued else None,
                report=job.report if status == "running" else None,
                notes=told,
            )
        )
    return infos


def describe_lane(state: RunState, lane: LanePlan, keys: tuple[str, ...]) -> messages.LaneInfo:
    """Return a lane as a snapshot shows it, with the first cause of its failure."""
    reason = state.explain_lane(lane.name) if state.find_cause(lane.name) else ""
    return messages.LaneInfo(name=lane.name, title=lane.title, keys=keys, reason=reason)
