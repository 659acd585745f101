"""The process in each worker's container: python -m lanekit.worker --service trainer."""

from __future__ import annotations

import argparse
import os
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

import structlog

from lanekit.errors import LanekitError
from lanekit.execute.environment import make_child_environment
from lanekit.execute.pool import ChildPool
from lanekit.host.checkout import find_project_root
from lanekit.host.devices import list_devices
from lanekit.host.logs import configure_logs
from lanekit.host.stack_settings import StackSettings, load_stack_settings
from lanekit.jobs.connection import connect_redis
from lanekit.sources.locks import load_lock_digests
from lanekit.spec.stages import WORKERS
from lanekit.store.cache import ArtifactCache
from lanekit.store.documents import upload_log
from lanekit.store.minio import MinioStore
from lanekit.store.minio_client import RetryPolicy, make_client
from lanekit.worker.lease import DeviceLeases
from lanekit.worker.loop import StageWorker
from lanekit.worker.runner import Workplace

PATIENCE_SECONDS = 3600.0  # hours of training wait for MinIO longer than a person would
ALIVE_FILE = Path("/tmp/lanekit-alive")
# What a stage's code has no business with.
SECRETS = ("LANEKIT_REDIS_URL", "LANEKIT_MINIO_ACCESS_KEY", "LANEKIT_MINIO_SECRET_KEY")

log = structlog.get_logger(__name__)


def make_workplace(service: str, settings: StackSettings) -> Workplace:
    """Return what a worker of the stack works with.

    Raises:
        LanekitError: a lock file is missing, the cache's folder cannot be made, or it cannot lock.
    """
    client = make_client(settings, RetryPolicy(total_seconds=PATIENCE_SECONDS))
    store = MinioStore(client, ArtifactCache(settings.cache / "cache", settings.cache_limit_bytes))
    store.clear_scratch()
    devices = list_devices()
    leases = DeviceLeases(devices, settings.cache / "locks")
    environment = {name: value for name, value in make_child_environment().items() if name not in SECRETS}
    return Workplace(
        store=store,
        pool=ChildPool(settings.cache / "logs", environment, leases.descriptors),
        devices=devices,
        lock_digests=load_lock_digests(find_project_root(), [WORKERS[service]]),
        leases=leases,
        save_log=lambda name, path: upload_log(client, name, path),
        alive_file=Path(os.environ.get("LANEKIT_ALIVE_FILE", ALIVE_FILE)),
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one worker until it is told to stop; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m lanekit.worker", description=__doc__)
    parser.add_argument("--service", required=True, choices=WORKERS, help="whose stages to run")
    service = parser.parse_args(arguments).service
    configure_logs(service=service, host=socket.gethostname())
    try:
        settings = load_stack_settings()
        worker = StageWorker(service, connect_redis(settings), make_workplace(service, settings))
        worker.work()
    except LanekitError as error:
        log.error("worker_failed", reason=error.message, remedy=error.remedy)
        return 1
    except Exception:
        log.exception("worker_failed")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
