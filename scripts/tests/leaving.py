"""Starting a command whose stage runs the real vLLM, ending it, and counting what is left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil
from commands import ROOT, make_environment

ENGINE = "VLLM::"
END_SECONDS = 5.0
START_SECONDS = 180.0


@contextmanager
def start_evaluation(experiment: Path, folder: Path, model: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Start an evaluation with vLLM as a person does, in a session of its own."""
    command = [
        sys.executable, str(ROOT / "scripts" / "04_eval_vllm.py"), "--experiment", str(experiment),
        "--engine", "vllm", "--model", str(model), "--baseline", "--store", str(folder / "store"),
    ]  # fmt: skip
    log = folder / "command.log"
    with log.open("ab") as stream:
        process = subprocess.Popen(
            command, cwd=folder, env=make_environment(), stdout=stream, stderr=stream, start_new_session=True,
            preexec_fn=heed_signals,
        )  # fmt: skip
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def heed_signals() -> None:
    """Let signals reach a process also where these tests run in a background, or below nohup."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def await_engine(root: int, seconds: float = START_SECONDS) -> psutil.Process:
    """Wait until vLLM's engine process stands below a process, and return it."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        for process in list_below(root):
            if is_engine(process):
                return process
        time.sleep(0.2)
    raise AssertionError(f"no engine process below {root} within {seconds:.0f} s")


def is_engine(process: psutil.Process) -> bool:
    """Whether a process is vLLM's engine core."""
    try:
        return ENGINE in " ".join(process.cmdline())
    except psutil.Error:
        return False


def find_child(root: int) -> psutil.Process:
    """Return the stage's child that has the engine."""
    return next(p for p in list_below(root) if "lanekit.execute.child" in p.cmdline() and p.children())


def list_below(root: int) -> list[psutil.Process]:
    """Return all processes below one, whatever session they are in."""
    try:
        return psutil.Process(root).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def count_alive(processes: Sequence[psutil.Process]) -> list[str]:
    """Return the commands of those that still live; psutil tells a reused id apart."""
    alive = []
    for process in processes:
        try:
            if process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
                alive.append(f"{process.pid} {' '.join(process.cmdline())}")
        except psutil.NoSuchProcess:
            continue
    return alive


def await_gone(processes: Sequence[psutil.Process], end: Callable[[], object]) -> float:
    """End something and return the seconds from then until none of the processes is left.

    Raises:
        AssertionError: names those that are left after `END_SECONDS`.
    """
    assert any(is_engine(process) for process in processes)
    end()
    started = time.monotonic()
    while alive := count_alive(processes):
        assert time.monotonic() - started < END_SECONDS, f"outlived their run: {alive}"
        time.sleep(0.05)
    return time.monotonic() - started


def send(pid: int, how: int) -> Callable[[], None]:
    """Return an action that sends a signal."""
    return lambda: os.kill(pid, how)
