"""A worker process for the tests: the real worker over a folder store. `--settings` is its whole set-up."""

from __future__ import annotations

import json
import shutil
import sys
import time
from pathlib import Path

import redis
import structlog

from lanekit.execute.environment import make_child_environment
from lanekit.execute.pool import ChildPool
from lanekit.host.checkout import find_project_root
from lanekit.host.devices import Device, list_devices
from lanekit.host.logs import configure_logs
from lanekit.plan.graph import Locator
from lanekit.sources.locks import load_lock_digests
from lanekit.store.folder import FolderStore
from lanekit.store.manifest import Manifest
from lanekit.worker.heartbeat import WorkerTiming
from lanekit.worker.lease import DeviceLeases
from lanekit.worker.loop import StageWorker
from lanekit.worker.runner import Workplace

HEAVY = ("torch", "transformers", "vllm", "llmcompressor", "peft", "trl", "datasets")


class SlowStore(FolderStore):
    """A store that takes its time to publish."""

    seconds = 0.0

    def publish_artifact(self, locator: Locator, folder: Path, manifest: Manifest) -> None:
        time.sleep(self.seconds)
        super().publish_artifact(locator, folder, manifest)


def main() -> None:
    """Work until SIGTERM."""
    settings = json.loads(sys.argv[1])
    root = Path(settings["root"])
    configure_logs(service=settings["service"])
    devices = [Device(name, name, settings["device_kind"]) for name in settings["devices"]] or list_devices()
    SlowStore.seconds = settings["publish_seconds"]

    def save_log(name: str, path: Path) -> None:
        shutil.copyfile(path, root / f"{name}.saved")

    leases = DeviceLeases(devices, root / "locks")
    place = Workplace(
        store=SlowStore(root / "store"),
        pool=ChildPool(root / "logs", make_child_environment(), leases.descriptors),
        devices=devices,
        lock_digests=load_lock_digests(find_project_root()),
        leases=leases,
        save_log=save_log,
        alive_file=root / f"alive-{settings['service']}",
        timing=WorkerTiming(**settings["timing"]),
    )
    StageWorker(settings["service"], redis.Redis.from_url(settings["redis"]), place).work()
    structlog.get_logger().info("modules", heavy=[name for name in HEAVY if name in sys.modules])


if __name__ == "__main__":
    main()
