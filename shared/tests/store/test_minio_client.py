"""The patience of the MinIO client."""

from __future__ import annotations

import time

import pytest
from minio import Minio

from lanekit.errors import TransientError
from lanekit.store.minio_client import RetryPolicy, StoreClient


def make_idle_client(total_seconds: float) -> StoreClient:
    """Return a client that connects to nothing."""
    policy = RetryPolicy(total_seconds=total_seconds, first_seconds=0.01, longest_seconds=0.05)
    return StoreClient(Minio("localhost:1"), "user", "http://localhost:1", policy)


def test_time_before_the_first_failure_is_no_impatience() -> None:
    calls = []

    def send() -> str:
        calls.append(None)
        if len(calls) == 1:
            time.sleep(0.3)
            raise ConnectionError
        return "sent"

    assert make_idle_client(0.2).call("sending", send) == "sent"


def test_patience_ends() -> None:
    def fail() -> None:
        raise ConnectionError

    begin = time.monotonic()
    with pytest.raises(TransientError):
        make_idle_client(0.2).call("sending", fail)
    assert 0.2 <= time.monotonic() - begin < 5
