"""Two compose projects on separate networks: one with queue, store and controller, one with workers alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from commands import read_table
from composed import Stack, run_command

pytestmark = [pytest.mark.slow, pytest.mark.stack]

FAR_FILES = ("docker-compose.workers.yml", "docker-compose.cpu.yml")
FAR_WORKERS = ("trainer", "quantizer", "evaluator")
HUB_PORTS = {"REDIS_PORT": "26379", "MINIO_PORT": "29000", "MINIO_CONSOLE_PORT": "29001"}


@pytest.fixture
def hub(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Stack]:
    """Everything but the device's workers; it listens where the other project's network can reach it."""
    request.getfixturevalue("engine")
    stack = Stack("lanes-hub", tmp_path / "hub", ports=HUB_PORTS)
    stack.folder.mkdir()
    gateway = run_command(
        ["docker", "network", "inspect", "-f", "{{(index .IPAM.Config 0).Gateway}}", "bridge"]
    ).strip()
    stack.prepare(BIND_ADDRESS=gateway)
    try:
        stack.compose("up", "--detach", "--wait", "controller", "ranker", timeout_s=300)
        yield stack
    finally:
        stack.down()


@pytest.fixture
def far(hub: Stack, tmp_path: Path) -> Iterator[Stack]:
    """The device's workers alone, in a project and on a network of their own."""
    stack = Stack("lanes-far", tmp_path / "far", files=FAR_FILES, ports={})
    stack.folder.mkdir()
    address, password = hub.read_secret("BIND_ADDRESS"), hub.read_secret("REDIS_PASSWORD")
    settings = {
        "LANEKIT_REDIS_URL": f"redis://:{password}@{address}:{HUB_PORTS['REDIS_PORT']}/0",
        "LANEKIT_MINIO_URL": f"http://{address}:{HUB_PORTS['MINIO_PORT']}",
        **{
            f"{name.upper()}_SECRET_KEY": hub.read_secret(f"{name.upper()}_SECRET_KEY")
            for name in FAR_WORKERS
        },
    }
    stack.env_file.write_text("".join(f"{k}={v}\n" for k, v in settings.items()), encoding="utf-8")
    try:
        stack.compose("up", "--detach", "--wait", timeout_s=300)
        yield stack
    finally:
        stack.down()


def test_workers_on_another_host_do_the_stages(hub: Stack, far: Stack, experiment: Path) -> None:
    hub.run_script("enqueue_lane.py", "--experiment", str(experiment), "--only", "lane03,lane05", "--watch")
    hub.run_script("fetch.py")
    table = read_table(hub.folder)
    assert {row["status"] for row in table.values()} == {"ok"}
    assert len(table) == 3
    networks = {
        run_command(
            ["docker", "inspect", "-f", "{{json .NetworkSettings.Networks}}", stack.find_container(name)]
        )
        for stack, name in ((hub, "controller"), (far, "trainer"))
    }
    assert len(networks) == 2
    committed = {e["container"] for e in far.read_events(*FAR_WORKERS) if e.get("event") == "stage_committed"}
    assert committed == set(FAR_WORKERS)
