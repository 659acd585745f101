"""A worker's child process: imports one service's stages and runs them, one at a time, kept warm.

Jobs come as JSON lines on standard input; events go as JSON lines to the file descriptor named in
LANEKIT_EVENTS_FD. The child ends with its parent, the keeper, whatever kills that.
"""

from __future__ import annotations

import ctypes
import errno
import importlib
import json
import os
import signal
import sys
import time
import traceback
from pathlib import Path
from typing import Any

from lanekit.errors import LanekitError, PermanentError
from lanekit.execute.keeper import EVENTS_FD_VARIABLE, PARENT_PID_VARIABLE
from lanekit.host.failures import explain_unexpected, hide_secrets
from lanekit.host.gpu_holders import advise_on_holders, describe_holders, list_holders
from lanekit.host.memory import MemoryMeter
from lanekit.host.probe import list_versions
from lanekit.spec.stages import STAGE_TYPES

PR_SET_PDEATHSIG = 1
MIN_SECONDS_BETWEEN_EVENTS = 0.2


def end_with_parent(parent_pid: int) -> None:
    """Ask Linux to kill this process when its parent dies; elsewhere the closed pipe does it.

    The parent's id tells whether it died before the asking. The keeper ends what it keeps by itself; this is
    for the case that somebody kills the keeper.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent_pid:
            sys.exit(1)


def run_job(job: dict[str, Any], send: Any) -> dict[str, Any]:
    """Run one stage function and return the closing event."""
    stage_type = STAGE_TYPES[job["stage"]]
    module_name, function_name = stage_type.function.split(":")
    last_sent = 0.0

    def progress(step: int, total: int, message: str = "") -> None:
        nonlocal last_sent
        now = time.monotonic()
        if now - last_sent >= MIN_SECONDS_BETWEEN_EVENTS or step in (0, total):
            last_sent = now
            send({"event": "progress", "step": step, "total": total, "message": message})

    started = time.monotonic()
    try:
        progress(0, 0, "loading libraries")
        function = getattr(importlib.import_module(module_name), function_name)
        params = stage_type.params.model_validate(job["params"])
        inputs = {role: Path(path) for role, path in job["inputs"].items()}
        with MemoryMeter() as meter:
            function(params, inputs, Path(job["out"]), progress)
    except Exception as error:  # the boundary: everything becomes an event
        traceback.print_exc()
        return describe_failure(error)
    return {
        "event": "done",
        "seconds": time.monotonic() - started,
        "peak_rss_bytes": meter.peak_rss_bytes,
        "peak_gpu_bytes": meter.peak_gpu_bytes,
        "versions": list_versions(),
    }


def is_disk_full(error: Exception) -> bool:
    """Whether an error is a full disk; safetensors and torch only quote the system's words."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return True
    return os.strerror(errno.ENOSPC) in str(error)


def describe_failure(error: Exception) -> dict[str, Any]:
    """Return the `failed` event: message, remedy, whether trying again can help."""
    if isinstance(error, LanekitError):
        message, remedy, transient = error.message, error.remedy, error.transient
    elif is_disk_full(error):
        message, transient = f"the disk is full: {error}", False
        remedy = "free space on the store's disk, then run again: what is committed is kept"
    elif type(error).__name__ == "OutOfMemoryError":
        holders = [holder for holder in list_holders() if holder.pid != os.getpid()]
        message, transient = f"out of GPU memory: {error}{describe_holders(holders)}", True
        advice = advise_on_holders(holders) or "free the GPU"
        remedy = f"{advice}; or lower batch_size in the experiment file"
    else:
        known = explain_unexpected(error)
        message, transient = known.message, known.transient
        remedy = known.remedy if type(known) is not PermanentError else ""  # the log says more than we know
    return {"event": "failed", "message": hide_secrets(message), "remedy": remedy, "transient": transient}


def main() -> None:
    """Serve jobs until standard input closes."""
    end_with_parent(int(os.environ.pop(PARENT_PID_VARIABLE)))
    events = os.fdopen(int(os.environ.pop(EVENTS_FD_VARIABLE)), "w", encoding="utf-8")

    def send(event: dict[str, Any]) -> None:
        events.write(json.dumps(event, ensure_ascii=False) + "\n")
        events.flush()

    for line in sys.stdin:
        job = json.loads(line)
        log_descriptor = os.open(job["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
            os.dup2(log_descriptor, stream.fileno())
        os.close(log_descriptor)
        send(run_job(job, send))


if __name__ == "__main__":
    main()
elif __name__ == "__mp_main__":  # a process that a stage spawned, as vLLM's engine core: it imports this anew
    end_with_parent(os.getppid())
