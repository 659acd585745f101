"""Pool and child with real processes: what kills them, and what the caller is told."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from processes import PATIENCE_SECONDS, heed_signals, is_dead, make_environment, wait_for

from lanekit.errors import InputError, LanekitError, TransientError
from lanekit.execute.pool import ChildPool, StageFailedError, read_tail
from lanekit.execute.stage import Measured
from lanekit.plan.graph import StageRun
from lanekit.progress import ignore_progress

pytestmark = pytest.mark.slow  # starts children

MakeFetch = Callable[..., StageRun]


@pytest.fixture
def pool(tmp_path: Path) -> Iterator[ChildPool]:
    pool = ChildPool(tmp_path / "logs", make_environment())
    yield pool
    pool.close()


@pytest.fixture
def out(tmp_path: Path) -> Path:
    (tmp_path / "out").mkdir()
    return tmp_path / "out"


def read_pid(path: Path) -> int:
    """Wait for a stage to write a process id, and read it."""
    wait_for(lambda: path.is_file() and path.read_text(encoding="ascii") != "", f"no {path.name}")
    return int(path.read_text(encoding="ascii"))


class Job(threading.Thread):
    """Runs one stage in a thread; `result` is what came of it."""

    def __init__(self, pool: ChildPool, run: StageRun, out: Path) -> None:
        super().__init__(daemon=True)
        self.pool, self.stage_run, self.out = pool, run, out
        self.result: Measured | BaseException | None = None
        self.start()

    def run(self) -> None:
        try:
            self.result = self.pool(self.stage_run, {}, self.out, ignore_progress)
        except BaseException as error:
            self.result = error

    def finish(self) -> Measured | BaseException | None:
        self.join(PATIENCE_SECONDS)
        assert not self.is_alive(), "the pool did not notice"
        return self.result


def test_a_stage_runs_in_a_child_and_reports(pool: ChildPool, make_fetch: MakeFetch, out: Path) -> None:
    seen: list[tuple[int, int, str]] = []
    measured = pool(
        make_fetch("write"), {}, out, lambda step, total, message="": seen.append((step, total, message))
    )
    assert read_pid(out / "pid") != os.getpid()
    assert seen[0] == (0, 0, "loading libraries")
    assert seen[-1] == (2, 2, "done")
    assert measured.seconds > 0
    assert measured.peak_rss_bytes > 10_000_000
    assert measured.versions["python"] == sys.version.split()[0]


def test_a_child_stays_warm_from_job_to_job_and_outlives_the_calling_thread(
    pool: ChildPool, make_fetch: MakeFetch, out: Path
) -> None:
    first = Job(pool, make_fetch("write"), out)
    assert isinstance(first.finish(), Measured)
    pid = read_pid(out / "pid")
    time.sleep(0.3)  # were the child bound to the thread that is gone now, it would be dying
    assert not is_dead(pid)
    assert isinstance(Job(pool, make_fetch("write"), out).finish(), Measured)
    assert read_pid(out / "pid") == pid


def test_an_idle_child_that_died_is_replaced(pool: ChildPool, make_fetch: MakeFetch, out: Path) -> None:
    pool(make_fetch("write"), {}, out, ignore_progress)
    pid = read_pid(out / "pid")
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: is_dead(pid), "the child lives")
    pool(make_fetch("write"), {}, out, ignore_progress)
    assert read_pid(out / "pid") != pid


@pytest.mark.parametrize(
    ("name", "kind", "message", "remedy"),
    [
        ("refuse", StageFailedError, "keep_layers is 31, the model has 30", "lower keep_layers ("),
        ("busy", TransientError, "the GPU is busy", "wait ("),
        ("crash", StageFailedError, "RuntimeError: no idea", "read the stage's log ("),
        ("quit", TransientError, "the worker process died (exit code 7)", "memory ran out"),
    ],
)
def test_errors_arrive_with_their_remedy(
    pool: ChildPool, make_fetch: MakeFetch, out: Path, name: str, kind: type[LanekitError], message: str,
    remedy: str,
) -> None:  # fmt: skip
    run = make_fetch(name)
    with pytest.raises(kind) as caught:
        pool(run, {}, out, ignore_progress)
    assert type(caught.value) is kind
    assert caught.value.message.startswith(message)
    assert remedy in caught.value.remedy
    log = pool.log_folder / f"{run.name}.log"
    assert f"({log})" in caught.value.remedy
    if name == "crash":
        assert read_tail(log)[-1] == "RuntimeError: no idea"
    assert isinstance(pool(make_fetch("write"), {}, out, ignore_progress), Measured)


def test_a_killed_child_is_a_passing_failure_that_names_the_signal(
    pool: ChildPool, make_fetch: MakeFetch, out: Path
) -> None:
    job = Job(pool, make_fetch("sleep"), out)
    os.kill(read_pid(out / "pid"), signal.SIGKILL)
    error = job.finish()
    assert isinstance(error, TransientError)
    assert error.message.startswith("the worker process died (signal SIGKILL)")
    assert "memory ran out" in error.remedy


def test_what_a_killed_child_started_dies_too_and_does_not_hang_the_caller(
    pool: ChildPool, make_fetch: MakeFetch, out: Path
) -> None:
    job = Job(pool, make_fetch("fork"), out)
    grandchild = read_pid(out / "grandchild")
    os.kill(read_pid(out / "pid"), signal.SIGKILL)
    assert isinstance(job.finish(), TransientError)
    wait_for(lambda: is_dead(grandchild), "the grandchild lives")


def test_closing_stops_children_in_the_middle_of_a_job(
    pool: ChildPool, make_fetch: MakeFetch, out: Path
) -> None:
    job = Job(pool, make_fetch("sleep"), out)
    pid = read_pid(out / "pid")
    pool.close()
    assert isinstance(job.finish(), TransientError)
    assert is_dead(pid)
    with pytest.raises(InputError, match="the run was stopped"):
        pool(make_fetch("write"), {}, out, ignore_progress)


def test_a_full_disk_is_told_as_one(pool: ChildPool, make_fetch: MakeFetch, small_disk: Path) -> None:
    with pytest.raises(StageFailedError, match="the disk is full: ") as caught:
        pool(make_fetch("fill"), {}, small_disk, ignore_progress)
    assert "free space on the store's disk" in caught.value.remedy


PARENT = """
import sys
from pathlib import Path
from lanekit.spec.params import FetchModelParams, Source
from lanekit.plan.graph import make_stage_run
from lanekit.execute.pool import ChildPool
from lanekit.progress import ignore_progress
from lanekit.sources.locks import SERVICES
import os

out = Path(sys.argv[1])
params = FetchModelParams(name=sys.argv[2], model=Source(source="org/m", digest="d"))
run = make_stage_run("fetch_model", params, {}, dict.fromkeys(SERVICES, "e"))
pool = ChildPool(out / "logs", dict(os.environ))
pool(run, {}, out, ignore_progress)
"""


LINUX = pytest.mark.skipif(sys.platform != "linux", reason="orphans are adopted on Linux alone")


@LINUX
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
@pytest.mark.parametrize(
    ("behaviour", "whose_pid"),
    [("sleep", "pid"), ("spawn", "grandchild"), ("daemon", "grandchild")],
    ids=["the-child", "what-a-stage-spawned", "what-went-into-a-session-of-its-own"],
)
def test_stage_processes_end_with_the_parent_whatever_ends_it(
    out: Path, behaviour: str, whose_pid: str, how: signal.Signals
) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(out), behaviour],
        env=make_environment(),
        preexec_fn=heed_signals,
    )
    try:
        pid = read_pid(out / whose_pid)
        assert not is_dead(pid)
        below = psutil.Process(parent.pid).children(recursive=True)
        assert len(below) >= 2  # the keeper and the child
    finally:
        parent.send_signal(how)
    wait_for(lambda: is_dead(pid), "the process outlived the parent", 5)
    wait_for(lambda: all(is_dead(p.pid) for p in below), "something outlived the parent", 5)
    parent.wait(PATIENCE_SECONDS)


@LINUX
def test_what_went_away_from_a_killed_child_is_found(
    pool: ChildPool, make_fetch: MakeFetch, out: Path
) -> None:
    job = Job(pool, make_fetch("daemon"), out)
    daemon = read_pid(out / "grandchild")
    os.kill(read_pid(out / "pid"), signal.SIGKILL)
    error = job.finish()
    assert isinstance(error, TransientError)
    assert error.message.startswith("the worker process died (signal SIGKILL)")
    wait_for(lambda: is_dead(daemon), "the daemon lives", 5)


@LINUX
def test_what_went_away_ends_when_the_pool_is_interrupted(
    pool: ChildPool, make_fetch: MakeFetch, out: Path
) -> None:
    job = Job(pool, make_fetch("daemon"), out)
    daemon = read_pid(out / "grandchild")
    pool.interrupt()
    assert is_dead(daemon)
    assert isinstance(job.finish(), TransientError)


@LINUX
def test_a_killed_keeper_takes_the_child_and_its_session_along(
    pool: ChildPool, make_fetch: MakeFetch, out: Path
) -> None:
    job = Job(pool, make_fetch("spawn"), out)
    grandchild, child = read_pid(out / "grandchild"), read_pid(out / "pid")
    os.kill(psutil.Process(child).ppid(), signal.SIGKILL)
    assert isinstance(job.finish(), TransientError)
    wait_for(lambda: is_dead(child) and is_dead(grandchild), "something outlived the keeper", 5)


def test_a_childs_own_variables_are_its_own(pool: ChildPool, make_fetch: MakeFetch, out: Path) -> None:
    pids = set()
    for overrides in ({"CUDA_VISIBLE_DEVICES": "0"}, {"CUDA_VISIBLE_DEVICES": "1"}, None):
        pool(make_fetch("write"), {}, out, ignore_progress, overrides)
        pid = read_pid(out / "pid")
        pids.add(pid)
        found = psutil.Process(pid).environ().get("CUDA_VISIBLE_DEVICES")
        assert found == (overrides or os.environ).get("CUDA_VISIBLE_DEVICES")
        pool(make_fetch("write"), {}, out, ignore_progress, overrides)
        assert read_pid(out / "pid") == pid  # warm for the same variables
    assert len(pids) == 3


def test_interrupting_stops_what_runs_and_keeps_the_pool(
    pool: ChildPool, make_fetch: MakeFetch, out: Path, tmp_path: Path
) -> None:
    (tmp_path / "idle").mkdir()
    job = Job(pool, make_fetch("sleep"), out)
    pid = read_pid(out / "pid")
    pool(make_fetch("write"), {}, tmp_path / "idle", ignore_progress)
    idle = read_pid(tmp_path / "idle" / "pid")
    pool.interrupt()
    assert isinstance(job.finish(), TransientError)
    assert is_dead(pid)
    pool(make_fetch("write"), {}, tmp_path / "idle", ignore_progress)
    assert read_pid(tmp_path / "idle" / "pid") == idle


def test_idle_children_are_released_after_their_time(
    pool: ChildPool, make_fetch: MakeFetch, out: Path
) -> None:
    pool(make_fetch("write"), {}, out, ignore_progress)
    pid = read_pid(out / "pid")
    pool.release_idle(3600)
    pool.release_idle(but="trainer")
    assert not is_dead(pid)
    pool.release_idle()
    assert is_dead(pid)
    pool(make_fetch("write"), {}, out, ignore_progress)
    assert read_pid(out / "pid") != pid


def test_a_stage_on_the_device_ends_what_others_keep_of_it(
    pool: ChildPool, make_fetch: MakeFetch, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By how much of the GPU is free: engines asleep are little of a large one."""
    asked: list[str | None] = []
    free = [0.86]
    monkeypatch.setattr("lanekit.execute.pool.read_free_share", lambda gpu: (asked.append(gpu), free[0])[1])
    pool(make_fetch("write"), {}, out, ignore_progress)
    pid = read_pid(out / "pid")
    pool.make_room({"CUDA_VISIBLE_DEVICES": "1"}, but="trainer")
    assert asked == [], "its own children are not in its way"
    pool.make_room({"CUDA_VISIBLE_DEVICES": "1"}, but="quantizer")
    assert asked == ["1"] and not is_dead(pid)
    free[0] = 0.84
    pool.make_room({}, but="quantizer")
    assert is_dead(pid)
