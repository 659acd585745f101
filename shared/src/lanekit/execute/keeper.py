"""The process between a worker and a stage's child: python -m lanekit.execute.keeper. Nothing outlives it.

A stage starts processes of its own, as vLLM its engine core, and those may go into sessions of their own or
lose their parent; a GPU's memory stays taken for as long as one of them lives. The keeper starts the child
and ends everything below it when the child ends, however it ends; when the parent says so (SIGTERM); and when
the parent is gone, which the closed end of a pipe tells whatever killed it. It does no work, so that nothing
but a person kills it; the child then dies by its parent-death signal, and the pool ends the rest.
"""

from __future__ import annotations

import ctypes
import os
import resource
import select
import signal
import sys
import time

import psutil

LIFELINE_FD_VARIABLE = "LANEKIT_LIFELINE_FD"
EVENTS_FD_VARIABLE = "LANEKIT_EVENTS_FD"
PARENT_PID_VARIABLE = "LANEKIT_PARENT_PID"
PR_SET_CHILD_SUBREAPER = 36
END_SECONDS = 4.0  # a killed process that holds a GPU takes up to a second to give it back
POLL_SECONDS = 0.02


def adopt_orphans() -> None:
    """Ask Linux to make this process the parent of every descendant that loses its own."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)


def list_kept() -> list[psutil.Process]:
    """Return what lives below this process or in its session."""
    me = os.getpid()
    found = {process.pid: process for process in psutil.Process(me).children(recursive=True)}
    for pid in psutil.pids():
        try:
            if pid not in found and pid != me and os.getsid(pid) == me:
                found[pid] = psutil.Process(pid)
        except (OSError, psutil.NoSuchProcess):
            continue
    return list(found.values())


def end_kept(limit_s: float = END_SECONDS) -> bool:
    """Kill everything below this process and wait until it is gone; return whether it is."""
    deadline = time.monotonic() + limit_s
    while True:
        left = [process for process in list_kept() if not _is_zombie(process)]
        for process in left:
            try:
                process.kill()
            except psutil.NoSuchProcess:
                continue
        _reap()
        if not left:
            return True
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_SECONDS)


def start_child() -> int:
    """Start the stage's child with this process's pipes, and keep no end of them; return its id."""
    events = int(os.environ[EVENTS_FD_VARIABLE])
    os.environ[PARENT_PID_VARIABLE] = str(os.getpid())
    child = os.posix_spawn(sys.executable, [sys.executable, "-m", "lanekit.execute.child"], os.environ)
    os.close(events)  # the parent sees the end of the events when the child ends
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)  # jobs that nobody reads any more must fail at once
    os.close(nothing)
    return child


def await_end(child: int, lifeline: int) -> int | None:
    """Wait for the child's end and return its wait status; None where the parent went or wants the end."""
    wake_read, wake_write = os.pipe()
    os.set_blocking(wake_write, False)
    signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
    is_asked = False

    def note(number: int, _frame: object) -> None:
        nonlocal is_asked
        is_asked = is_asked or number != signal.SIGCHLD

    for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, note)
    poll = select.poll()  # select() takes no descriptor above 1023
    poll.register(lifeline, select.POLLIN)
    poll.register(wake_read, select.POLLIN)
    while not is_asked:
        ended = _reap()
        if child in ended:
            return ended[child]
        if lifeline in [descriptor for descriptor, _ in poll.poll()]:
            return None
        os.read(wake_read, 512)
    return None


def _reap() -> dict[int, int]:
    """Return the wait statuses of this process's ended children, by id."""
    ended: dict[int, int] = {}
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return ended
        if not pid:
            return ended
        ended[pid] = status


def _is_zombie(process: psutil.Process) -> bool:
    try:
        return bool(process.status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


def main() -> None:
    """Keep one child; end as it ended."""
    lifeline = int(os.environ.pop(LIFELINE_FD_VARIABLE))
    os.set_inheritable(lifeline, False)
    adopt_orphans()
    status = await_end(start_child(), lifeline)
    end_kept()
    if status is not None and os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        if number not in (signal.SIGKILL, signal.SIGSTOP):
            signal.signal(number, signal.SIG_DFL)
        resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
        os.kill(os.getpid(), number)
    os._exit(os.WEXITSTATUS(status) if status is not None else 0)


if __name__ == "__main__":
    main()
