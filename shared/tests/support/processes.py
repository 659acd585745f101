"""What the tests of processes share: an environment with doubles, waiting, who is dead."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from lanekit.execute.environment import make_child_environment

DOUBLES = Path(__file__).parent / "double_services"
PATIENCE_SECONDS = 20.0


def make_environment() -> dict[str, str]:
    """Return an environment in which the service `trainer` is the tests' own."""
    path = os.pathsep.join(filter(None, [str(DOUBLES), os.environ.get("PYTHONPATH")]))
    return {**make_child_environment(), "PYTHONPATH": path}


def wait_for(condition: Callable[[], Any], what: str, seconds: float = PATIENCE_SECONDS) -> Any:
    """Wait until something is so, and return what the condition returned."""
    deadline = time.monotonic() + seconds
    while True:
        found = condition()
        if found:
            return found
        assert time.monotonic() < deadline, f"waited {seconds} s: {what}"
        time.sleep(0.02)


def is_dead(pid: int) -> bool:
    """Whether a process is gone, or only waits to be reaped."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def heed_signals() -> None:
    """Let signals reach a process also where these tests run in a background, or below nohup."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def find_closed_port() -> int:
    """A port of this host on which nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])
