"""The real MinIO and the real Redis as fixtures: on free ports of this host, to be stopped and started."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import pytest
import redis
import urllib3
from minio import Minio
from minio.error import MinioException
from pydantic import SecretStr

from lanekit.host.stack_settings import StackSettings

READY_SECONDS = 30.0
STOP_SECONDS = 15.0

AnyServer = TypeVar("AnyServer", bound="RealServer")


def find_free_port() -> int:
    """Return a TCP port of localhost that nobody listens on.

    It is not one that the system gives to clients: one of those would be taken while a server is away, even
    by a client that tries to reach that very server.
    """
    while True:
        port = 15_000 + secrets.randbelow(15_000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


def require_binary(name: str, *candidates: str | None) -> str:
    """Return the first of the candidates that exists; skip the test where none does.

    With LANEKIT_REQUIRE_SERVICES=1 a missing binary is a failure.
    """
    for candidate in candidates:
        found = shutil.which(Path(candidate).expanduser()) if candidate else None
        if found:
            return found
    reason = f"no {name} binary: install it, or set LANEKIT_{name.upper().replace('-', '_')}_BINARY=/path"
    if os.environ.get("LANEKIT_REQUIRE_SERVICES") == "1":
        pytest.fail(reason)
    pytest.skip(reason)


class RealServer:
    """A server process that keeps its port and its data over `stop` and `start`."""

    def __init__(self, command: list[str], log: Path, environment: dict[str, str] | None = None) -> None:
        self.command = command
        self.log = log
        self.environment = {**os.environ, **(environment or {})}
        self.process: subprocess.Popen[bytes] | None = None

    def is_ready(self) -> bool:
        """Whether it answers."""
        raise NotImplementedError

    def start(self) -> None:
        """Start it, unless it runs, and wait until it answers."""
        if self.process is not None and self.process.poll() is None:
            return
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(self.command, stdout=log, stderr=log, env=self.environment)
        deadline = time.monotonic() + READY_SECONDS
        while not self.is_ready():
            if self.process.poll() is not None or time.monotonic() > deadline:
                tail = self.log.read_text(errors="replace")[-2000:]
                pytest.fail(f"{self.command[0]} did not come up: {tail}")
            time.sleep(0.05)

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        """Stop it and wait until it is gone; SIGKILL for a crash."""
        if self.process is None:
            return
        self.process.send_signal(how)
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process = None

    @contextmanager
    def outage(self, how: signal.Signals = signal.SIGTERM) -> Iterator[None]:
        """Be down within the block, and up again after it, whatever happens in it."""
        self.stop(how)
        try:
            yield
        finally:
            self.start()


class RedisServer(RealServer):
    """redis-server with a password and an append-only file."""

    def __init__(self, binary: str, folder: Path) -> None:
        self.port = find_free_port()
        self.password = secrets.token_hex(16)
        self.url = f"redis://:{self.password}@127.0.0.1:{self.port}/0"
        options = f"--port {self.port} --bind 127.0.0.1 --appendonly yes --save".split()
        super().__init__(
            [binary, *options, "", "--dir", str(folder), "--requirepass", self.password], folder / "redis.log"
        )

    def client(self) -> redis.Redis:
        """Return a plain client."""
        return redis.Redis.from_url(self.url)

    def is_ready(self) -> bool:
        """See RealServer."""
        try:
            with self.client() as client:
                return bool(client.ping())
        except redis.exceptions.ConnectionError:
            return False


class MinioServer(RealServer):
    """A MinIO on one folder."""

    def __init__(self, binary: str, folder: Path) -> None:
        self.port = find_free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.root_user = "root"
        self.root_password = secrets.token_hex(16)
        self.folder = folder
        addresses = ["--address", f"127.0.0.1:{self.port}", "--console-address", "127.0.0.1:0"]
        super().__init__(
            [binary, "server", "--quiet", *addresses, str(folder / "data")],
            folder / "minio.log",
            {
                "MINIO_ROOT_USER": self.root_user,
                "MINIO_ROOT_PASSWORD": self.root_password,
                "MINIO_BROWSER": "off",
                "MINIO_UPDATE": "off",
            },
        )

    def settings(
        self,
        access_key: str = "",
        secret_key: str = "",
        *,
        cache: Path = Path("/nonexistent"),
        redis_url: str = "redis://127.0.0.1:1/0",
    ) -> StackSettings:
        """Return settings for an account of this server; root's unless one is named."""
        return StackSettings(
            redis_url=SecretStr(redis_url),
            minio_url=self.url,
            minio_access_key=access_key or self.root_user,
            minio_secret_key=SecretStr(secret_key or self.root_password),
            cache=cache,
        )

    def is_ready(self) -> bool:
        """See RealServer."""
        try:
            answer = urllib3.request("GET", f"{self.url}/minio/health/ready", timeout=1.0, retries=False)
        except urllib3.exceptions.HTTPError:
            return False
        if answer.status != 200:
            return False
        host = self.url.removeprefix("http://")
        try:  # accounts are read a moment later than it says to be ready
            Minio(host, self.root_user, self.root_password, secure=False).list_buckets()
        except (MinioException, urllib3.exceptions.HTTPError):
            return False
        return True


@contextmanager
def running(server: AnyServer) -> Iterator[AnyServer]:
    """Run a server within the block."""
    server.start()
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A RedisServer for the session; a test that stops it starts it again (`outage`)."""
    binary = require_binary("redis-server", os.environ.get("LANEKIT_REDIS_SERVER_BINARY"), "redis-server")
    folder = tmp_path_factory.mktemp("redis")
    with running(RedisServer(binary, folder)) as server:
        yield server


@pytest.fixture(scope="session")
def minio_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MinioServer]:
    """A MinioServer for the session; a test that stops it starts it again (`outage`)."""
    binary = require_binary("minio", os.environ.get("LANEKIT_MINIO_BINARY"), "minio", "~/go/bin/minio")
    folder = tmp_path_factory.mktemp("minio")
    with running(MinioServer(binary, folder)) as server:
        yield server
