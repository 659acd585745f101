"""The job that a worker has in hand: where it stands, and why it is to end before it is done."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from rq.executions import Execution

from lanekit.errors import InputError, LanekitError, TransientError
from lanekit.host.devices import Device
from lanekit.jobs import messages
from lanekit.jobs.safe_job import SafeJob
from lanekit.plan.graph import StageRun


class CancelledError(InputError):
    """Somebody cancelled the job."""


class TimeLimitError(InputError):
    """The stage ran longer than it may."""


class HandBackError(TransientError):
    """The worker is to stop: the job goes back to its queue."""


@dataclass
class Hold:
    """One job in hand. The worker's main thread writes, but for `stop`; the other threads read."""

    job: SafeJob
    execution: Execution
    run: StageRun
    attempt: int
    timeout_s: int
    worker: str
    report: messages.JobReport = field(init=False)
    deadline: float | None = None
    stop: LanekitError | None = None
    is_changed: bool = True

    def __post_init__(self) -> None:
        self.report = messages.JobReport(worker=self.worker, state="fetching", started_at=time.time())

    @property
    def state(self) -> str:
        """See messages.JobReport."""
        return self.report.state

    def change(self, **fields: object) -> None:
        """Change the report."""
        self.report = self.report.model_copy(update=fields)
        self.is_changed = True

    def start_clock(self, devices: tuple[Device, ...]) -> None:
        """Say that the stage runs from now on, and until when it may."""
        self.change(state="running", device=", ".join(device.name for device in devices))
        self.deadline = time.monotonic() + self.timeout_s

    def stop_clock(self) -> None:
        """Say that the stage is through; no time limit holds any longer."""
        self.deadline = None
        self.change(state="publishing")

    def follow(self, step: int, total: int, message: str = "") -> None:
        """Take a stage's progress; the first step of a count is kept, to tell the rate from."""
        fields: dict[str, object] = {"step": step, "total": total, "message": message}
        if total != self.report.total or not self.report.first_step_at:
            fields |= {"first_step": step, "first_step_at": time.time()}
        self.change(**fields)

    def ask_to_stop(self, why: LanekitError) -> None:
        """Ask for the end; the first reason stands."""
        if self.stop is None:
            self.stop = why

    def check(self) -> None:
        """Raise the reason to stop, if there is one."""
        if self.stop is not None:
            raise self.stop

    def check_clock(self) -> None:
        """Ask for the end where the time is up."""
        if self.deadline is not None and time.monotonic() > self.deadline:
            self.ask_to_stop(
                TimeLimitError(
                    f"{self.run.name} ran longer than {self.run.type.name} may: {self.timeout_s} s",
                    remedy="read its log for what it waits for; ask for less work in the lane or experiment "
                    "file, or raise timeout_s of the stage in specs.py",
                )
            )
