"""What can run now, and what became of each lane. Pure: the embedded driver and the controller share it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from lanekit.plan.graph import Plan, StageRun

StageStatus = Literal["waiting", "running", "done", "reused", "failed", "blocked"]


@dataclass
class RunState:
    """The state of every stage run of a plan."""

    plan: Plan
    status: dict[str, StageStatus] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    log_tails: dict[str, list[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for key in self.plan.runs:
            self.status.setdefault(key, "waiting")

    def mark(self, key: str, status: StageStatus, reason: str = "", log_tail: Sequence[str] = ()) -> None:
        """Record a run's new status; a failure blocks all that need the run."""
        self.status[key] = status
        if log_tail:
            self.log_tails[key] = list(log_tail)
        if reason:
            self.reasons[key] = reason
        if status == "failed":
            self._block_users(key)

    def _block_users(self, key: str) -> None:
        for other, run in self.plan.runs.items():
            if key in run.inputs.values() and self.status[other] == "waiting":
                self.status[other] = "blocked"
                self.reasons[other] = self.reasons.get(key, "")
                self._block_users(other)

    def list_ready(self) -> list[StageRun]:
        """Return the waiting runs whose inputs are all committed, in plan order."""
        finished = {k for k, s in self.status.items() if s in ("done", "reused")}
        return [
            run
            for key, run in self.plan.runs.items()
            if self.status[key] == "waiting" and set(run.inputs.values()) <= finished
        ]

    def choose_next(self, slots: int) -> list[StageRun]:
        """Return the runs to start now.

        An exclusive run starts alone and only when nothing else runs. On several slots the others go first,
        so that all speed is measured in one stretch at the end. On one slot nothing is beside it anyway, and
        it keeps its place in the plan: behind its lane's evaluation, whose engine is still loaded.
        One run that only waits has a place beside the slots: two would ask the same endpoint the same at
        once, and pay twice. It is not beside an exclusive one, since what answers may stand on this very
        machine.
        """
        running = [self.plan.runs[k] for k, s in self.status.items() if s == "running"]
        if any(run.type.exclusive for run in running):
            return []
        ready = self.list_ready()
        shared = [run for run in ready if not (run.type.exclusive or run.type.waits)]
        beside = [run for run in ready if run.type.waits]
        if slots == 1 and ready and not running and not beside and ready[0].type.exclusive:
            return ready[:1]
        n_beside = sum(run.type.waits for run in running)
        n_free = slots - (len(running) - n_beside)
        chosen = shared[: max(n_free, 0)] + beside[: max(1 - n_beside, 0)]
        return chosen if running or shared or beside else ready[:1]

    @property
    def is_finished(self) -> bool:
        """Whether nothing waits and nothing runs."""
        return not any(s in ("waiting", "running") for s in self.status.values())

    def skip_unneeded(self) -> None:
        """Mark as reused what only reused runs need: it need not be made again, even if it was deleted."""
        needed: set[str] = set()

        def visit(key: str) -> None:
            if key in needed or self.status[key] == "reused":
                return
            needed.add(key)
            for parent in self.plan.runs[key].inputs.values():
                visit(parent)

        for lane in self.plan.lanes.values():
            for key in lane.wanted_keys:
                visit(key)
        for key, status in self.status.items():
            if status == "waiting" and key not in needed:
                self.mark(key, "reused")

    def explain_lane(self, lane: str) -> str:
        """Return why a lane failed, or an empty string."""
        plan = self.plan.lanes[lane]
        if all(self.status[key] in ("done", "reused") for key in plan.target_keys):
            return ""  # an input that failed now is not missed: what was made from it is committed
        cause = self.find_cause(lane)
        if cause is None:
            return "not finished"
        return f"stage {self.plan.runs[cause].type.name}: {self.reasons.get(cause, 'failed')}"

    def explain_screen(self, lane: str) -> str:
        """Return why a lane has no screen, or an empty string where it has one or none is wanted."""
        key = self.plan.lanes[lane].screen_key
        if key is None or self.status[key] in ("done", "reused"):
            return ""
        cause = self._find_failed(self.plan.collect_needed(key))
        if cause is None:
            return "not finished"
        return f"stage {self.plan.runs[cause].type.name}: {self.reasons.get(cause, 'failed')}"

    def show_log_tail(self, lane: str) -> list[str]:
        """Return the last lines of the log of the stage that a lane failed at, where there is one."""
        cause = self.find_cause(lane)
        if cause is None:
            return []
        return self.log_tails.get(cause, [])

    def find_cause(self, lane: str) -> str | None:
        """Return the key of the first failed run that a lane needs; None where none failed."""
        return self._find_failed(self.plan.collect_required(lane))

    def _find_failed(self, needed: set[str]) -> str | None:
        # plan order: the first cause
        return next((k for k in self.plan.runs if k in needed and self.status[k] == "failed"), None)
