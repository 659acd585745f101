"""Who holds the GPU's memory, told of real processes; nvidia-smi's lines are given."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator

import psutil
import pytest

from lanekit.host.gpu_holders import advise_on_holders, describe_holders, list_holders

START = "exec -a VLLM::EngineCore sleep 60"


@pytest.fixture
def orphan() -> Iterator[int]:
    """A process named as vLLM's engine is, whose session's leader has gone."""
    shell = ["bash", "-c", f"({START}) >/dev/null 2>&1 & echo $!"]
    done = subprocess.run(shell, stdout=subprocess.PIPE, text=True, check=True, start_new_session=True)
    pid = int(done.stdout)
    await_name(pid)
    yield pid
    os.kill(pid, signal.SIGKILL)


@pytest.fixture
def engine() -> Iterator[int]:
    """The same, below a living parent, as in somebody's server."""
    process = subprocess.Popen(["bash", "-c", START])
    await_name(process.pid)
    yield process.pid
    process.kill()
    process.wait()


def await_name(pid: int) -> None:
    deadline = time.monotonic() + 10
    while not " ".join(psutil.Process(pid).cmdline()).startswith("VLLM"):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_what_a_killed_run_left_is_named_with_the_command_that_ends_it(orphan: int, engine: int) -> None:
    holders = list_holders(f"{engine}, 1024\n{orphan}, 68608\n")
    assert [(holder.pid, holder.is_left) for holder in holders] == [(orphan, True), (engine, False)]
    assert describe_holders(holders) == (
        f": pid {orphan} (VLLM::EngineCore 60) holds 67.0 GiB, left by a run that was killed; "
        f"pid {engine} (VLLM::EngineCore 60) holds 1.0 GiB"
    )
    assert advise_on_holders(holders) == f"end it: kill -9 {orphan}"


def test_somebody_elses_process_is_named_and_not_advised_on(engine: int) -> None:
    assert advise_on_holders(list_holders(f"{engine}, 1024")) == ""


def test_a_process_that_cannot_be_seen_is_told_as_such() -> None:
    (holder,) = list_holders("4194303, [N/A]")
    assert (holder.used_mib, holder.is_left) == (0, False)
    assert "cannot be seen from here" in holder.command


@pytest.mark.parametrize("answer", ["", "No running processes found", "[N/A], [N/A]"])
def test_an_answer_without_processes_names_nobody(answer: str) -> None:
    assert list_holders(answer) == []
    assert describe_holders([]) == advise_on_holders([]) == ""
