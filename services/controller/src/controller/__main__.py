"""`python -m controller`: drives the runs until it is told to stop."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
import threading
import time
from pathlib import Path
from types import FrameType

import structlog

from controller.documents import RunFolders
from controller.loop import Controller
from lanekit.errors import LanekitError
from lanekit.host.logs import configure_logs
from lanekit.host.stack_settings import load_stack_settings
from lanekit.jobs.connection import connect_redis
from lanekit.store.minio import MinioStore
from lanekit.store.minio_client import RetryPolicy, make_client

TICK_SECONDS = 1.0
BEAT_SECONDS = 5.0
WELL_SECONDS = 60.0
STOP_SECONDS = 2.0
STORE_PATIENCE_SECONDS = 3.0  # the next tick tries again

log = structlog.get_logger()


class Stopped(BaseException):
    """The process was told to stop, and what it is at takes too long."""


def catch_signals(stop: threading.Event) -> None:
    """On SIGTERM or SIGINT set the event; where that does not end the tick soon, break it off."""

    def ask(_number: int, _frame: FrameType | None) -> None:
        stop.set()
        signal.setitimer(signal.ITIMER_REAL, STOP_SECONDS)

    def insist(_number: int, _frame: FrameType | None) -> None:
        raise Stopped

    signal.signal(signal.SIGTERM, ask)
    signal.signal(signal.SIGINT, ask)
    signal.signal(signal.SIGALRM, insist)


def serve(controller: Controller, stop: threading.Event, alive: Path, tick_s: float = TICK_SECONDS) -> None:
    """Tick until the event is set; touch `alive` while Redis and the store answer."""
    next_beat_s = 0.0
    while not stop.is_set():
        began_s = time.monotonic()
        try:
            controller.tick()
        except Exception as error:  # a fault of our own: the next tick may do better
            if controller.troubles.is_news("controller", repr(error)):
                log.exception("controller_fault", error=repr(error))
        if time.monotonic() >= next_beat_s:
            next_beat_s = time.monotonic() + BEAT_SECONDS
            controller.show_heartbeat()
            if controller.is_well(WELL_SECONDS):
                alive.touch()
        stop.wait(max(0.0, began_s + tick_s - time.monotonic()))


def main() -> int:
    """Drive the runs; the exit code is 0 after a signal, 2 where the settings are wrong."""
    configure_logs(logging.INFO, service="controller")
    logging.getLogger("rq").setLevel(logging.WARNING)
    stop = threading.Event()
    catch_signals(stop)
    try:
        settings = load_stack_settings()
        client = make_client(settings, RetryPolicy(total_seconds=STORE_PATIENCE_SECONDS))
        controller = Controller(RunFolders(client), MinioStore(client), connect_redis(settings))
    except LanekitError as error:
        log.error("controller_refused", reason=str(error))
        return 2
    log.info("controller_started", minio=settings.minio_url)
    with contextlib.suppress(Stopped):
        serve(controller, stop, Path(os.environ.get("LANEKIT_ALIVE_FILE", "/tmp/lanekit-alive")))
    log.info("controller_stopped")
    return 0


if __name__ == "__main__":
    sys.exit(main())
