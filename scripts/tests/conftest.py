"""A reduced experiment on the tiny model, and a way to run the commands as a person does."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from commands import ROOT, EmbeddedRun, Runner, make_environment
from composed import WORKERS, FinishedRun, Stack, run_stack
from filelock import FileLock
from xdist.scheduler import LoadScopeScheduling

from tiny.datasets import build_datasets, write_datasets

WITHOUT_EXPERIMENT = ("compare_lanes.py",)
STACK_TESTS = "scripts/tests/test_stack_"
OWN_STACKS = ("scripts/tests/test_stack_faults.py", "scripts/tests/test_stack_hosts.py")
LONG_FILES = (
    "scripts/tests/test_main_job.py",
    *OWN_STACKS,
    "scripts/tests/test_stepwise_commands.py",
    "scripts/tests/test_nothing_outlives.py",
    "scripts/tests/test_main_job_vllm.py",
    "scripts/tests/test_damage_shows.py",
)


class GroupScheduling(LoadScopeScheduling):
    """Gives whole groups of tests to a process, in the order in which they were collected."""

    def _split_scope(self, nodeid: str) -> str:
        return name_group(nodeid)


def name_group(nodeid: str) -> str:
    """Return a test's group: the composed stack's tests share one, a service's its tiny models."""
    file = nodeid.partition("::")[0]
    if file.startswith(STACK_TESTS) and file not in OWN_STACKS:
        return "stack"
    return "/".join(file.split("/")[:2]) if file.startswith("services/") else file


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> GroupScheduling:
    """Let `-n` keep groups together; marks cannot, as pytest 9 forms a test's id before they are read.

    The order of the groups stays too: xdist would begin with those of the most tests, not of the longest.
    """
    config.option.loadscopereorder = False
    return GroupScheduling(config, log)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Let the longest groups begin first where processes share the tests."""
    if not hasattr(config, "workerinput"):
        return

    def rank(item: pytest.Item) -> int:
        file = item.nodeid.partition("::")[0]
        if name_group(item.nodeid) == "stack":
            return 0
        return 1 + LONG_FILES.index(file) if file in LONG_FILES else 1 + len(LONG_FILES)

    items.sort(key=rank)


def share_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder that the processes which share the tests have in common."""
    root = tmp_path_factory.getbasetemp()
    return root.parent if os.environ.get("PYTEST_XDIST_WORKER") else root


@pytest.fixture(scope="session")
def data_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The synthetic data sets as JSONL."""
    folder = tmp_path_factory.mktemp("data")
    write_datasets(build_datasets(42), folder)
    return folder


@pytest.fixture(scope="session")
def experiment(data_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo experiment with few items and few steps, over the demo's lanes; its folder holds them all."""
    folder = tmp_path_factory.mktemp("lanes")
    for path in (ROOT / "lanes").glob("lane*.yaml"):
        (folder / path.name).write_bytes(path.read_bytes())
    (folder / "benchmarks").mkdir()
    for path in (ROOT / "lanes" / "benchmarks").glob("*.yaml"):
        (folder / "benchmarks" / path.name).write_bytes(path.read_bytes())
    settings = yaml.safe_load((ROOT / "lanes" / "experiment.demo.yaml").read_text(encoding="utf-8"))
    settings["base_model"]["source"] = str(ROOT / "scripts" / "tiny" / "fixture")
    for name in settings["data"]:
        settings["data"][name]["source"] = str(data_folder / f"{name}.jsonl")
    settings["corpus"] = {"train_rows": 200, "validation_rows": 16, "calibration_rows": 32}
    for stage in ("sft", "distill", "post_sft"):
        settings["stage_defaults"][stage]["steps"] = 4
    for stage in ("gptq", "fp8", "awq", "autoround", "prune"):
        settings["stage_defaults"][stage]["calibration_rows"] = 8
    settings["limit_calibration_rows"] = 8
    settings["evaluation"]["limit_items"] = 12
    settings["speed"] = {
        "batch_sizes": [1], "prompt_tokens": 16, "decode_tokens": 4, "prefill_tokens": 0, "free_items": 0,
        "benchmark_items": 2, "min_repeats": 2, "budget_s": 0, "warmups": 1, "score_form": "benchmark",
    }  # fmt: skip
    path = folder / "experiment.yaml"
    path.write_text(yaml.safe_dump(settings, allow_unicode=True), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def run_script(experiment: Path) -> Runner:
    """Run one of scripts/ on the reduced experiment and return what it printed."""

    def run(script: str, *options: str, cwd: Path, expect: int = 0) -> subprocess.CompletedProcess[str]:
        if script not in WITHOUT_EXPERIMENT and "--experiment" not in options:
            options = ("--experiment", str(experiment), *options)
        done = subprocess.run(
            [sys.executable, str(ROOT / "scripts" / script), *options],
            cwd=cwd, env=make_environment(), capture_output=True, text=True, timeout=1700, check=False,
        )  # fmt: skip
        assert done.returncode == expect, f"{done.stdout}\n{done.stderr}"
        return done

    return run


@pytest.fixture(scope="session")
def embedded_run(run_script: Runner, tmp_path_factory: pytest.TempPathFactory) -> EmbeddedRun:
    """All lanes, through the embedded main job: once, however many processes share the tests.

    It is only read; a test that goes on from it takes a copy.
    """
    folder = share_root(tmp_path_factory) / "main-job"
    printed = folder.with_suffix(".txt")
    with FileLock(folder.with_suffix(".lock")):
        if not printed.is_file():
            folder.mkdir()
            printed.write_text(run_script("run_all.py", cwd=folder).stdout, encoding="utf-8")
    return EmbeddedRun(printed.read_text(encoding="utf-8"), folder)


@pytest.fixture(scope="session")
def engine(tmp_path_factory: pytest.TempPathFactory) -> None:
    """A Docker engine with the images of this code; asked for by LANEKIT_STACK_TESTS=1."""
    if os.environ.get("LANEKIT_STACK_TESTS") != "1":
        pytest.skip("the composed stack's tests want an engine: see README, and set LANEKIT_STACK_TESTS=1")
    builder = Stack("lanes-build", tmp_path_factory.mktemp("build"))
    builder.prepare()
    with FileLock(share_root(tmp_path_factory) / "build.lock"):
        builder.compose("build", "--quiet", timeout_s=1800)


@pytest.fixture(scope="session")
def stack(engine: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The composed stack, for the whole session."""
    yield from run_stack(Stack("lanes-test", tmp_path_factory.mktemp("stack")))


@pytest.fixture(scope="session")
def finished_run(stack: Stack, experiment: Path) -> FinishedRun:
    """All lanes, enqueued, watched to the end and fetched."""
    done = stack.run_script("enqueue_lane.py", "--experiment", str(experiment), "--all", "--watch")
    events = stack.read_events(*WORKERS)
    stack.run_script("fetch.py", "--store", "mirror")
    return FinishedRun(done.stdout, events, stack.folder, stack.folder / "mirror")
