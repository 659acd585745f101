"""Leases by the kernel's locks: one holder a device, a fair line, and what a killed holder leaves."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import psutil
import pytest
from worker_bench import is_leased, wait_for

from lanekit.errors import InputError, TransientError
from lanekit.host.devices import Device
from lanekit.worker import lease
from lanekit.worker.lease import DeviceLeases

ONE = [Device("gpu-a", "A", "cuda")]
TWO = [*ONE, Device("gpu-b", "B", "cuda")]

# Holds a device, starts a process that inherits the open lock, and says its id.
HOLDER = """
import subprocess, sys, time
from pathlib import Path
from lanekit.host.devices import Device
from lanekit.worker.lease import DeviceLeases
leases = DeviceLeases([Device("gpu-a", "A", "cuda")], Path(sys.argv[1]))
with leases.hold("sft", "k", False, lambda: None):
    child = subprocess.Popen(["sleep", "60"], pass_fds=leases.descriptors)
    print(child.pid, file=sys.stderr, flush=True)
    time.sleep(60)
"""


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
            with self.leases.hold("sft", "k", self.exclusive, self.check) as held:
                start = time.monotonic()
                self.devices = held
                self._let_go.wait(20)
                self.span = (start, time.monotonic())
        except Exception as error:
            self.error = error

    def release(self) -> None:
        self._let_go.set()
        self.join(10)
        assert not self.is_alive()


def count_waiting(folder: Path) -> int:
    """Return how many of this process's threads wait for the line's lock, as the kernel lists them."""
    inode = (folder / "line.lock").stat().st_ino
    lines = Path("/proc/locks").read_text(encoding="utf-8").splitlines()
    return sum("->" in line and f":{inode} " in line for line in lines)


def test_a_device_is_held_within_the_block_alone(tmp_path: Path) -> None:
    leases = DeviceLeases(ONE, tmp_path / "locks")
    with leases.hold("sft", "key-1", False, go_on) as devices:
        assert devices == tuple(ONE)
        assert is_leased(tmp_path / "locks", "gpu-a")
    assert not is_leased(tmp_path / "locks", "gpu-a")
    with pytest.raises(ZeroDivisionError), leases.hold("sft", "key-1", False, go_on):
        raise ZeroDivisionError
    assert not is_leased(tmp_path / "locks", "gpu-a")


def test_two_never_hold_one_device(tmp_path: Path) -> None:
    holders = [Holder(DeviceLeases(ONE, tmp_path)) for _ in range(4)]
    for _ in holders:
        wait_for(lambda: any(h.devices and h.is_alive() for h in holders), "nobody holds it")
        (holding,) = [h for h in holders if h.devices and h.is_alive()]
        holding.release()
    spans = sorted(h.span for h in holders)
    assert all(end <= start for (_, end), (start, _) in pairwise(spans))


@pytest.mark.slow
def test_who_came_first_is_served_first(tmp_path: Path) -> None:
    first = Holder(DeviceLeases(ONE, tmp_path))
    wait_for(lambda: first.devices, "not held")
    waiters = [Holder(DeviceLeases(ONE, tmp_path))]  # has the line's lock, and looks for the device
    time.sleep(0.3)
    for number in range(1, 6):
        waiters.append(Holder(DeviceLeases(ONE, tmp_path)))
        wait_for(lambda n=number: count_waiting(tmp_path) == n, "not in line")
    first.release()
    for place, waiter in enumerate(waiters):
        wait_for(lambda w=waiter: w.devices, f"number {place} is passed over")
        assert not any(later.devices for later in waiters[place + 1 :])
        waiter.release()


def test_waiting_ends_when_it_has_lost_its_point(tmp_path: Path) -> None:
    holder, stopped = Holder(DeviceLeases(ONE, tmp_path)), False

    def check() -> None:
        if stopped:
            raise TransientError("stop")

    wait_for(lambda: holder.devices, "not held")
    leaving = [Holder(DeviceLeases(ONE, tmp_path), check=check) for _ in range(2)]  # one heads the line
    wait_for(lambda: count_waiting(tmp_path) == 1, "not in line")
    staying = Holder(DeviceLeases(ONE, tmp_path))
    wait_for(lambda: count_waiting(tmp_path) == 2, "not in line")
    stopped = True
    for waiter in leaving:
        waiter.join(3)
        assert isinstance(waiter.error, TransientError)
    holder.release()
    wait_for(lambda: staying.devices, "who left still stands in line")
    staying.release()


@pytest.mark.slow
def test_a_killed_holders_device_is_free_when_its_processes_are_dead(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)], stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    child = psutil.Process(int(process.stderr.readline()))
    other = Holder(DeviceLeases(ONE, tmp_path))
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    time.sleep(0.5)
    assert not other.devices, "the stage's own process is alive, and may use the device"
    start = time.monotonic()
    child.kill()
    wait_for(lambda: other.devices, "not freed", 3)
    assert time.monotonic() - start < 1
    other.release()


def test_two_devices_serve_two_and_an_exclusive_one_takes_both(tmp_path: Path) -> None:
    one, two = (Holder(DeviceLeases(TWO, tmp_path)) for _ in range(2))
    wait_for(lambda: one.devices and two.devices, "both are not used")
    assert {one.devices[0].id, two.devices[0].id} == {"gpu-a", "gpu-b"}
    alone = Holder(DeviceLeases(TWO, tmp_path), exclusive=True)
    rival = Holder(DeviceLeases(TWO, tmp_path), exclusive=True)
    wait_for(lambda: count_waiting(tmp_path) == 1, "one is not first in the line, and one behind it")
    first, second = (one, two) if one.devices[0].id == "gpu-b" else (two, one)
    first.release()
    late = Holder(DeviceLeases(TWO, tmp_path))  # wants one, which is free, but came after them
    wait_for(lambda: count_waiting(tmp_path) == 2, "it is not in the line")
    assert not alone.devices and not rival.devices and not late.devices
    second.release()
    for _ in range(2):
        wait_for(lambda: any(h.devices and h.is_alive() for h in (alone, rival)), "neither has both")
        (winner,) = [h for h in (alone, rival) if h.devices and h.is_alive()]
        assert winner.devices == tuple(TWO)
        assert not late.devices
        winner.release()
    wait_for(lambda: late.devices, "not served after them")
    late.release()


def test_a_folder_that_cannot_part_two_stages_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lock_by_process(*_: object) -> bool:
        return True

    monkeypatch.setattr(lease, "try_lock", lock_by_process)  # as on NFS
    with pytest.raises(InputError, match="keeps locks by process") as caught:
        DeviceLeases(ONE, tmp_path)
    assert "local disk" in caught.value.remedy


def test_a_folder_that_cannot_lock_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr(lease.fcntl, "flock", refuse)
    with pytest.raises(InputError, match="No locks available"):
        DeviceLeases(ONE, tmp_path)
