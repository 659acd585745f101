"""A real compose project for the tests: bring it up, break it, read what its services logged."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from commands import ROOT, make_environment

WORKERS = ("trainer", "quantizer", "evaluator", "ranker", "judge")
SERVICES = (*WORKERS, "controller")
N_LANES = 12
CPU_FILES = ("docker-compose.yml", "docker-compose.cpu.yml")


def run_command(command: list[str], *, timeout_s: float = 600, **options: Any) -> str:
    """Run a command and return its output; a failure shows what it printed."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False, **options)
    assert done.returncode == 0, f"{' '.join(command)}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@dataclass
class Stack:
    """One compose project. `folder` holds its `.env`; the scripts of the host run there."""

    project: str
    folder: Path
    files: tuple[str, ...] = CPU_FILES
    ports: dict[str, str] = field(
        default_factory=lambda: {"REDIS_PORT": "16379", "MINIO_PORT": "19000", "MINIO_CONSOLE_PORT": "19001"}
    )

    def prepare(self, **settings: str) -> None:
        """Write the `.env` with fresh secrets."""
        run_command([sys.executable, str(ROOT / "scripts" / "make_env.py"), "--output", str(self.env_file)])
        with self.env_file.open("a", encoding="utf-8") as stream:
            stream.writelines(f"{name}={value}\n" for name, value in {**self.ports, **settings}.items())

    @property
    def env_file(self) -> Path:
        """Where the secrets stand."""
        return self.folder / ".env"

    def read_secret(self, name: str) -> str:
        """Return one value of the `.env`."""
        for line in self.env_file.read_text(encoding="utf-8").splitlines():
            key, _, value = line.partition("=")
            if key == name:
                return value
        raise KeyError(name)

    def compose(self, *arguments: str, timeout_s: float = 600) -> str:
        """Run `docker compose` on this project."""
        files = [part for name in self.files for part in ("-f", str(ROOT / name))]
        head = ["docker", "compose", "-p", self.project, "--env-file", str(self.env_file), *files]
        return run_command([*head, *arguments], timeout_s=timeout_s, cwd=ROOT)

    def name_script(self, script: str) -> list[str]:
        """Return the command line of one of scripts/ on this stack; further options go behind it."""
        return [sys.executable, str(ROOT / "scripts" / script), "--env-file", str(self.env_file)]

    def run_script(
        self, script: str, *arguments: str, expect: int = 0, timeout_s: float = 1200
    ) -> subprocess.CompletedProcess[str]:
        """Run one of scripts/ as a person does, in this stack's folder."""
        done = subprocess.run(
            [*self.name_script(script), *arguments],
            cwd=self.folder, env=make_environment(), capture_output=True, text=True,
            timeout=timeout_s, check=False,
        )  # fmt: skip
        assert done.returncode == expect, f"{script}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def find_container(self, service: str) -> str:
        """Return the id of a service's container."""
        return self.compose("ps", "-a", "-q", service).split()[0]

    def inspect(self, service: str, template: str) -> str:
        """Return one field of a service's container."""
        return run_command(["docker", "inspect", "-f", template, self.find_container(service)]).strip()

    def kill(self, service: str) -> None:
        """Kill -9 a service's first process; its restart policy is what brings it back."""
        os.kill(int(self.inspect(service, "{{.State.Pid}}")), signal.SIGKILL)

    def read_events(self, *services: str) -> list[dict[str, Any]]:
        """Return the JSON lines of the services' logs, oldest first; other lines are left out."""
        events: list[dict[str, Any]] = []
        for service in services or SERVICES:
            done = subprocess.run(
                ["docker", "logs", self.find_container(service)],
                capture_output=True, text=True, timeout=60, check=False,
            )  # fmt: skip
            for line in (done.stdout + done.stderr).splitlines():
                if line.startswith("{"):
                    try:
                        events.append({"container": service, **json.loads(line)})
                    except ValueError:
                        continue  # the line that a kill cut
        return sorted(events, key=lambda event: str(event.get("timestamp", "")))

    def down(self) -> None:
        """Remove the containers and the volumes."""
        self.compose("down", "--volumes", "--remove-orphans", "--timeout", "5")


@dataclass
class FinishedRun:
    """What the scripts printed and brought to the host, and what the workers had logged by then.

    `mirror` is a folder store with every artifact.
    """

    printed: str
    events: list[dict[str, Any]]
    folder: Path
    mirror: Path


def wait_until(check: Callable[[], Any], what: str, timeout_s: float = 120, pause_s: float = 0.5) -> Any:
    """Return the first true value of a check."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if found := check():
            return found
        time.sleep(pause_s)
    raise AssertionError(f"not within {timeout_s:.0f} s: {what}")


def run_stack(stack: Stack, **settings: str) -> Iterator[Stack]:
    """Bring a stack up, and show its logs where a test failed to; the images are built before."""
    stack.prepare(**settings)
    stack.down()  # what tests that were killed left: their runs would be found
    try:
        stack.compose("up", "--detach", "--wait", "--wait-timeout", "180", timeout_s=300)
        yield stack
    except BaseException:
        print(stack.compose("ps", "-a"), stack.compose("logs", "--tail", "40", "--no-color"))
        raise
    finally:
        stack.down()
