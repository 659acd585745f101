"""On a GPU: what a killed run gives back, who is named, and real CUDA work under the device lease."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import psutil
import pytest
import yaml
from gpu_testing import FIXTURE, GPU_TESTS
from leaving import await_engine, await_gone, find_child, list_below, send, start_evaluation
from real_services import RedisServer, redis_server  # noqa: F401  fixture
from worker_bench import LOCK_DIGESTS, Bench, open_bench, wait_for

from evaluator.engines import load_engine
from lanekit.errors import TransientError
from lanekit.execute.environment import make_child_environment
from lanekit.execute.pool import ChildPool
from lanekit.execute.stage import execute_stage
from lanekit.host.devices import list_devices
from lanekit.host.gpu_holders import list_holders
from lanekit.host.gpu_query import run_query
from lanekit.plan.graph import StageRun, make_stage_run
from lanekit.plan.planner import Planner
from lanekit.progress import ignore_progress
from lanekit.sources.resolve import resolve_sources
from lanekit.spec.evaluation import EngineParams
from lanekit.spec.experiment_file import load_experiment
from lanekit.spec.params import PruneParams
from lanekit.spec.quantization import GptqParams

pytestmark = GPU_TESTS

LOADED_MIB = 2000
LOADED_SECONDS = 120
HOLD = """
import os, sys, torch
kept = torch.empty(int(sys.argv[1]) << 20, dtype=torch.uint8, device="cuda")
open(sys.argv[2], "w").write(str(os.getpid()))
import time; time.sleep(120)
"""


def read_used_mib() -> int:
    return int(run_query(["memory.used"]).splitlines()[0])


@pytest.fixture(scope="module")
def quick(experiment: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The reduced experiment, with engines that start without compiling."""
    folder = tmp_path_factory.mktemp("quick") / "lanes"
    shutil.copytree(experiment.parent, folder)
    settings = yaml.safe_load((folder / "experiment.yaml").read_text(encoding="utf-8"))
    settings["evaluation"]["enforce_eager"] = True
    (folder / "experiment.yaml").write_text(yaml.safe_dump(settings, allow_unicode=True), encoding="utf-8")
    return folder / "experiment.yaml"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("ended")


@pytest.mark.parametrize("how", ["SIGTERM", "SIGKILL", "SIGKILL of the child"])
def test_a_killed_run_gives_the_gpu_back(quick: Path, folder: Path, how: str) -> None:
    before = read_used_mib()
    assert before < LOADED_MIB, f"this process, or another, holds the GPU: {list_holders()}"
    with start_evaluation(quick, folder, FIXTURE) as command:
        engine = await_engine(command.pid)
        wait_for(lambda: read_used_mib() > before + LOADED_MIB, "the engine takes no memory", LOADED_SECONDS)
        assert engine.pid in [holder.pid for holder in list_holders()]
        if how == "SIGKILL of the child":
            child = find_child(command.pid)
            await_gone([engine, child], send(child.pid, signal.SIGKILL))
        else:
            await_gone(list_below(command.pid), send(command.pid, signal.Signals[how]))
            wait_for(lambda: read_used_mib() < before + 200, "the GPU's memory stays taken", 5)


@pytest.fixture
def orphan(tmp_path: Path) -> Iterator[int]:
    """A process named as vLLM's engine that holds the GPU's memory; what started it is gone."""
    total = int(run_query(["memory.total"]).splitlines()[0])
    command = f'exec -a VLLM::EngineCore {sys.executable} -c "$HOLD" {total // 2} {tmp_path / "pid"}'
    subprocess.run(
        ["bash", "-c", f"({command}) >/dev/null 2>&1 &"],
        check=True, start_new_session=True, env={**os.environ, "HOLD": HOLD},
    )  # fmt: skip
    wait_for((tmp_path / "pid").is_file, "no memory is held", LOADED_SECONDS)
    time.sleep(0.2)
    pid = int((tmp_path / "pid").read_text())
    yield pid
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: not psutil.pid_exists(pid), "it lives", 10)


def test_what_was_left_behind_is_named_before_an_engine_starts(orphan: int) -> None:
    params = EngineParams(engine="vllm", max_model_len=1024, gpu_memory_utilization=0.85)
    with pytest.raises(TransientError, match=rf"pid {orphan} \(VLLM::EngineCore.*left by a run") as caught:
        load_engine(FIXTURE, params)
    assert f"kill -9 {orphan}" in caught.value.remedy


@pytest.fixture(scope="module")
def prepared(experiment: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[StageRun], dict]:
    """A store with model and corpus, a prune and a gptq that can begin, and the places of their inputs."""
    from lanekit.store.folder import FolderStore

    root = tmp_path_factory.mktemp("prepared")
    engine = EngineParams(engine="vllm")
    planner = Planner(resolve_sources(load_experiment(experiment)), engine, LOCK_DIGESTS, "")
    inputs = {"model": planner.add_base(), "corpus": planner.add_corpus()}
    pool, store = ChildPool(root / "logs", make_child_environment()), FolderStore(root / "store")
    try:
        for run in planner.plan.runs.values():
            execute_stage(run, planner.plan.list_inputs(run), store, pool, ignore_progress)
    finally:
        pool.close()
    runs = [
        make_stage_run("prune", PruneParams(keep_layers=28, calibration_rows=16), inputs, LOCK_DIGESTS),
        make_stage_run("gptq", GptqParams(scheme="W4A16", calibration_rows=16), inputs, LOCK_DIGESTS),
    ]
    places = {role: {"key": key, "path": planner.plan.runs[key].path} for role, key in inputs.items()}
    return root / "store", runs, places


@pytest.fixture
def bench(tmp_path: Path, redis_server: RedisServer, prepared: tuple) -> Iterator[Bench]:  # noqa: F811
    shutil.copytree(prepared[0], tmp_path / "store")
    with open_bench(tmp_path, redis_server) as bench:
        yield bench


def test_real_stages_of_two_workers_never_share_the_gpu(bench: Bench, prepared: tuple) -> None:
    _, runs, places = prepared
    for service in ("trainer", "quantizer"):
        bench.start(service, doubles=False, await_report=False)
    jobs = [bench.enqueue(run, timeout_s=300, inputs=places) for run in runs]
    for job_id in jobs:
        bench.await_status(job_id, "finished", 120)
    device = list_devices()[0].id
    assert device.startswith("GPU-")
    holds = bench.list_holds()
    assert {hold.stage for hold in holds} == {"prune", "gptq"} and {hold.device for hold in holds} == {device}
    assert all(one.end <= other.start for one, other in pairwise(holds))
    for run in runs:
        manifest = bench.store.find_artifact(run)
        assert manifest and manifest.peak_gpu_bytes > 0


def test_two_plans_of_one_experiment_have_the_same_keys(experiment: Path, tmp_path: Path) -> None:
    """Keys know nothing of the process that makes them, with vLLM and CUDA as without."""
    script = Path(__file__).parents[1] / "run_all.py"
    command = [sys.executable, str(script), "--experiment", str(experiment), "--plan"]
    plans = [
        subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
        for _ in range(2)
    ]
    assert plans[0] == plans[1]
    assert len(plans[0].splitlines()) > 45
