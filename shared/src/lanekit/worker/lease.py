"""Leases on devices: one stage a device, whatever workers there are.

A lease is a key in Redis with a short life, renewed by its holder's heartbeat; waiters stand in line, and
one that stops asking loses its place. Beside it the holder has the kernel's lock on a file that the workers
of one host share, so a flushed or unreachable Redis never lets a second stage onto the device.

An exclusive stage takes every device of its host, in the one order that all workers keep: nobody waits
while holding a device that an earlier one waits for, so there is no deadlock.
"""

from __future__ import annotations

import fcntl
import json
import os
import random
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import structlog
from redis import Redis
from redis.exceptions import RedisError

from lanekit.host.devices import Device
from lanekit.jobs.keys import RedisKeys

LEASE_TTL_SECONDS = 20.0
WAITER_TTL_SECONDS = 10.0
POLL_SECONDS = 0.3
MAX_INTERVALS = 10_000
LINE_TTL_SECONDS = 60

# Stand in line; drop who has stopped asking; 1 if this waiter is first and the device is free. The time is
# Redis's own: hosts' clocks differ, and a waiter that seemed late would lose its place.
ASK = """
local now = redis.call('TIME')
local ms = now[1] * 1000 + math.floor(now[2] / 1000)
redis.call('ZADD', KEYS[2], 'NX', ms, ARGV[1])
redis.call('ZADD', KEYS[3], ms, ARGV[1])
for _, gone in ipairs(redis.call('ZRANGEBYSCORE', KEYS[3], 0, '(' .. (ms - ARGV[2]))) do
  redis.call('ZREM', KEYS[2], gone)
  redis.call('ZREM', KEYS[3], gone)
end
redis.call('EXPIRE', KEYS[2], ARGV[3])
redis.call('EXPIRE', KEYS[3], ARGV[3])
local first = redis.call('ZRANGE', KEYS[2], 0, 0)[1]
if first == ARGV[1] and redis.call('EXISTS', KEYS[1]) == 0 then return 1 end
return 0
"""
# 1 renewed; 2 it was gone and is taken again; 0 another has it.
RENEW = """
local held = redis.call('GET', KEYS[1])
if held == ARGV[1] then redis.call('PEXPIRE', KEYS[1], ARGV[2]) return 1 end
if not held then redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2]) return 2 end
return 0
"""
RELEASE = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0"

log = structlog.get_logger(__name__)


@dataclass
class DeviceLease:
    """One hold of one device; `value` is the key's content, unlike any other's."""

    device: Device
    value: str
    lock: int | None
    stage: str
    key: str
    acquired_at: float = field(default_factory=time.time)


class DeviceLeases:
    """The leases of one worker. `lock_folder` is the same for all workers of the host."""

    def __init__(
        self,
        client: Redis,
        devices: Sequence[Device],
        worker: str,
        lock_folder: Path | None,
        ttl_seconds: float = LEASE_TTL_SECONDS,
    ) -> None:
        self.client = client
        self.devices = tuple(devices)
        self.worker = worker
        self.lock_folder = lock_folder
        self.ttl_ms = int(ttl_seconds * 1000)
        self._held: dict[str, DeviceLease] = {}
        self._unrecorded: list[tuple[str, str]] = []
        self._mutex = threading.Lock()  # the heartbeat renews while the main thread takes and releases
        self._ask = client.register_script(ASK)
        self._renew = client.register_script(RENEW)
        self._release = client.register_script(RELEASE)
        if lock_folder is not None:
            lock_folder.mkdir(parents=True, exist_ok=True)

    @contextmanager
    def hold(
        self, job_id: str, stage: str, key: str, exclusive: bool, check: Callable[[], None]
    ) -> Iterator[tuple[Device, ...]]:
        """Hold one device, or all of the host, within the block; the first is the one to run on.

        While it waits, `check` is called to raise if waiting has lost its point.
        """
        groups = [(device,) for device in self.devices] if exclusive else [self.devices]
        try:
            devices = tuple(self._acquire(group, job_id, stage, key, check) for group in groups)
            yield devices
        finally:
            self.release_all()

    def renew(self) -> list[Device]:
        """Renew what is held and return the devices that another worker took meanwhile."""
        lost: list[Device] = []
        with self._mutex:
            for lease in self._held.values():
                state = self._renew(keys=[RedisKeys.lease(lease.device.id)], args=[lease.value, self.ttl_ms])
                if state == 2:
                    log.warning("device_taken_again", device=lease.device.id, key=lease.key)
                elif state == 0:
                    lost.append(lease.device)
            self._record()
        return lost

    def release_all(self) -> None:
        """Release what is held; where Redis is away, the lease's short life does it."""
        with self._mutex:
            for lease in reversed(list(self._held.values())):
                self._give_up(lease)
            self._held.clear()
            with suppress(RedisError):
                self._record()

    def _acquire(
        self, devices: Sequence[Device], job_id: str, stage: str, key: str, check: Callable[[], None]
    ) -> Device:
        token = uuid.uuid4().hex
        try:
            while True:
                check()
                for device in devices:
                    with suppress(RedisError):
                        if self._try(device, token, job_id, stage, key):
                            return device
                time.sleep(POLL_SECONDS * random.uniform(0.5, 1.5))
        finally:
            with suppress(RedisError):
                for device in devices:
                    self.client.zrem(RedisKeys.line(device.id), token)
                    self.client.zrem(RedisKeys.line_seen(device.id), token)

    def _try(self, device: Device, token: str, job_id: str, stage: str, key: str) -> bool:
        keys = [RedisKeys.lease(device.id), RedisKeys.line(device.id), RedisKeys.line_seen(device.id)]
        if not self._ask(keys=keys, args=[token, int(WAITER_TTL_SECONDS * 1000), LINE_TTL_SECONDS]):
            return False
        is_free, lock = self._lock_file(device)
        if not is_free:
            return False
        since = time.time()
        value = json.dumps({"token": token, "worker": self.worker, "job": job_id, "since": since})
        lease = DeviceLease(device, value, lock, stage, key, since)
        with self._mutex:
            try:
                taken = self.client.set(RedisKeys.lease(device.id), value, nx=True, px=self.ttl_ms)
            except RedisError:  # perhaps set, perhaps not
                self._unlock(lock)
                raise
            if not taken:
                self._unlock(lock)
                return False
            self._held[device.id] = lease
        log.info("device_acquired", device=device.id, stage=stage, key=key)
        return True

    def _give_up(self, lease: DeviceLease) -> None:
        released_at = time.time()
        with suppress(RedisError):
            self._release(keys=[RedisKeys.lease(lease.device.id)], args=[lease.value])
        self._unlock(lease.lock)
        entry = {
            "worker": self.worker,
            "stage": lease.stage,
            "key": lease.key,
            "acquired_at": lease.acquired_at,
            "released_at": released_at,
        }
        self._unrecorded.append((lease.device.id, json.dumps(entry)))
        held_seconds = round(released_at - lease.acquired_at, 3)
        log.info(
            "device_released",
            device=lease.device.id,
            stage=lease.stage,
            key=lease.key,
            seconds=held_seconds,
        )

    def _record(self) -> None:
        """Hand on the holds that are over; what Redis does not take now goes with the next renewal."""
        while self._unrecorded:
            device_id, entry = self._unrecorded[0]
            with self.client.pipeline() as pipe:
                pipe.rpush(RedisKeys.intervals(device_id), entry)
                pipe.ltrim(RedisKeys.intervals(device_id), -MAX_INTERVALS, -1)
                pipe.execute()
            self._unrecorded.pop(0)

    def _lock_file(self, device: Device) -> tuple[bool, int | None]:
        if self.lock_folder is None:
            return True, None
        path = self.lock_folder / f"{device.id}.lock"
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o660)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
            return False, None
        return True, descriptor

    @staticmethod
    def _unlock(descriptor: int | None) -> None:
        if descriptor is not None:
            os.close(descriptor)
