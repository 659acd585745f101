"""Builders and disks for the tests of lanekit."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from hypothesis import settings
from real_services import minio_server, redis_server  # noqa: F401  fixtures

from lanekit.host.checkout import find_project_root
from lanekit.plan.graph import StageRun, make_stage_run
from lanekit.sources.locks import SERVICES
from lanekit.spec.params import FetchModelParams, Parameters, Source
from lanekit.spec.stages import STAGE_TYPES

settings.register_profile("repeatable", deadline=None, max_examples=60, derandomize=True)
settings.load_profile("repeatable")

SMALL_DISK_BYTES = 1 << 20
LOCK_DIGESTS = dict.fromkeys(SERVICES, "test-environment")


@pytest.fixture
def lanes_folder() -> Path:
    """The repository's own lanes/."""
    return find_project_root() / "lanes"


@pytest.fixture
def lock_digests() -> Mapping[str, str]:
    """One lock digest a service."""
    return LOCK_DIGESTS


@pytest.fixture
def make_fetch() -> Callable[..., StageRun]:
    """Make a fetch_model run with a key of its own; `name` reaches the stage."""

    def make(name: str = "write", digest: str = "a" * 40) -> StageRun:
        params = FetchModelParams(name=name, model=Source(source="org/model", digest=digest))
        return make_stage_run("fetch_model", params, {}, LOCK_DIGESTS)

    return make


@pytest.fixture
def make_run() -> Callable[..., StageRun]:
    """Make a stage run with a readable key, for tests that only look at the graph."""

    def make(key: str, stage: str = "sft", **inputs: str) -> StageRun:
        return StageRun(key, STAGE_TYPES[stage], Parameters(), inputs)

    return make


def _mount(folder: Path, options: str) -> Iterator[Path]:
    if os.geteuid() != 0:
        pytest.skip("mounting a tmpfs needs root")
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"no tmpfs can be mounted here: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real disk of 1 MiB."""
    yield from _mount(tmp_path / "small", f"size={SMALL_DISK_BYTES}")


@pytest.fixture
def read_only_disk(tmp_path: Path) -> Iterator[Path]:
    """A real disk that nobody can write, not even root."""
    yield from _mount(tmp_path / "read-only", "ro,size=64k")
