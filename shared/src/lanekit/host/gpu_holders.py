"""Who holds the GPU's memory: each process by id and command, and whether a run of this product left it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

import psutil

from lanekit.host.gpu_query import run_query

OWN_COMMANDS = ("VLLM::", "lanekit.execute.child", "lanekit.execute.keeper")
MAX_COMMAND_CHARACTERS = 80


@dataclass(frozen=True)
class GpuHolder:
    """A process on the GPU; `is_left` says that what started it is gone. `used_mib` is 0 where untold."""

    pid: int
    command: str
    used_mib: int
    is_left: bool


def list_holders(apps: str | None = None) -> list[GpuHolder]:
    """Return the processes on the GPU that can be seen from here, the largest first.

    Args:
        apps: lines of "pid, MiB"; None asks nvidia-smi, which inside a container may name none.
    """
    answer = run_query(["pid", "used_memory"], "compute-apps") if apps is None else apps
    used_mib: dict[int, int] = {}  # a process may be on several GPUs
    for line in answer.splitlines():
        pid, _, used = (part.strip() for part in line.partition(","))
        if pid.isdigit():
            used_mib[int(pid)] = used_mib.get(int(pid), 0) + (int(used) if used.isdigit() else 0)
    holders = []
    for number, mebibytes in used_mib.items():
        command, is_left = look_at_process(number)
        holders.append(GpuHolder(number, command, mebibytes, is_left))
    return sorted(holders, key=lambda holder: -holder.used_mib)


def look_at_process(pid: int) -> tuple[str, bool]:
    """Return a process's command and whether a run of this product left it behind.

    Left behind is one of our own commands that was adopted: its session's leader is gone, and its parent is
    of another session. An engine of somebody's server still has its parent.
    """
    try:
        process = psutil.Process(pid)
        command = " ".join(" ".join(process.cmdline()).split()) or process.name()
        is_own = any(word in command for word in OWN_COMMANDS)
        session, parent = os.getsid(pid), process.ppid()
        is_adopted = not parent or os.getsid(parent) != session
        is_left = is_own and is_adopted and session != pid and not psutil.pid_exists(session)
    except (psutil.Error, OSError):
        return "a process that cannot be seen from here", False
    if len(command) > MAX_COMMAND_CHARACTERS:
        command = command[: MAX_COMMAND_CHARACTERS - 1] + "…"
    return command, is_left


def describe_holders(holders: Sequence[GpuHolder]) -> str:
    """Return who holds what, to stand at the end of a sentence; empty where nobody is named."""
    parts = [
        f"pid {holder.pid} ({holder.command}) holds "
        + (f"{holder.used_mib / 1024:.1f} GiB" if holder.used_mib else "an untold part")
        + (", left by a run that was killed" if holder.is_left else "")
        for holder in holders
    ]
    return ": " + "; ".join(parts) if parts else ""


def advise_on_holders(holders: Sequence[GpuHolder]) -> str:
    """Return the command that ends what was left behind; empty where nothing was."""
    left = [str(holder.pid) for holder in holders if holder.is_left]
    return f"end it: kill -9 {' '.join(left)}" if left else ""
