"""Warm child processes, one job each at a time, made as they are needed."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lanekit.errors import InputError, PermanentError, TransientError
from lanekit.execute.keeper import EVENTS_FD_VARIABLE, LIFELINE_FD_VARIABLE
from lanekit.execute.stage import Measured
from lanekit.host.gpu_query import read_free_share
from lanekit.plan.graph import StageRun
from lanekit.progress import Progress

LOG_TAIL_LINES = 20
READ_LOG = "read the stage's log"
LEAST_FREE_SHARE = 0.85  # of a GPU's memory, for one service's stage beside what another's children keep
KEEPER_SECONDS = 5.0  # within which a keeper that was asked has ended all that it keeps


class StageFailedError(PermanentError):
    """A stage's function failed for a reason of its own."""


class ChildProcess:
    """One child of one service, and the keeper that ends it with all that it started; see keeper.py.

    `process` is the keeper: it ends as the child ended.
    """

    def __init__(
        self,
        service: str,
        environment: Mapping[str, str],
        overrides: Mapping[str, str] | None = None,
        descriptors: Sequence[int] = (),
    ) -> None:
        self.service = service
        self.overrides = dict(overrides or {})
        self.idle_since = 0.0
        read_end, write_end = os.pipe()
        lifeline, self._lifeline = os.pipe()  # closed by the system when this process ends, however it ends
        self.process = subprocess.Popen(
            [sys.executable, "-m", "lanekit.execute.keeper"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            env={
                **environment,
                **self.overrides,
                EVENTS_FD_VARIABLE: str(write_end),
                LIFELINE_FD_VARIABLE: str(lifeline),
            },
            pass_fds=(write_end, lifeline, *descriptors),
            start_new_session=True,  # Ctrl-C reaches the parent alone, which stops the children
            text=True,
        )
        os.close(write_end)
        os.close(lifeline)
        self.events = os.fdopen(read_end, encoding="utf-8")
        self._cleaner = threading.Thread(target=self._clean_up, daemon=True)
        self._cleaner.start()

    def run(self, job: dict[str, Any], progress: Progress) -> Measured:
        """Send a job and follow its events to the end."""
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps(job) + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass  # the missing closing event says it below
        for line in self.events:
            if not line.endswith("\n"):
                break  # it died while it wrote
            event = json.loads(line)
            kind = event.pop("event")
            if kind == "progress":
                progress(event["step"], event["total"], event["message"])
            elif kind == "done":
                return Measured(**event)
            else:
                kinds = TransientError if event["transient"] else StageFailedError
                tail = read_tail(Path(job["log"]))
                remedy = f"{event['remedy'] or READ_LOG} ({job['log']})"
                raise kinds(event["message"], remedy=remedy, log_tail=tail)
        code = self.process.wait()
        died = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        tail = read_tail(Path(job["log"]))
        last = " | ".join(tail[-3:])
        raise TransientError(
            f"the worker process died ({died}) {('after: ' + last) if last else ''}".strip(),
            remedy="SIGKILL often means that memory ran out: lower batch_size or calibration_rows "
            f"({job['log']})",
            log_tail=tail,
        )

    @property
    def is_alive(self) -> bool:
        """Whether the process still runs."""
        return self.process.poll() is None

    @property
    def is_ready(self) -> bool:
        """Whether an idle child can take a job; one that died closes its events before its keeper ends."""
        poll = select.poll()
        poll.register(self.events, select.POLLIN)
        return self.is_alive and not poll.poll(0)

    def ask_to_end(self) -> None:
        """Ask the keeper to end the child and whatever it started, without waiting."""
        if self.is_alive:
            with contextlib.suppress(ProcessLookupError):
                self.process.terminate()

    def stop(self) -> None:
        """End the child and whatever it started; a `run` under way in another thread then fails."""
        self.ask_to_end()
        self._cleaner.join(KEEPER_SECONDS)
        if self._cleaner.is_alive():
            self._kill_group()
            self._cleaner.join()

    def release(self) -> None:
        """Stop, then close the pipes; only where no other thread is in `run`."""
        self.stop()
        self.events.close()
        os.close(self._lifeline)
        with contextlib.suppress(OSError):  # what a dead child never read
            if self.process.stdin is not None:
                self.process.stdin.close()

    def _clean_up(self) -> None:
        # The keeper leaves nothing; where somebody killed the keeper itself, its session can still be found.
        self.process.wait()
        self._kill_group()

    def _kill_group(self) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)


class ChildPool:
    """Runs stages in warm children; safe to call from several threads.

    Every child inherits `descriptors`: what they lock stays locked until the child too is dead.
    """

    def __init__(
        self, log_folder: Path, environment: Mapping[str, str], descriptors: Sequence[int] = ()
    ) -> None:
        self.log_folder = log_folder
        self.environment = dict(environment)
        self.descriptors = tuple(descriptors)
        self._idle: list[ChildProcess] = []
        self._all: set[ChildProcess] = set()
        self._lock = threading.Lock()
        self._closed = False
        log_folder.mkdir(parents=True, exist_ok=True)

    def __call__(
        self,
        run: StageRun,
        inputs: Mapping[str, Path],
        out: Path,
        progress: Progress,
        overrides: Mapping[str, str] | None = None,
        keep_warm: bool = True,
    ) -> Measured:
        """Run one stage; see execute.stage.StageCaller.

        Args:
            overrides: environment variables of this call's child.
            keep_warm: False stops the child after the stage, with whatever the stage left running in it.
        """
        job = {
            "stage": run.type.name,
            "params": run.params.model_dump(mode="json"),
            "inputs": {role: str(path) for role, path in inputs.items()},
            "out": str(out),
            "log": str(self.locate_log(run)),
        }
        if run.type.needs_device:
            self.make_room(overrides or {}, but=run.type.service)
        child = self._take(run.type.service, dict(overrides or {}))
        try:
            measured = child.run(job, progress)
        except BaseException as error:
            self._drop(child)  # its memory is in doubt: start the next job in a fresh one
            if isinstance(error, TransientError) and run.type.needs_device:
                self.release_idle()  # what they keep may be what was missing
            raise
        if (
            measured.peak_gpu_bytes or not keep_warm
        ):  # a warm process would keep its GPU memory from the next stage
            self._drop(child)
            return measured
        child.idle_since = time.monotonic()
        with self._lock:
            self._idle.append(child)
        return measured

    def release_idle(self, idle_s: float = 0.0, *, but: str = "") -> None:
        """End the children that have been idle for so long, with the engines that they keep loaded.

        Args:
            but: a service whose children stay.
        """
        until = time.monotonic() - idle_s
        with self._lock:
            idle = [c for c in self._idle if c.service != but and c.idle_since <= until]
            self._idle = [c for c in self._idle if c not in idle]
        for child in idle:
            self._drop(child)

    def make_room(self, overrides: Mapping[str, str], *, but: str = "") -> None:
        """End idle children where what their engines hold asleep leaves too little of the GPU to others.

        It is a CUDA context and some graphs each: little of a large GPU, too much of a small one.

        Args:
            overrides: of the call whose GPU it is.
            but: a service whose children stay.
        """
        with self._lock:
            has_others = any(child.service != but for child in self._idle)
        visible = {**self.environment, **overrides}.get("CUDA_VISIBLE_DEVICES")
        if has_others and read_free_share(visible) < LEAST_FREE_SHARE:
            self.release_idle(but=but)

    def locate_log(self, run: StageRun) -> Path:
        """Return where a run's log stands."""
        return self.log_folder / f"{run.name}.log"

    def interrupt(self) -> None:
        """Stop the children that run a stage; idle ones stay, and the pool stays open."""
        with self._lock:
            busy = self._all - set(self._idle)
        _stop_all(busy)

    def close(self) -> None:
        """Stop all children."""
        with self._lock:
            self._closed = True
            children = list(self._all)
            idle, self._idle = self._idle, []
        _stop_all(children)
        for child in idle:
            child.release()

    def _take(self, service: str, overrides: Mapping[str, str]) -> ChildProcess:
        with self._lock:
            if self._closed:
                raise InputError("the run was stopped", remedy="run the same command again: it goes on")
            for child in [c for c in self._idle if (c.service, c.overrides) == (service, overrides)]:
                self._idle.remove(child)
                if child.is_ready:
                    return child
                self._all.discard(child)
                child.release()
            child = ChildProcess(service, self.environment, overrides, self.descriptors)
            self._all.add(child)
            return child

    def _drop(self, child: ChildProcess) -> None:
        child.release()
        with self._lock:
            self._all.discard(child)


def _stop_all(children: Iterable[ChildProcess]) -> None:
    """Stop children together: all are asked before one is waited for."""
    children = list(children)
    for child in children:
        child.ask_to_end()
    for child in children:
        child.stop()


def read_tail(path: Path, lines: int = LOG_TAIL_LINES) -> list[str]:
    """Return the last non-empty lines of a log, none where there is no log."""
    if not path.is_file():
        return []
    with path.open("rb") as stream:
        stream.seek(max(0, path.stat().st_size - 16_384))
        text = stream.read().decode("utf-8", errors="replace")
    return [line.strip() for line in text.splitlines() if line.strip()][-lines:]
