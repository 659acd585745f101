"""One job's stage, from its inputs to its committed artifact: in a child process, on its device."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import structlog

from lanekit.execute.pool import ChildPool
from lanekit.execute.stage import Measured, execute_stage
from lanekit.host.devices import Device
from lanekit.jobs import messages
from lanekit.plan.graph import StageRun
from lanekit.progress import Progress
from lanekit.store.base import ArtifactStore
from lanekit.store.manifest import Manifest
from lanekit.worker.heartbeat import WorkerTiming
from lanekit.worker.hold import Hold
from lanekit.worker.lease import DeviceLeases

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Workplace:
    """What a worker works with.

    Attributes:
        store: where artifacts come from and go to.
        pool: the children.
        devices: this host's, in the order that all its workers see.
        lock_digests: each service's lock digest, as this image has them.
        leases: on the devices; the pool's children inherit their open files.
        save_log: keeps a stage's log, by name, for those who read results; best effort.
        alive_file: touched while the worker lives and Redis answers.
    """

    store: ArtifactStore
    pool: ChildPool
    devices: Sequence[Device]
    lock_digests: Mapping[str, str]
    leases: DeviceLeases
    save_log: Callable[[str, Path], None] | None = None
    alive_file: Path | None = None
    timing: WorkerTiming = field(default_factory=WorkerTiming)


class AlreadyCommittedError(Exception):
    """Another worker committed the artifact while this one waited for the device."""


class StageRunner:
    """Runs the stages of one worker, one at a time."""

    def __init__(self, place: Workplace) -> None:
        self.place = place

    def run(self, hold: Hold, stage_job: messages.StageJob) -> dict[str, Any]:
        """Run a stage, unless its artifact is committed; return the job's result.

        Raises:
            LanekitError: it failed, or was stopped; `hold.stop` then says why.
        """
        was_called = False

        def call(run: StageRun, inputs: Mapping[str, Path], out: Path, progress: Progress) -> Measured:
            nonlocal was_called
            was_called = True
            return self._call(hold, run, inputs, out, progress)

        store = self.place.store
        try:
            manifest = execute_stage(hold.run, stage_job.inputs, store, call, hold.follow)
        except AlreadyCommittedError:
            was_called = False
            found = store.find_artifact(hold.run)
            assert found is not None
            manifest = found
        return summarize(manifest, existing=not was_called)

    def _call(
        self, hold: Hold, run: StageRun, inputs: Mapping[str, Path], out: Path, progress: Progress
    ) -> Measured:
        """Run the stage's function in a child, on its device; see execute.stage.StageCaller."""
        hold.check()
        pool, stage = self.place.pool, run.type
        if not stage.needs_device:
            hold.start_clock(())
            self._tell_start(hold)
            measured = pool(run, inputs, out, progress)
            hold.stop_clock()
            return measured
        hold.change(state="waiting for the device")
        with self.place.leases.hold(stage.name, run.key, stage.exclusive, hold.check) as devices:
            if self.place.store.find_artifact(run) is not None:
                raise AlreadyCommittedError
            hold.start_clock(devices)
            self._tell_start(hold)
            device = devices[0]
            variables, is_gpu = self._choose_device(device), device.kind == "cuda"
            # On a GPU no child outlives its stage, but for one whose engines sleep meanwhile; see loop.py.
            keep_warm = not is_gpu or run.type.service == "evaluator"
            measured = pool(run, inputs, out, progress, variables, keep_warm=keep_warm)
            if is_gpu:
                pool.make_room(variables)
            hold.stop_clock()
            return measured

    def _tell_start(self, hold: Hold) -> None:
        run = hold.run
        log.info("stage_started", stage=run.type.name, key=run.key, name=run.name, attempt=hold.attempt)

    def _choose_device(self, device: Device) -> dict[str, str]:
        """Return what shows a child its device alone.

        By its number, in nvidia-smi's order: vLLM 0.14 reads no UUID there.
        """
        if device.kind != "cuda":
            return {}
        number = [d.id for d in self.place.devices].index(device.id)
        return {"CUDA_VISIBLE_DEVICES": str(number), "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}


def summarize(manifest: Manifest, existing: bool) -> dict[str, Any]:
    """Return a job's result: what was committed, or had been before."""
    return {
        "key": manifest.key,
        "seconds": round(manifest.seconds, 3),
        "size_bytes": manifest.size_bytes,
        "existing": existing,
    }
