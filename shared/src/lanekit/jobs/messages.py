"""What travels through Redis: job payloads, reports with a short life, snapshots. All of it JSON.

Redis is disposable: nothing here is needed to go on after it was flushed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from lanekit.errors import InputError, first_finding
from lanekit.host.devices import DeviceKind
from lanekit.plan.graph import ArtifactRef, Plan, StageRun
from lanekit.plan.run_document import check_stage_run
from lanekit.plan.state import StageStatus
from lanekit.spec.evaluation import MeasureSpeedParams
from lanekit.spec.source import drop_local_paths

REPORT_SECONDS = 5.0
REPORT_TTL_SECONDS = 20
FAILURE_TTL_SECONDS = 7 * 24 * 3600
MAX_NOTES = 8  # of one stage run: a snapshot is written every other second
MAX_NOTE_CHARACTERS = 300

RunPhase = Literal["lanes", "ranking", "packaging", "complete", "failed", "cancelled"]


class _Message(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


class StageJob(_Message):
    """A job's whole payload. `params` hold no local path; `timeout_s` counts from the device's lease."""

    format_version: Literal[1] = 1
    stage: str
    key: str = Field(pattern=r"^[0-9a-f]{64}$")
    params: dict[str, Any]
    inputs: dict[str, ArtifactRef] = {}  # by role
    timeout_s: int = Field(gt=0)

    def make_run(self, lock_digests: Mapping[str, str]) -> StageRun:
        """Return the stage run; its key is computed anew from the contents and this image's locks.

        Raises:
            InputError: the contents are not what the key says.
        """
        inputs = {role: ref.key for role, ref in self.inputs.items()}
        return check_stage_run(self.stage, self.params, inputs, self.key, lock_digests)


class JobReport(_Message):
    """What a worker says of the job it holds, every few seconds; it expires when the worker dies."""

    worker: str
    state: Literal["fetching", "waiting for the device", "running", "publishing"]
    device: str = ""
    step: int = 0
    total: int = 0
    message: str = ""
    started_at: float
    first_step: int = 0
    first_step_at: float = 0.0


class WorkerReport(_Message):
    """What a worker says of itself: `service` is its name in spec.stages.WORKERS, `devices` are names by id,
    all of one kind."""

    name: str
    service: str
    host: str
    queues: tuple[str, ...]
    devices: dict[str, str]
    device_kind: DeviceKind
    lock_digest: str
    job_id: str = ""
    started_at: float


class ControllerReport(_Message):
    """The controller's sign of life: what it directs, and whether it reaches the store."""

    host: str
    at: float
    active_runs: tuple[str, ...] = ()
    store: Literal["ok", "lost"] = "ok"


class FailureReport(_Message):
    """Why a job failed."""

    message: str
    remedy: str = ""
    transient: bool = False
    log_tail: tuple[str, ...] = ()
    worker: str = ""
    at: float = 0.0

    def describe(self) -> str:
        """Return the message with its remedy, as an error prints it."""
        return f"{self.message}\n  remedy: {self.remedy}" if self.remedy else self.message


class RunInfo(_Message):
    """One stage run in a snapshot; `notes` are its manifest's, shortened."""

    key: str
    name: str
    stage: str
    service: str
    status: StageStatus
    lanes: tuple[str, ...]
    reason: str = ""
    attempt: int = 0
    queue: str = ""
    queue_position: int | None = None
    report: JobReport | None = None
    notes: tuple[str, ...] = ()


class LaneInfo(_Message):
    """One lane in a snapshot; `keys` in order, up to its speed measurement."""

    name: str
    title: str
    keys: tuple[str, ...]
    reason: str = ""


class RunSnapshot(_Message):
    """The state of a run as the controller last saw it."""

    run_id: str
    phase: RunPhase
    reason: str = ""
    updated_at: float
    runs: tuple[RunInfo, ...]
    lanes: tuple[LaneInfo, ...]

    def collect_notes(self) -> dict[str, tuple[str, ...]]:
        """Return the notes by the artifacts' names."""
        return {run.name: run.notes for run in self.runs if run.notes}


def shorten_notes(notes: Sequence[str]) -> tuple[str, ...]:
    """Return a manifest's notes as they are shown: each on one line, neither long nor many."""
    lines = [" ".join(note.split()) for note in notes]
    limit = MAX_NOTE_CHARACTERS
    shown = [line if len(line) <= limit else line[: limit - 1] + "…" for line in lines]
    if len(shown) > MAX_NOTES:
        shown[MAX_NOTES - 1 :] = [f"and {len(shown) - MAX_NOTES + 1} more notes (its manifest.json has all)"]
    return tuple(shown)


def make_stage_job(plan: Plan, run: StageRun) -> StageJob:
    """Return the payload of a run of a plan."""
    return StageJob(
        stage=run.type.name,
        key=run.key,
        params=drop_local_paths(run.params).model_dump(mode="json"),
        inputs=plan.list_inputs(run),
        timeout_s=run.type.timeout_s,
    )


def parse_stage_job(payload: Mapping[str, Any]) -> StageJob:
    """Check a payload from the queue.

    Raises:
        InputError: it is not a stage job.
    """
    try:
        return StageJob.model_validate(payload)
    except ValidationError as error:
        raise InputError(
            f"the queue holds a job that is none: {first_finding(error)}",
            remedy="only the controller fills the queues: see who else has the password of Redis",
        ) from error


def make_job_id(run: StageRun) -> str:
    """Return a run's id in the queue."""
    return f"{run.type.name}-{run.key}"


def name_queue(run: StageRun) -> str:
    """Return a run's queue: its worker's, or, for speed, that of the hardware it is asked of."""
    if isinstance(run.params, MeasureSpeedParams) and run.params.hardware:
        return name_speed_queue(run.params.hardware)
    return run.type.worker


def name_speed_queue(hardware: str) -> str:
    """Return the queue of speed measurements on this hardware."""
    return "speed-" + re.sub(r"[^a-z0-9]+", "-", hardware.lower()).strip("-")
