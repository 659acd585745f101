"""The embedded default's driver: runs a plan here, in warm child processes, with a folder as the store."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import Protocol

from filelock import FileLock, Timeout

from lanekit.errors import InputError, LanekitError, PermanentError
from lanekit.execute.stage import StageCaller, execute_stage
from lanekit.plan.graph import Plan, StageRun
from lanekit.plan.state import RunState, StageStatus
from lanekit.progress import ProgressEvent
from lanekit.store.base import is_committed
from lanekit.store.folder import FolderStore

log = logging.getLogger(__name__)

MAX_TRANSIENT_RETRIES = 1


class Watcher(Protocol):
    """Is told what happens; the terminal view is one."""

    def show_status(self, run: StageRun, status: StageStatus, reason: str = "") -> None:
        """A run's status changed."""

    def show_notes(self, run: StageRun, notes: Sequence[str]) -> None:
        """A run's result is not all that was asked for."""

    def show_progress(self, event: ProgressEvent) -> None:
        """A running stage went on."""


@contextmanager
def hold_store(store: FolderStore) -> Iterator[None]:
    """Hold the store for one run at a time, and clear what killed runs left.

    Raises:
        InputError: another run holds it.
        StoreError: it cannot be made or written.
    """
    store.prepare()
    lock = FileLock(store.root / ".run.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise InputError(
            f"another run uses the store {store.root}",
            remedy="wait for it or stop it; or give this run a store of its own (--store)",
        ) from error
    try:
        yield
    finally:
        store.close()
        lock.release()


def run_plan(plan: Plan, store: FolderStore, call: StageCaller, watcher: Watcher, slots: int) -> RunState:
    """Run what is not committed yet; one lane's failure never stops the others.

    A transient failure is tried once more. Returns the final state of every run.
    """
    state = RunState(plan)
    attempts: dict[str, int] = {}
    for key, run in plan.runs.items():
        if is_committed(store, run):
            state.mark(key, "reused")
            watcher.show_status(run, "reused")
            manifest = store.find_artifact(run)
            watcher.show_notes(run, manifest.notes if manifest else ())
    state.skip_unneeded()
    stop = threading.Event()

    def work(run: StageRun) -> tuple[str, ...]:
        def progress(step: int, total: int, message: str = "") -> None:
            if not stop.is_set():
                watcher.show_progress(ProgressEvent(run.key, step, total, message))

        return execute_stage(run, plan.list_inputs(run), store, call, progress).notes

    with ThreadPoolExecutor(max_workers=slots + 1) as executor:  # a run that only waits is beside the slots
        futures: dict[Future[tuple[str, ...]], StageRun] = {}
        try:
            while not state.is_finished:
                for run in state.choose_next(slots):
                    state.mark(run.key, "running")
                    watcher.show_status(run, "running")
                    futures[executor.submit(work, run)] = run
                if not futures:
                    break
                finished, _ = wait(futures, return_when=FIRST_COMPLETED)
                for future in finished:
                    _settle(future, futures.pop(future), state, attempts, watcher)
        except BaseException:
            stop.set()
            _close(call)
            raise
    return state


def _settle(
    future: Future[tuple[str, ...]],
    run: StageRun,
    state: RunState,
    attempts: dict[str, int],
    watcher: Watcher,
) -> None:
    error = future.exception()
    if error is None:
        state.mark(run.key, "done")
        watcher.show_status(run, "done")
        watcher.show_notes(run, future.result())
        return
    if not isinstance(error, LanekitError):
        if not isinstance(error, Exception):
            raise error
        # A fault of our own fails this run's lanes alone; its traceback is for whoever mends it.
        log.error("%s failed unexpectedly", run.name, exc_info=error)
        error = PermanentError(f"{type(error).__name__}: {error}", remedy="report this as a bug")
    attempts[run.key] = attempts.get(run.key, 0) + 1
    if error.transient and attempts[run.key] <= MAX_TRANSIENT_RETRIES:
        log.warning("%s: trying once more: %s", run.name, error.message)
        state.mark(run.key, "waiting")
        watcher.show_status(run, "waiting", error.message)
        return
    state.mark(run.key, "failed", str(error), error.log_tail)
    watcher.show_status(run, "failed", str(error))


def _close(call: StageCaller) -> None:
    close: Callable[[], None] | None = getattr(call, "close", None)
    if close:
        close()
