"""Driving the product's own course on one GPU or several, with the device's memory watched from outside."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from lanekit.embedded import run_plan
from lanekit.execute import Measured
from lanekit.pipeline import Session
from lanekit.plan import Plan, StageRun
from lanekit.pool import ChildPool
from lanekit.progress import Progress
from lanekit.schedule import RunState
from lanekit.view import RunView

SAMPLE_MILLISECONDS = 250


@dataclass(frozen=True)
class StageFact:
    """What one stage run took; `peak_device_bytes` is the GPU's memory in use, whoever's, less what it was
    before the stage; the allocator's peak knows of the stage's own process alone."""

    key: str
    name: str
    stage: str
    gpu: str
    seconds: float
    wall_seconds: float
    peak_device_bytes: int
    peak_allocated_bytes: int
    peak_rss_bytes: int


class MemorySampler:
    """Follows each GPU's used memory through one nvidia-smi that repeats itself; zeros without it."""

    def __init__(self) -> None:
        self.used: dict[str, int] = {}
        self.peaks: dict[str, int] = {}
        command = [
            "nvidia-smi", "--query-gpu=index,memory.used", "--format=csv,noheader,nounits",
            f"--loop-ms={SAMPLE_MILLISECONDS}",
        ]  # fmt: skip
        try:
            self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        except OSError:
            return
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            gpu, _, used = (part.strip() for part in line.partition(","))
            if used.isdigit():
                self.used[gpu] = int(used) << 20
                self.peaks[gpu] = max(self.peaks.get(gpu, 0), self.used[gpu])

    def start(self, gpu: str) -> int:
        """Begin a stage on a GPU; return its memory in use now."""
        self.peaks[gpu] = self.used.get(gpu, 0)
        return self.peaks[gpu]


class WatchedCaller:
    """Calls stages in the pool's children, one a GPU, and notes what each took; see execute.StageCaller."""

    def __init__(self, pool: ChildPool, gpus: Sequence[str], facts: Path) -> None:
        self.pool = pool
        self.facts = facts
        self.sampler = MemorySampler()
        self.free: queue.Queue[str] = queue.Queue()
        self.lock = threading.Lock()
        for gpu in gpus:
            self.free.put(gpu)

    def __call__(self, run: StageRun, inputs: Mapping[str, Path], out: Path, progress: Progress) -> Measured:
        """Run a stage, on a GPU of its own where it wants one."""
        if not run.type.needs_device:
            started = time.monotonic()
            measured = self.pool(run, inputs, out, progress)
            self._note(run, "", started, measured, 0)
            return measured
        gpu = self.free.get()
        try:
            before = self.sampler.start(gpu)
            started = time.monotonic()
            variables = {"CUDA_VISIBLE_DEVICES": gpu, "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
            measured = self.pool(run, inputs, out, progress, variables, keep_warm=False)
            self._note(run, gpu, started, measured, self.sampler.peaks.get(gpu, 0) - before)
            return measured
        finally:
            self.free.put(gpu)

    def close(self) -> None:
        """Stop all children."""
        self.pool.close()

    def _note(self, run: StageRun, gpu: str, started: float, measured: Measured, peak_bytes: int) -> None:
        fact = StageFact(
            key=run.key,
            name=run.name,
            stage=run.type.name,
            gpu=gpu,
            seconds=round(measured.seconds, 2),
            wall_seconds=round(time.monotonic() - started, 2),
            peak_device_bytes=max(peak_bytes, 0),
            peak_allocated_bytes=measured.peak_gpu_bytes,
            peak_rss_bytes=measured.peak_rss_bytes,
        )
        with self.lock, self.facts.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(asdict(fact)) + "\n")


class CrowdedSession(Session):
    """A session that runs a stage on each GPU at once, speed measurements too: quick, and said so."""

    def run(self, plan: Plan) -> RunState:
        """Run a plan with no stage held to be alone; keys stay as they are."""
        if self.slots > 1:
            plan.runs = {
                key: replace(run, type=replace(run.type, exclusive=False)) for key, run in plan.runs.items()
            }
        with RunView(plan, self.console) as view:
            return run_plan(plan, self.store, self.call, view, self.slots)


def stop_after(minutes: float) -> None:
    """End this command as Ctrl-C does when the time is up; what is committed is kept."""
    timer = threading.Timer(60 * minutes, os.kill, (os.getpid(), signal.SIGINT))
    timer.daemon = True
    timer.start()


def read_facts(path: Path) -> list[StageFact]:
    """Return what was noted, the last of each stage."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    facts = [StageFact(**json.loads(line)) for line in lines]
    return list({fact.key: fact for fact in facts}.values())
