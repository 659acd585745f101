"""Commands that signals end: one or several, all stages with them, and the exit code that a shell knows."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from processes import PATIENCE_SECONDS, heed_signals, is_dead, make_environment, wait_for

pytestmark = pytest.mark.slow

COMMAND = """
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
import os
from lanekit.commands.cli import run_main
from lanekit.execute.pool import ChildPool
from lanekit.plan.graph import make_stage_run
from lanekit.progress import ignore_progress
from lanekit.sources.locks import SERVICES
from lanekit.spec.params import FetchModelParams, Source

root = Path(sys.argv[1])

def main():
    pool = ChildPool(root / "logs", dict(os.environ))
    def work(number):
        out = root / str(number)
        out.mkdir()
        params = FetchModelParams(name="sleep", model=Source(source="org/m", digest=str(number)))
        run = make_stage_run("fetch_model", params, {}, dict.fromkeys(SERVICES, "e"))
        pool(run, {}, out, ignore_progress)
    try:
        with ThreadPoolExecutor(3) as executor:
            try:
                list(executor.map(work, range(3)))
            finally:
                pool.close()
    finally:
        pool.close()

run_main(main)
"""


@pytest.mark.parametrize(
    ("signals", "exit_code"),
    [
        ([signal.SIGINT], 130),
        ([signal.SIGTERM], 143),
        ([signal.SIGHUP], 129),
        ([signal.SIGTERM, signal.SIGHUP], 143),
        ([signal.SIGTERM, signal.SIGTERM, signal.SIGINT], 143),
    ],
    ids=["int", "term", "hup", "term-hup", "term-term-int"],
)
def test_the_first_signal_ends_every_stage(
    tmp_path: Path, signals: list[signal.Signals], exit_code: int
) -> None:
    command = [sys.executable, "-c", COMMAND, str(tmp_path)]
    process = subprocess.Popen(command, env=make_environment(), preexec_fn=heed_signals)
    pids = [tmp_path / str(number) / "pid" for number in range(3)]
    try:
        wait_for(lambda: all(p.is_file() and p.read_text() for p in pids), "the stages do not run")
        below = psutil.Process(process.pid).children(recursive=True)
        for number in signals:
            process.send_signal(number)
            time.sleep(0.01)
        assert process.wait(PATIENCE_SECONDS) == exit_code
        wait_for(lambda: all(is_dead(p.pid) for p in below), "something outlived the command", 5)
    finally:
        if process.poll() is None:
            os.kill(process.pid, signal.SIGKILL)
            process.wait()


def test_a_terminal_that_goes_away_ends_a_command_quietly(tmp_path: Path) -> None:
    """After SIGHUP nothing can be written any more: the exit code is the signal's all the same."""
    main, terminal = os.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", COMMAND, str(tmp_path)], env=make_environment(), preexec_fn=heed_signals,
        stdin=terminal, stdout=terminal, stderr=terminal, start_new_session=True,
    )  # fmt: skip
    os.close(terminal)
    pid = tmp_path / "2" / "pid"
    wait_for(lambda: pid.is_file() and pid.read_text() != "", "the stages do not run")
    os.close(main)
    process.send_signal(signal.SIGHUP)
    assert process.wait(PATIENCE_SECONDS) == 129


def test_a_signal_that_comes_in_a_finalizer_is_not_lost() -> None:
    code = """
import os, signal, time, weakref
from lanekit.commands.cli import run_main

class Pool: pass

def main():
    pool = Pool()
    weakref.finalize(pool, os.kill, os.getpid(), signal.SIGINT)
    del pool  # the signal comes in its finalizer, where Python drops whatever is raised
    time.sleep(20)
    return 0

run_main(main)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=15, preexec_fn=heed_signals,
        env=make_environment(), check=False,
    )  # fmt: skip
    assert done.returncode == 130
    assert "Traceback" not in done.stderr
