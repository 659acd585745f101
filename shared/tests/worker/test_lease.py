"""Leases over a real Redis: one holder a device, a fair line, and what a flush does."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import pytest
import redis
from real_services import RedisServer
from worker_bench import wait_for

from lanekit.errors import TransientError
from lanekit.host.devices import Device
from lanekit.jobs.keys import RedisKeys
from lanekit.worker import lease
from lanekit.worker.lease import DeviceLeases

pytestmark = pytest.mark.slow

ONE = [Device("gpu-a", "A", "cuda")]
TWO = [*ONE, Device("gpu-b", "B", "cuda")]
TTL_SECONDS = 2.0


@pytest.fixture
def client(redis_server: RedisServer) -> Iterator[redis.Redis]:
    client = redis_server.client()
    client.flushall()
    yield client


def go_on() -> None:
    """Wait for as long as it takes."""


class Holder(threading.Thread):
    """Holds a device until it is let go, in a thread of its own."""

    def __init__(
        self, leases: DeviceLeases, exclusive: bool = False, check: Callable[[], None] = go_on
    ) -> None:
        super().__init__(daemon=True)
        self.leases, self.exclusive, self.check = leases, exclusive, check
        self.devices: tuple[Device, ...] = ()
        self.span = (0.0, 0.0)
        self.error: Exception | None = None
        self._let_go = threading.Event()
        self.start()

    def run(self) -> None:
        try:
            with self.leases.hold(
                f"job-{self.leases.worker}", "sft", "k", self.exclusive, self.check
            ) as held:
                start = time.time()
                self.devices = held
                self._let_go.wait(20)
                self.span = (start, time.time())
        except Exception as error:
            self.error = error

    def release(self) -> None:
        self._let_go.set()
        self.join(10)
        assert not self.is_alive()


def test_a_hold_is_told_of_and_recorded(client: redis.Redis, tmp_path: Path) -> None:
    leases = DeviceLeases(client, ONE, "w1", tmp_path, TTL_SECONDS)
    with leases.hold("job-1", "sft", "key-1", False, go_on) as devices:
        assert devices == tuple(ONE)
        holder = json.loads(client.get(RedisKeys.lease("gpu-a")) or b"")
        assert (holder["worker"], holder["job"]) == ("w1", "job-1")
        assert 0 < client.pttl(RedisKeys.lease("gpu-a")) <= TTL_SECONDS * 1000
    assert not client.exists(RedisKeys.lease("gpu-a"))
    assert client.keys("lanekit:line*") == []
    (entry,) = map(json.loads, client.lrange(RedisKeys.intervals("gpu-a"), 0, -1))
    assert set(entry) == {"worker", "stage", "key", "acquired_at", "released_at"}
    assert entry["acquired_at"] <= entry["released_at"]


def test_holds_are_kept_to_a_number(client: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "MAX_INTERVALS", 3)
    leases = DeviceLeases(client, ONE, "w1", None)
    for number in range(5):
        with leases.hold("j", "sft", str(number), False, go_on):
            pass
    keys = [json.loads(entry)["key"] for entry in client.lrange(RedisKeys.intervals("gpu-a"), 0, -1)]
    assert keys == ["2", "3", "4"]


@pytest.mark.parametrize("with_files", [True, False])
def test_two_never_hold_one_device(client: redis.Redis, tmp_path: Path, with_files: bool) -> None:
    folder = tmp_path if with_files else None
    holders = [Holder(DeviceLeases(client, ONE, f"w{n}", folder, TTL_SECONDS)) for n in range(4)]
    for _ in holders:
        wait_for(lambda: any(h.devices and h.is_alive() for h in holders), "nobody holds it")
        (holding,) = [h for h in holders if h.devices and h.is_alive()]
        holding.release()
    spans = sorted(h.span for h in holders)
    assert all(end <= start for (_, end), (start, _) in pairwise(spans))


def test_who_came_first_is_served_first(client: redis.Redis) -> None:
    first = Holder(DeviceLeases(client, ONE, "w0", None))
    wait_for(lambda: first.devices, "not held")
    waiters = []
    for number in range(1, 4):
        waiters.append(Holder(DeviceLeases(client, ONE, f"w{number}", None)))
        wait_for(lambda n=number: client.zcard("lanekit:line:gpu-a") == n, "not in line")
    first.release()
    for waiter in waiters:
        wait_for(lambda w=waiter: w.devices, f"{waiter.leases.worker} is passed over")
        waiter.release()


def test_a_waiter_that_died_is_passed_over(client: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "WAITER_TTL_SECONDS", 1.0)
    client.zadd("lanekit:line:gpu-a", {"dead": 1})
    client.zadd("lanekit:line-seen:gpu-a", {"dead": 1})
    holder = Holder(DeviceLeases(client, ONE, "w1", None))
    wait_for(lambda: holder.devices, "the dead waiter blocks the line", 3)
    holder.release()
    assert client.keys("lanekit:line*") == []


def test_a_dead_holder_frees_the_device_by_the_leases_end(client: redis.Redis) -> None:
    dead = Holder(DeviceLeases(client, ONE, "dead", None, TTL_SECONDS))  # nobody renews it
    wait_for(lambda: dead.devices, "not held")
    start = time.monotonic()
    other = Holder(DeviceLeases(client, ONE, "w1", None, TTL_SECONDS))
    wait_for(lambda: other.devices, "not freed", TTL_SECONDS + 2)
    assert time.monotonic() - start > TTL_SECONDS / 2
    dead.release()
    assert (
        json.loads(client.get(RedisKeys.lease("gpu-a")) or b"")["worker"] == "w1"
    )  # not the dead one's to free
    other.release()


def test_renewing_keeps_it_and_takes_it_again_after_a_flush(client: redis.Redis) -> None:
    leases = DeviceLeases(client, ONE, "w1", None, TTL_SECONDS)
    holder = Holder(leases)
    wait_for(lambda: holder.devices, "not held")
    client.pexpire(RedisKeys.lease("gpu-a"), 100)
    assert leases.renew() == []
    assert client.pttl(RedisKeys.lease("gpu-a")) > 1000
    client.flushall()
    client.script_flush()
    assert leases.renew() == []
    assert client.exists(RedisKeys.lease("gpu-a"))
    client.set(RedisKeys.lease("gpu-a"), "another's")
    assert leases.renew() == ONE
    holder.release()
    assert client.get(RedisKeys.lease("gpu-a")) == b"another's"


def test_after_a_flush_the_file_lock_keeps_others_off(client: redis.Redis, tmp_path: Path) -> None:
    leases = DeviceLeases(client, ONE, "w1", tmp_path)
    holder = Holder(leases)
    wait_for(lambda: holder.devices, "not held")
    other = Holder(DeviceLeases(client, ONE, "w2", tmp_path))
    client.flushall()
    time.sleep(1.5)  # several looks of the waiter's at a key that is not there
    assert not other.devices
    assert leases.renew() == []
    holder.release()
    wait_for(lambda: other.devices, "not freed")
    other.release()


def test_two_devices_serve_two_and_an_exclusive_one_takes_both(client: redis.Redis, tmp_path: Path) -> None:
    one, two = (Holder(DeviceLeases(client, TWO, name, tmp_path)) for name in ("w1", "w2"))
    wait_for(lambda: one.devices and two.devices, "both are not used")
    assert {one.devices[0].id, two.devices[0].id} == {"gpu-a", "gpu-b"}
    alone = Holder(DeviceLeases(client, TWO, "w3", tmp_path, 60), exclusive=True)
    rival = Holder(DeviceLeases(client, TWO, "w4", tmp_path, 60), exclusive=True)
    first, second = (one, two) if one.devices[0].id == "gpu-b" else (two, one)
    first.release()
    time.sleep(1)
    assert not alone.devices
    assert not rival.devices
    second.release()
    wait_for(lambda: alone.devices or rival.devices, "neither has both")
    winner, loser = (alone, rival) if alone.devices else (rival, alone)
    assert winner.devices == tuple(TWO)
    assert not loser.devices
    winner.release()
    wait_for(lambda: loser.devices, "the other exclusive one waits for ever")
    loser.release()


def test_waiting_ends_when_it_has_lost_its_point(client: redis.Redis) -> None:
    holder = Holder(DeviceLeases(client, ONE, "w1", None))
    wait_for(lambda: holder.devices, "not held")
    stopped = False

    def check() -> None:
        if stopped:
            raise TransientError("stop")

    waiter = Holder(DeviceLeases(client, ONE, "w2", None), check=check)
    wait_for(lambda: client.zcard("lanekit:line:gpu-a") == 1, "not in line")
    stopped = True
    waiter.join(3)
    assert isinstance(waiter.error, TransientError)
    assert client.keys("lanekit:line*") == []
    holder.release()


def test_a_hold_and_a_wait_outlast_an_outage(redis_server: RedisServer, tmp_path: Path) -> None:
    client = redis_server.client()
    client.flushall()
    holder = Holder(DeviceLeases(client, ONE, "w1", tmp_path))
    wait_for(lambda: holder.devices, "not held")
    waiter = Holder(DeviceLeases(client, ONE, "w2", tmp_path))
    with redis_server.outage():
        time.sleep(1)
        holder.release()  # the key stays; its life is short
        assert holder.error is None
    assert client.lrange(RedisKeys.intervals("gpu-a"), 0, -1) == []
    assert holder.leases.renew() == []  # the next heartbeat hands the record on
    assert len(client.lrange(RedisKeys.intervals("gpu-a"), 0, -1)) == 1
    client.delete(RedisKeys.lease("gpu-a"))
    wait_for(lambda: waiter.devices, "the waiter did not wait through the outage")
    waiter.release()
