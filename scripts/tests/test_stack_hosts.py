"""Two compose projects on separate networks, TLS between them: queue, store and controller; workers alone."""

from __future__ import annotations

import ipaddress
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from commands import read_table
from composed import Stack, run_command
from relay import make_certificate

pytestmark = [pytest.mark.slow, pytest.mark.stack]

FAR_FILES = ("docker-compose.workers.yml", "docker-compose.cpu.yml")
FAR_WORKERS = ("trainer", "quantizer", "evaluator")
TLS_PORTS = {"REDIS_PORT": "36379", "MINIO_PORT": "39000"}
HUB_PORTS = {"REDIS_PORT": "26379", "MINIO_PORT": "29000", "MINIO_CONSOLE_PORT": "29001"}


@pytest.fixture
def hub(engine: None, tmp_path: Path) -> Iterator[Stack]:
    """Everything but the device's workers; its ports are its host's own."""
    stack = Stack("lanes-hub", tmp_path / "hub", ports=HUB_PORTS)
    stack.folder.mkdir()
    stack.prepare()
    stack.down()  # what tests that were killed left: their runs would be found
    try:
        stack.compose("up", "--detach", "--wait", "controller", "ranker", timeout_s=300)
        yield stack
    finally:
        stack.down()


@pytest.fixture
def wire(hub: Stack, tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """TLS between the two: an address that the other project's network reaches, and its authority."""
    template = "{{(index .IPAM.Config 0).Subnet}}"
    subnet = run_command(["docker", "network", "inspect", "-f", template, "bridge"]).strip()
    address = str(next(ipaddress.ip_network(subnet).hosts()))  # this host, as every container sees it
    certificate, key = make_certificate(tmp_path, address)
    routes = [f"{address}:{TLS_PORTS[name]}={port}" for name, port in HUB_PORTS.items() if name in TLS_PORTS]
    relay = subprocess.Popen([sys.executable, str(Path(__file__).parent / "relay.py"),
                              str(certificate), str(key), *routes])  # fmt: skip
    yield address, certificate
    relay.terminate()
    relay.wait(10)


@pytest.fixture
def far(hub: Stack, wire: tuple[str, Path], tmp_path: Path) -> Iterator[Stack]:
    """The device's workers alone, in a project and on a network of their own."""
    stack = Stack("lanes-far", tmp_path / "far", files=FAR_FILES, ports={})
    stack.folder.mkdir()
    (address, certificate), password = wire, hub.read_secret("REDIS_PASSWORD")
    settings = {
        "LANEKIT_REDIS_URL": f"rediss://:{password}@{address}:{TLS_PORTS['REDIS_PORT']}/0",
        "LANEKIT_MINIO_URL": f"https://{address}:{TLS_PORTS['MINIO_PORT']}",
        "LANEKIT_CA": str(certificate),
    }
    for name in FAR_WORKERS:
        secret = f"{name.upper()}_SECRET_KEY"
        settings[secret] = hub.read_secret(secret)
    stack.env_file.write_text("".join(f"{k}={v}\n" for k, v in settings.items()), encoding="utf-8")
    stack.down()
    try:
        stack.compose("up", "--detach", "--wait", timeout_s=300)
        yield stack
    except BaseException:
        print(stack.compose("logs", "--tail", "20", "--no-color"))
        raise
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
