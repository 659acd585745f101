"""However a run ends, all that its stages started is gone within 5 s: the real vLLM, on any device."""

from __future__ import annotations

import importlib.util
import shutil
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from leaving import (
    END_SECONDS,
    await_engine,
    await_gone,
    count_alive,
    find_child,
    list_below,
    send,
    start_evaluation,
)
from real_services import RedisServer, redis_server  # noqa: F401  fixture
from worker_bench import LOCK_DIGESTS, Bench, open_bench

from lanekit.execute.environment import make_child_environment
from lanekit.execute.pool import ChildPool
from lanekit.execute.stage import execute_stage
from lanekit.plan.graph import StageRun
from lanekit.plan.planner import Planner
from lanekit.progress import ignore_progress
from lanekit.sources.resolve import resolve_sources
from lanekit.spec.evaluation import EngineParams
from lanekit.spec.experiment_file import load_experiment
from lanekit.store.folder import FolderStore

FIXTURE = Path(__file__).parents[1] / "tiny" / "fixture"
ENGINE = EngineParams(engine="vllm", max_model_len=1024, batch_size=8)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.vllm,
    pytest.mark.skipif(
        importlib.util.find_spec("vllm") is None, reason="no vLLM build for this machine's CPU"
    ),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the commands run, one after the other, over one store."""
    return tmp_path_factory.mktemp("ended")


@pytest.mark.parametrize(
    ("how", "exit_code"),
    [
        (signal.SIGINT, 130),
        (signal.SIGTERM, 143),
        (signal.SIGHUP, 129),
        (signal.SIGKILL, -signal.SIGKILL),
    ],
)
def test_a_command_that_is_ended_leaves_no_process(
    experiment: Path, folder: Path, how: signal.Signals, exit_code: int
) -> None:
    with start_evaluation(experiment, folder, FIXTURE) as command:
        await_engine(command.pid)
        below = list_below(command.pid)
        await_gone(below, send(command.pid, how))
        assert command.wait(10) == exit_code


@pytest.mark.parametrize("who", ["child", "keeper"])
def test_a_stage_that_is_killed_leaves_no_process(experiment: Path, folder: Path, who: str) -> None:
    with start_evaluation(experiment, folder, FIXTURE) as command:
        engine = await_engine(command.pid)
        child = find_child(command.pid)
        keeper = child.parent()
        assert keeper is not None
        killed = {"child": child, "keeper": keeper}[who]
        await_gone([engine, child, keeper], send(killed.pid, signal.SIGKILL))


@dataclass(frozen=True)
class Prepared:
    """A store, an evaluation that can begin, and its inputs as a job names them."""

    store: Path
    run: StageRun
    inputs: dict[str, dict[str, str]]


@pytest.fixture(scope="module")
def prepared(experiment: Path, tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    """A store that holds model and suite, and the evaluation that wants them."""
    root = tmp_path_factory.mktemp("prepared")
    planner = Planner(resolve_sources(load_experiment(experiment)), ENGINE, LOCK_DIGESTS, "")
    base = planner.add_base()
    planner.add_lane("baseline", "baseline", "Baseline", base, (), base)
    plan = planner.plan
    evaluation = next(run for run in plan.runs.values() if run.type.name == "evaluate")
    inputs = {role: {"key": key, "path": plan.runs[key].path} for role, key in evaluation.inputs.items()}
    pool = ChildPool(root / "logs", make_child_environment())
    try:
        for key in evaluation.inputs.values():
            run, store = plan.runs[key], FolderStore(root / "store")
            execute_stage(run, plan.list_inputs(run), store, pool, ignore_progress)
    finally:
        pool.close()
    return Prepared(root / "store", evaluation, inputs)


@pytest.fixture
def bench(
    tmp_path: Path,
    redis_server: RedisServer,  # noqa: F811
    prepared: Prepared,
) -> Iterator[Bench]:
    shutil.copytree(prepared.store, tmp_path / "store")
    with open_bench(tmp_path, redis_server) as bench:
        yield bench


@pytest.fixture(scope="module")
def starts() -> list[float]:
    """The seconds that the engine took to appear in the tests before."""
    return []


@pytest.mark.parametrize("how", ["SIGKILL", "SIGTERM", "time limit"])
def test_a_worker_leaves_no_process(bench: Bench, prepared: Prepared, starts: list[float], how: str) -> None:
    worker = bench.start("evaluator", doubles=False)
    limit_s = 600
    if how == "time limit":  # long enough that the engine is there before
        limit_s = int(2.5 * max(starts, default=50)) + 10
    job_id = bench.enqueue(prepared.run, timeout_s=limit_s, inputs=prepared.inputs)
    bench.await_state(job_id, "running")
    started = time.monotonic()
    engine = await_engine(worker.process.pid)
    starts.append(time.monotonic() - started)
    below = list_below(worker.process.pid)
    if how == "time limit":
        engine.suspend()  # as one that hangs: only the limit ends it
        while count_alive(below):
            assert time.monotonic() - started < limit_s + END_SECONDS, "outlived its limit"
            time.sleep(0.1)
        assert time.monotonic() - started > limit_s - 2
        assert "ran longer than" in bench.await_failure(job_id).message
    else:
        await_gone(below, send(worker.process.pid, signal.Signals[how]))


def test_the_count_sees_what_lives() -> None:
    """A check of the checks: this very process is alive, and below something."""
    me = psutil.Process()
    parent = me.parent()
    assert parent is not None
    assert me in list_below(parent.pid)
