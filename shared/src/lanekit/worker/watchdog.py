"""The thread that ends a stage: at its time limit, on a word to stop, and before the container is killed."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import structlog

from lanekit.worker.heartbeat import WorkerTiming
from lanekit.worker.hold import HandBackError, Hold

TICK_SECONDS = 0.2

log = structlog.get_logger(__name__)


class Watchdog(threading.Thread):
    """Watches the job in hand; never waits for Redis or for the store.

    `interrupt` stops the running stage; `leave` hands the job back and ends the process, where the main
    thread does not come back from the store in time.
    """

    def __init__(
        self, timing: WorkerTiming, interrupt: Callable[[], None], leave: Callable[[Hold], None]
    ) -> None:
        super().__init__(name="lanekit-watchdog", daemon=True)
        self.timing = timing
        self.interrupt = interrupt
        self.leave = leave
        self.hold: Hold | None = None
        self.is_stopping = False  # set by the signal handler, which may do nothing that takes a lock

    def run(self) -> None:
        """Watch for as long as the process lives."""
        stopping_since: float | None = None
        while True:
            time.sleep(TICK_SECONDS)
            hold = self.hold
            if self.is_stopping and stopping_since is None:
                stopping_since = time.monotonic()
            if hold is None:
                continue
            hold.check_clock()
            if stopping_since is not None:
                hold.ask_to_stop(HandBackError("the worker was asked to stop"))
                patience = self.timing.publish if hold.state == "publishing" else self.timing.hand_back
                if time.monotonic() - stopping_since > patience:
                    self.leave(hold)
                    return
            if hold.stop is not None and hold.state == "running":
                self.interrupt()
