"""Driving the product's own course on one GPU or several, with the device's memory watched from outside."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from lanekit.commands.session import Session
from lanekit.commands.view import RunView
from lanekit.execute.driver import run_plan
from lanekit.execute.pool import ChildPool
from lanekit.execute.stage import Measured
from lanekit.plan.graph import Plan, StageRun
from lanekit.plan.state import RunState
from lanekit.progress import Progress
from lanekit.spec.estimates import ModelShape, estimate_device_bytes

SAMPLE_MILLISECONDS = 250
LOOK_SECONDS = 5.0  # how often a waiting stage reads which GPUs there are
MANY = 32  # stages at once where several GPUs or a shared one are to be kept busy
SMALL_BYTES = 2_500_000_000
KEY_VARIABLE = "LANEKIT_BENCH_STAGE"  # tells the sampler whose processes are whose
ENGINE_STAGES = ("evaluate", "measure_speed", "verify_package")


@dataclass(frozen=True)
class StageFact:
    """What one stage run took.

    `peak_device_bytes` is what nvidia-smi saw the stage's processes hold, the engine's own and the CUDA
    contexts among them; the allocator's peak knows of the stage's child alone. `n_others` is how many other
    stages were on the same GPU when it began, or came while it ran.
    """

    key: str
    name: str
    stage: str
    gpu: str
    seconds: float
    wall_seconds: float
    peak_device_bytes: int
    peak_allocated_bytes: int
    peak_rss_bytes: int
    n_others: int = 0


class MemorySampler:
    """Follows what each stage's processes hold of the GPUs, through one nvidia-smi that repeats itself."""

    def __init__(self) -> None:
        self.peaks: dict[str, int] = {}  # by stage key
        self._owners: dict[int, str] = {}
        self._stages: dict[str, str] = {}  # by owner, where that is no stage's key
        self._used: dict[str, dict[int, int]] = {}
        self.process: subprocess.Popen[str] | None = None
        command = [
            "nvidia-smi", "--query-compute-apps=pid,used_memory", "--format=csv,noheader,nounits",
            f"--loop-ms={SAMPLE_MILLISECONDS}",
        ]  # fmt: skip
        try:
            self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        except OSError:
            return
        threading.Thread(target=self._read, daemon=True).start()

    def forget(self, key: str) -> None:
        """Begin anew with a stage: what an earlier attempt's processes held counts no longer."""
        self.peaks.pop(key, None)
        self._used.pop(key, None)
        self._owners = {pid: owner for pid, owner in self._owners.items() if owner != key}

    def follow(self, owner: str, key: str) -> None:
        """Count what an owner's processes hold from now on as a stage's."""
        self._stages[owner] = key

    def close(self) -> None:
        """End nvidia-smi."""
        if self.process is not None:
            self.process.terminate()
            self.process.wait()

    def _read(self) -> None:
        assert self.process is not None and self.process.stdout is not None
        for line in self.process.stdout:
            pid, _, used = (part.strip() for part in line.partition(","))
            if pid.isdigit() and used.isdigit():
                self._note(int(pid), int(used) << 20)

    def _note(self, pid: int, used_bytes: int) -> None:
        if pid not in self._owners:
            self._owners[pid] = find_owner(pid)
        owner = self._owners[pid]
        key = self._stages.get(owner, owner)
        held = self._used.setdefault(key, {})
        held[pid] = used_bytes
        self.peaks[key] = max(self.peaks.get(key, 0), sum(held.values()))


def find_owner(pid: int) -> str:
    """Return the owner of the session that a process is in: a stage's key, or what keeps engines for several.

    vLLM's engines are in their child's session.
    """
    try:
        environment = Path(f"/proc/{os.getsid(pid)}/environ").read_bytes().split(b"\0")
    except OSError:
        return ""
    prefix = f"{KEY_VARIABLE}=".encode()
    return next((e[len(prefix) :].decode() for e in environment if e.startswith(prefix)), "")


@dataclass
class GpuBoard:
    """Who is on which GPU.

    One engine at a time: it measures the free memory when it starts. Beside it stands one small stage at
    most: what that frees or takes meanwhile is less than the engine's own weights. Without an engine up to
    `share_stages` share a GPU, as long as they fit into `share_bytes` by their estimates. GPTQ is bound by
    latency: two of them on one GPU take twice as long each, unless NVIDIA's MPS lets their kernels overlap.

    The file `gpus_file`, once it is there, says which GPUs to use, by number: some can join or leave while
    stages run.
    """

    gpus: Sequence[str]
    share_bytes: int
    share_stages: int = MANY
    gpus_file: Path | None = None
    engines: dict[str, str] = field(default_factory=dict)
    sharing: dict[str, dict[str, int]] = field(default_factory=dict)
    others: dict[str, int] = field(default_factory=dict)
    changed: threading.Condition = field(default_factory=threading.Condition)

    @contextmanager
    def hold(self, key: str, needed_bytes: int, *, alone: bool) -> Iterator[str]:
        """Wait for a GPU and hold it."""
        with self.changed:
            while (gpu := self._choose(needed_bytes, alone=alone)) is None:
                self.changed.wait(LOOK_SECONDS)
            there = self.sharing.setdefault(gpu, {})
            present = [*there, *([self.engines[gpu]] if gpu in self.engines else [])]
            for other in present:
                self.others[other] += 1
            self.others[key] = len(present)
            if alone:
                self.engines[gpu] = key
            else:
                there[key] = needed_bytes
        try:
            yield gpu
        finally:
            with self.changed:
                self.engines.pop(gpu) if alone else self.sharing[gpu].pop(key)
                self.changed.notify_all()

    def list_gpus(self) -> list[str]:
        """Return the GPUs to use now, by number."""
        if self.gpus_file is None or not self.gpus_file.is_file():
            return [*self.gpus]
        return self.gpus_file.read_text(encoding="utf-8").replace(",", " ").split()

    def _choose(self, needed_bytes: int, *, alone: bool) -> str | None:
        """Return the GPU with the fewest stages on it that takes one more; None where none does."""
        fitting = [gpu for gpu in self.list_gpus() if self._takes(gpu, needed_bytes, alone=alone)]
        return min(fitting, key=lambda gpu: len(self.sharing.get(gpu, {})), default=None)

    def _takes(self, gpu: str, needed_bytes: int, *, alone: bool) -> bool:
        there = list(self.sharing.get(gpu, {}).values())
        if alone:
            return gpu not in self.engines and len(there) <= 1 and all(n <= SMALL_BYTES for n in there)
        if gpu in self.engines:
            return not there and needed_bytes <= SMALL_BYTES
        fits = sum(there) + needed_bytes <= self.share_bytes and len(there) < self.share_stages
        return not there or fits


class WatchedCaller:
    """Calls stages in the pool's children, each on a GPU of the board, and notes what each took; see
    execute.StageCaller."""

    def __init__(self, pool: ChildPool, board: GpuBoard, shape: ModelShape, facts: Path) -> None:
        self.pool = pool
        self.board = board
        self.shape = shape
        self.facts = facts
        self.sampler = MemorySampler()
        self.lock = threading.Lock()

    def __call__(self, run: StageRun, inputs: Mapping[str, Path], out: Path, progress: Progress) -> Measured:
        """Run a stage, on a GPU where it wants one."""
        if not run.type.needs_device:
            started = time.monotonic()
            measured = self.pool(run, inputs, out, progress)
            self._note(run, "", started, measured)
            return measured
        needed_bytes = estimate_device_bytes(run.params, self.shape) or 0
        with self.board.hold(run.key, needed_bytes, alone=run.type.name in ENGINE_STAGES) as gpu:
            self.sampler.forget(run.key)
            keeps_engines = run.type.name in ENGINE_STAGES
            owner = f"engines of GPU {gpu}" if keeps_engines else run.key
            self.sampler.follow(owner, run.key)
            started = time.monotonic()
            variables = {
                "CUDA_VISIBLE_DEVICES": gpu, "CUDA_DEVICE_ORDER": "PCI_BUS_ID", KEY_VARIABLE: owner,
            }  # fmt: skip
            measured = self.pool(run, inputs, out, progress, variables, keep_warm=keeps_engines)
            self._note(run, gpu, started, measured)
            return measured

    def close(self) -> None:
        """Stop all children, and the sampler."""
        self.pool.close()
        self.sampler.close()

    def _note(self, run: StageRun, gpu: str, started: float, measured: Measured) -> None:
        fact = StageFact(
            key=run.key,
            name=run.name,
            stage=run.type.name,
            gpu=gpu,
            seconds=round(measured.seconds, 2),
            wall_seconds=round(time.monotonic() - started, 2),
            peak_device_bytes=self.sampler.peaks.get(run.key, 0),
            peak_allocated_bytes=measured.peak_gpu_bytes,
            peak_rss_bytes=measured.peak_rss_bytes,
            n_others=self.board.others.get(run.key, 0),
        )
        with self.lock, self.facts.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(asdict(fact)) + "\n")


class CrowdedSession(Session):
    """A session that runs many stages at once, speed measurements too, as the board lets them: quick, and
    said so."""

    def run(self, plan: Plan) -> RunState:
        """Run a plan with no stage held to be alone; keys stay as they are."""
        if self.slots > 1:
            plan.runs = {
                key: replace(run, type=replace(run.type, exclusive=False)) for key, run in plan.runs.items()
            }
        with RunView(plan, self.console) as view:
            return run_plan(plan, self.store, self.call, view, self.slots)


def stop_after(minutes: float) -> None:
    """End this command when the time is up; what is committed is kept.

    By SIGTERM: a shell lets a command in its background ignore SIGINT.
    """
    timer = threading.Timer(60 * minutes, os.kill, (os.getpid(), signal.SIGTERM))
    timer.daemon = True
    timer.start()


def read_facts(path: Path) -> list[StageFact]:
    """Return what was noted, the last of each stage."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    facts = [StageFact(**json.loads(line)) for line in lines]
    return list({fact.key: fact for fact in facts}.values())
