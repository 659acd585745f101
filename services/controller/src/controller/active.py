"""One run that has not ended: its director replayed over what is committed."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from controller.committed import CommittedStore
from controller.documents import parse_final_failure
from controller.queue_view import QueueView
from controller.reconcile import build_state, describe_lane, describe_runs
from lanekit.errors import InputError, LanekitError, PermanentError
from lanekit.jobs import messages
from lanekit.plan.graph import Plan, StageRun
from lanekit.plan.run_document import RunSpec, parse_run
from lanekit.plan.state import RunState
from lanekit.results.course import Outcome, direct_run
from lanekit.store.base import is_committed
from lanekit.store.documents import RunDocuments, RunPaths

ASK_AGAIN_TICKS = 10  # a job that waits or runs is not committed as a rule; another driver may be faster
PHASES: tuple[messages.RunPhase, ...] = ("lanes", "ranking", "packaging")


@dataclass
class Replay:
    """How far a run is: the states of its plans so far, the last unfinished, or its outcome."""

    states: list[RunState] = field(default_factory=list)
    outcome: Outcome | None = None
    error: LanekitError | None = None

    @property
    def has_ended(self) -> bool:
        """Whether the director returned or gave up."""
        return self.outcome is not None or self.error is not None

    @property
    def phase(self) -> messages.RunPhase:
        """What the run is at."""
        return PHASES[min(len(self.states), len(PHASES)) - 1] if self.states else "lanes"

    @property
    def plan(self) -> Plan:
        """The plan that the run is at."""
        return self.states[-1].plan

    def list_ready(self) -> list[StageRun]:
        """Return the stages that wait and could run."""
        return [] if self.has_ended else self.states[-1].list_ready()

    def list_open(self) -> list[StageRun]:
        """Return the stages of the present plan that wait or run."""
        if self.has_ended:
            return []
        state = self.states[-1]
        return [run for key, run in state.plan.runs.items() if state.status[key] in ("waiting", "running")]


class ActiveRun:
    """What this process remembers of a run; all of it can be read anew at any time."""

    def __init__(self, run_id: str, spec: RunSpec, plan: Plan) -> None:
        self.run_id = run_id
        self.spec = spec
        self.plan = plan
        self.failures: dict[str, messages.FailureReport] = {}
        self.made: set[str] = set()  # was missing when first looked for
        self.settled: set[str] = set()  # made, and told in the log
        self.seen: set[str] = set()
        self.waits: dict[str, str] = {}  # what a waiting stage waits for, by key
        self.notes: dict[str, tuple[str, ...]] = {}  # of the manifests, by key
        self.shown: messages.RunSnapshot | None = None
        self.shown_at_s = float("-inf")
        self._ticks = 0
        self._keys = {name: plan.list_lane_keys(name) for name in plan.lanes}
        self._lanes = {key: plan.list_lanes_of(key) for key in plan.runs}

    def read_failures(self, documents: RunDocuments, names: Collection[str]) -> None:
        """Take over the final failures among the run's documents; one that was deleted is forgotten."""
        keys = set(filter(None, map(RunPaths.find_stage_key, names)))
        self.failures = {key: failure for key, failure in self.failures.items() if key in keys}
        for key in keys - set(self.failures):
            content = documents.read(self.run_id, RunPaths.failure(key))
            if content is not None:
                self.failures[key] = parse_final_failure(content)

    def replay(self, store: CommittedStore, view: QueueView) -> Replay:
        """Replay the run's director up to the first plan that is not finished.

        Raises:
            StoreError, TransientError: the store could not be asked.
        """
        self._ticks += 1
        replay = Replay()
        director = direct_run(self.spec, self.plan, store)
        state: RunState | None = None
        while True:
            try:
                plan = next(director) if state is None else director.send(state)
            except StopIteration as end:
                replay.outcome = end.value
                return replay
            except PermanentError as error:
                replay.error = error
                return replay
            self.seen.update(plan.runs)
            view.load([plan])
            committed = self._find_committed(plan, store, view)
            state = build_state(plan, committed, self.made, self.failures, view.jobs)
            replay.states.append(state)
            if not state.is_finished:
                return replay

    def _find_committed(self, plan: Plan, store: CommittedStore, view: QueueView) -> set[str]:
        """Ask the store for each run once; after that, only for those that may have been committed since."""
        committed: set[str] = set()
        for key, run in plan.runs.items():
            if not store.is_known(key) and key in self.made:
                job = view[key]
                unlikely = job.is_queued or (job.is_live and job.rq_status == "started")
                if not committed.issuperset(run.inputs.values()):
                    continue
                if unlikely and self._ticks % ASK_AGAIN_TICKS:
                    continue
            if is_committed(store, run):
                committed.add(key)
                manifest = store.recall(key)
                self.notes[key] = messages.shorten_notes(manifest.notes) if manifest else ()
            else:
                self.made.add(key)
        return committed

    def settle(self, replay: Replay, store: CommittedStore) -> list[StageRun]:
        """Return the stages that were made since the last call."""
        made = [
            run
            for state in replay.states
            for key, run in state.plan.runs.items()
            if key in self.made and key not in self.settled and store.is_known(key)
        ]
        self.settled.update(run.key for run in made)
        return made

    def describe(
        self, replay: Replay, view: QueueView, phase: messages.RunPhase, reason: str
    ) -> messages.RunSnapshot:
        """Return the run's snapshot, without its time."""
        infos: dict[str, messages.RunInfo] = {}
        for state in replay.states:
            lanes: Mapping[str, list[str]] = self._lanes
            if state.plan is not self.plan:
                lanes = {key: state.plan.list_lanes_of(key) for key in state.plan.runs}
            for info in describe_runs(state, view.jobs, lanes, self.waits, self.notes):
                infos.setdefault(info.key, info)
        return messages.RunSnapshot(
            run_id=self.run_id,
            phase=phase,
            reason=reason,
            updated_at=0.0,
            runs=tuple(infos.values()),
            lanes=tuple(
                describe_lane(replay.states[0], lane, self._keys[name])
                for name, lane in self.plan.lanes.items()
                if replay.states
            ),
        )


def open_run(run_id: str, documents: RunDocuments) -> ActiveRun:
    """Read a run.

    Raises:
        InputError: it is not a run that can be directed.
    """
    content = documents.read(run_id, RunPaths.RUN)
    if content is None:  # deleted since it was listed
        raise InputError(f"runs/{run_id}: no {RunPaths.RUN}", remedy="enqueue the run again")
    spec = parse_run(content, RunPaths.place(run_id, RunPaths.RUN))
    if spec.run_id != run_id:
        raise InputError(
            f"runs/{run_id}/{RunPaths.RUN} is the run '{spec.run_id}'", remedy="enqueue the run again"
        )
    plan = spec.make_plan()
    check_graph(plan, run_id)
    return ActiveRun(run_id, spec, plan)


def check_graph(plan: Plan, run_id: str) -> None:
    """Refuse a plan whose runs or lanes need what is not in it.

    Raises:
        InputError: names the run or lane.
    """
    seen: set[str] = set()
    for key, run in plan.runs.items():
        if not seen.issuperset(run.inputs.values()):
            raise InputError(
                f"run {run_id}: {run.name} needs a stage that does not stand before it",
                remedy="enqueue the run again",
            )
        seen.add(key)
    for name, lane in plan.lanes.items():
        if not seen.issuperset((*lane.stage_keys, *lane.wanted_keys)):
            raise InputError(
                f"run {run_id}: lane {name} needs a stage that is not there", remedy="enqueue the run again"
            )
