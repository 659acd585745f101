"""Leases on devices: one stage a device, whatever workers a host has.

A lease is the kernel's lock (flock) on a file of a folder that all workers of the host share. It needs no
clock and no server: the kernel frees it when its last holder is gone. Every child of a worker inherits the
open file, so that a device whose worker was killed stays taken until the stage's own processes are dead too.

Who wants a device first takes the lock of the line, for which the kernel lets the waiting wait in the order
in which they came, and gives it up when it has what it wants. So an exclusive stage, which takes every device
of its host, is neither passed by for ever nor ever waits for one that waits for it.
"""

from __future__ import annotations

import fcntl
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import structlog

from lanekit.errors import InputError
from lanekit.host.devices import Device

POLL_SECONDS = 0.1
LINE_NAME = "line.lock"

log = structlog.get_logger(__name__)


class DeviceLeases:
    """The leases of one worker, whose main thread holds them; `folder` is the same for all of the host.

    `descriptors` are the open lock files, for the worker's children to inherit.

    Raises:
        InputError: the folder's file system does not lock as Linux's own do.
    """

    def __init__(self, devices: Sequence[Device], folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        check_locking(folder)
        self.devices = tuple(devices)
        self._line = folder / LINE_NAME
        self._files = {device.id: open_lock(folder / f"{device.id}.lock") for device in self.devices}

    @property
    def descriptors(self) -> tuple[int, ...]:
        """See the class."""
        return tuple(self._files.values())

    @contextmanager
    def hold(
        self, stage: str, key: str, exclusive: bool, check: Callable[[], None]
    ) -> Iterator[tuple[Device, ...]]:
        """Hold one device, or all of the host, within the block; the first is the one to run on.

        While it waits, `check` is called to raise if waiting has lost its point.
        """
        held: list[Device] = []
        since = 0.0
        try:
            with stand_in_line(self._line, check):
                wanted = len(self.devices) if exclusive else 1
                while len(held) < wanted:
                    check()
                    before = len(held)
                    for device in self.devices:
                        if len(held) < wanted and device not in held and try_lock(self._files[device.id]):
                            held.append(device)
                    if len(held) == before:
                        time.sleep(POLL_SECONDS)
            held.sort(key=self.devices.index)
            since = time.monotonic()
            for device in held:
                log.info("device_acquired", device=device.id, stage=stage, key=key)
            yield tuple(held)
        finally:
            seconds = round(time.monotonic() - since, 3)
            for device in held:
                if since:  # said while it is still held: what another worker says of it comes later
                    log.info("device_released", device=device.id, stage=stage, key=key, seconds=seconds)
                fcntl.flock(self._files[device.id], fcntl.LOCK_UN)


@contextmanager
def stand_in_line(path: Path, check: Callable[[], None]) -> Iterator[None]:
    """Be first in the line of those that want a device, within the block.

    The kernel's wait cannot be broken off, so a thread does it; where `check` raises meanwhile, the thread
    lets go as soon as its turn comes.
    """
    descriptor = open_lock(path)
    is_first, is_over = threading.Event(), threading.Event()
    mutex = threading.Lock()  # whoever comes second of "it is our turn" and "we no longer want it" closes

    def wait() -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        with mutex:
            is_first.set()
            if is_over.is_set():
                os.close(descriptor)

    threading.Thread(target=wait, name="lanekit-line", daemon=True).start()
    try:
        while not is_first.wait(POLL_SECONDS):
            check()
        yield
    finally:
        with mutex:
            is_over.set()
            if is_first.is_set():
                os.close(descriptor)


def open_lock(path: Path) -> int:
    """Open a lock's file, making it where it is missing."""
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o660)


def try_lock(descriptor: int) -> bool:
    """Take the kernel's lock on an open file where it is free; return whether it is taken now."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def check_locking(folder: Path) -> None:
    """Refuse a folder whose locks do not part two open files of one process, as on NFS.

    Raises:
        InputError: names the folder.
    """
    path = folder / "check.lock"
    one, other = open_lock(path), open_lock(path)
    try:
        fcntl.flock(one, fcntl.LOCK_SH)
        apart = not try_lock(other)
    except OSError as error:
        raise InputError(
            f"{folder}: files cannot be locked there: {error.strerror}", remedy="put it on a local disk"
        ) from error
    finally:
        os.close(one)
        os.close(other)
    if not apart:
        raise InputError(
            f"{folder}: its file system keeps locks by process, not by open file, so that two stages could "
            "share a device",
            remedy="put it on a local disk: the worker-data volume, not a network share",
        )
