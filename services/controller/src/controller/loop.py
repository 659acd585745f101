"""The controller's tick: look at the store and at Redis, do what is missing, remember nothing of weight."""

from __future__ import annotations

import socket
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import redis
import structlog
from redis.exceptions import LockError, RedisError

from controller.active import ActiveRun, Replay, open_run
from controller.committed import CommittedStore
from controller.publish import describe_outcome, publish_outcome
from controller.queue_view import QueueView
from controller.queue_work import QueueWork
from controller.reconcile import Policy, order_ready
from controller.stages import Demand, StageKeeper
from controller.troubles import Troubles
from lanekit.errors import InputError, LanekitError, TransientError
from lanekit.jobs import messages
from lanekit.jobs.keys import RedisKeys
from lanekit.plan.graph import StageRun
from lanekit.results.outcome import RunOutcome
from lanekit.store.base import ArtifactReader
from lanekit.store.documents import RunDocuments, RunPaths

LOCK_SECONDS = 15.0
ENDED_LOOKS_PER_TICK = 5

log = structlog.get_logger()


@dataclass
class Look:
    """What one tick saw."""

    view: QueueView
    replays: dict[str, Replay] = field(default_factory=dict)
    cancelled: set[str] = field(default_factory=set)


class Controller:
    """Drives every run of a store. What it remembers only saves it questions: any tick may be its first."""

    def __init__(
        self,
        documents: RunDocuments,
        store: ArtifactReader,
        connection: redis.Redis,
        policy: Policy | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.documents = documents
        self.store = CommittedStore(store)
        self.connection = connection
        self.policy = policy or Policy()
        self.work = QueueWork(connection)
        self.keeper = StageKeeper(documents, self.store, self.work, self.policy, clock)
        self.troubles = Troubles(clock)
        self.active: dict[str, ActiveRun] = {}
        self._ended: deque[str] = deque()
        self._clock = clock
        self._redis_ok_at_s = self._store_ok_at_s = float("-inf")

    def tick(self) -> None:
        """Do all that is to be done now; where another controller is at it, leave it to that one."""
        try:
            lock = self.connection.lock(RedisKeys.CONTROLLER_LOCK, timeout=LOCK_SECONDS, blocking=False)
            is_mine = lock.acquire()
            if self.troubles.note_back("redis"):
                self.keeper.start_anew()
            self._redis_ok_at_s = self._clock()
            if not is_mine:
                return
            try:
                self._look_and_act()
                self.troubles.note_back("store")
                self._store_ok_at_s = self._clock()
            except LanekitError as error:
                self.troubles.note_lost("store", error)
            finally:
                try:
                    lock.release()
                except LockError:
                    log.warning("tick_too_long", limit_s=LOCK_SECONDS)
        except RedisError as error:
            self.troubles.note_lost("redis", error)

    def show_heartbeat(self) -> None:
        """Tell others that the controller lives, and whether the store does."""
        beat = messages.ControllerReport(
            host=socket.gethostname(),
            at=time.time(),
            active_runs=tuple(sorted(self.active)),
            store="lost" if "store" in self.troubles else "ok",
        )
        try:
            self.work.show_heartbeat(beat)
        except RedisError as error:
            self.troubles.note_lost("redis", error)

    def is_well(self, within_s: float) -> bool:
        """Whether Redis and the store answered lately."""
        return min(self._redis_ok_at_s, self._store_ok_at_s) >= self._clock() - within_s

    def _look_and_act(self) -> None:
        look = Look(QueueView(self.connection))
        self._list_runs(look)
        look.view.load(run.plan for run in self.active.values())
        for run in list(self.active.values()):
            self._guard([run], partial(self._replay, run, look))
        is_settled = self.keeper.is_settled(look.view)
        for demand in self._collect_demands(look):
            if is_settled:
                self._guard(demand.waiting, partial(self.keeper.serve, demand, look.view))
        for run in list(self.active.values()):
            if run.run_id in look.replays:
                self._guard([run], partial(self._finish, run, look))
        self.keeper.keep_signs(look.view.jobs.values())

    def _guard(self, runs: list[ActiveRun], step: Callable[[], None]) -> None:
        """Let a fault of one run stop no other; where the store or Redis is away, that is everybody's."""
        try:
            step()
        except RedisError:
            raise
        except Exception as error:
            if isinstance(error, TransientError):
                raise
            for run in runs:
                self._tell_fault(run.run_id, error)
                self.store.forget(run.seen)  # what is remembered may be what is wrong

    def _tell_fault(self, run_id: str, error: Exception) -> None:
        text = f"{type(error).__name__}: {error}"
        if self.troubles.is_news(run_id, text):
            log.error("run_fault", run_id=run_id, error=text, exc_info=error)

    def _list_runs(self, look: Look) -> None:
        known = self.documents.list_runs()
        for run_id in set(self.active) - set(known):
            self._drop(run_id)
        self._ended = deque(run_id for run_id in self._ended if run_id in set(known))
        for _ in range(min(ENDED_LOOKS_PER_TICK, len(self._ended))):
            run_id = self._ended.popleft()
            if RunPaths.OUTCOME in self.documents.list_names(run_id, RunPaths.OUTCOME):
                self._ended.append(run_id)
        for run_id in sorted(set(known) - set(self._ended)):
            names = self.documents.list_names(run_id, "")
            if RunPaths.OUTCOME in names:
                self._drop(run_id)
                self._ended.append(run_id)
                continue
            if RunPaths.RUN not in names:  # not written yet, or deleted
                self._drop(run_id)
                continue
            if RunPaths.CANCELLED in names:
                look.cancelled.add(run_id)
            if run_id in self.active or self._open(run_id):
                self.active[run_id].read_failures(self.documents, names)

    def _open(self, run_id: str) -> bool:
        try:
            run = open_run(run_id, self.documents)
        except InputError as error:
            ended = RunOutcome(run_id=run_id, phase="failed", reason=str(error))
            self._end(ended)
            self.work.show_snapshot(
                messages.RunSnapshot(
                    run_id=run_id,
                    phase="failed",
                    reason=ended.reason,
                    updated_at=time.time(),
                    runs=(),
                    lanes=(),
                )
            )
            return False
        except LanekitError:
            raise
        except Exception as error:
            self._tell_fault(run_id, error)
            return False
        self.active[run_id] = run
        log.info("run_seen", run_id=run_id, lanes=len(run.plan.lanes), stages=len(run.plan.runs))
        return True

    def _drop(self, run_id: str) -> None:
        """Forget a run, and of the store what no other run reads."""
        run = self.active.pop(run_id, None)
        if run is not None:
            self.store.forget(run.seen.difference(*(other.seen for other in self.active.values())))
        self.troubles.forget(run_id)

    def _replay(self, run: ActiveRun, look: Look) -> None:
        replay = run.replay(self.store, look.view)
        look.replays[run.run_id] = replay
        run.waits.clear()
        for stage in run.settle(replay, self.store):
            job = look.view[stage.key]
            log.info("stage_done", run_id=run.run_id, job_id=job.job_id, name=stage.name)
            if job.failure is not None:  # of an attempt that was overtaken
                self.work.forget([stage])

    def _collect_demands(self, look: Look) -> list[Demand]:
        demands: dict[str, Demand] = {}
        for run_id, replay in look.replays.items():
            if run_id in look.cancelled:
                continue
            for run in replay.list_open():
                self.keeper.watch(run, look.view[run.key])
            for run in order_ready(replay.list_ready()):
                demand = demands.setdefault(run.key, Demand(replay.plan, run))
                demand.waiting.append(self.active[run_id])
        return list(demands.values())

    def _finish(self, run: ActiveRun, look: Look) -> None:
        """Stop what a cancelled run left, show how the run is, and end it where nothing is left to do."""
        replay = look.replays[run.run_id]
        ended: RunOutcome | None = None
        phase: messages.RunPhase = replay.phase
        if run.run_id in look.cancelled:
            phase = "cancelled"
            if self.keeper.stop(self._list_own(run, look), look.view):
                ended = RunOutcome(run_id=run.run_id, phase="cancelled", reason="cancelled on request")
        elif replay.error is not None:
            ended = RunOutcome(run_id=run.run_id, phase="failed", reason=str(replay.error))
        elif replay.outcome is not None:
            ended = describe_outcome(run.run_id, replay.outcome)
        if ended is None:
            self._show(run, replay, look.view, phase)
            return
        told = run.describe(replay, look.view, ended.phase, ended.reason).collect_notes()
        ended = ended.model_copy(update={"notes": told})
        models = {name: run.plan.runs[lane.model_key].path for name, lane in run.plan.lanes.items()}
        self._end(ended, models)
        self._show(run, replay, look.view, ended.phase, ended.reason)
        self._drop(run.run_id)

    def _list_own(self, run: ActiveRun, look: Look) -> list[StageRun]:
        """Return a run's open stages that no run needs which goes on."""
        others = [replay for run_id, replay in look.replays.items() if run_id not in look.cancelled]
        needed = {stage.key for replay in others for stage in replay.list_open()}
        return [stage for stage in look.replays[run.run_id].list_open() if stage.key not in needed]

    def _end(self, ended: RunOutcome, models: dict[str, str] | None = None) -> None:
        publish_outcome(self.documents, self.store, ended, models)
        packages = [package.lane for package in ended.packages]
        log.info("run_ended", run_id=ended.run_id, phase=ended.phase, reason=ended.reason, packages=packages)
        self._ended.append(ended.run_id)

    def _show(
        self, run: ActiveRun, replay: Replay, view: QueueView, phase: messages.RunPhase, reason: str = ""
    ) -> None:
        snapshot = run.describe(replay, view, phase, reason)
        now = self._clock()
        if snapshot == run.shown and now - run.shown_at_s < self.policy.snapshot_s:
            return
        run.shown, run.shown_at_s = snapshot, now
        self.work.show_snapshot(snapshot.model_copy(update={"updated_at": time.time()}))
