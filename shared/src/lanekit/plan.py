"""Planning: lanes become a graph of stage runs, equal runs become one. Pure; `resolve.py` does the I/O."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from lanekit.experiment import Experiment, is_local
from lanekit.keys import SHORT_KEY_CHARACTERS, compute_stage_key
from lanekit.lanefile import Lane
from lanekit.params import EngineParams, FetchModelParams, Parameters, PrepareCorpusParams, Source
from lanekit.plan_evaluation import plan_evaluation, plan_judging, plan_speed, plan_suite
from lanekit.specs import STAGE_TYPES, StageType

BASELINE = "baseline"


class Locator(Protocol):
    """What a store needs to find an artifact: the full key, and its place, `bucket/name`."""

    @property
    def key(self) -> str:
        """The stage key, 64 hex digits."""

    @property
    def bucket(self) -> str:
        """The bucket."""

    @property
    def name(self) -> str:
        """The readable name with the short key; the prefix of the files in the bucket."""


@dataclass(frozen=True)
class ArtifactRef:
    """An artifact without the run that makes it; `path` is "bucket/name"."""

    key: str
    path: str

    @property
    def bucket(self) -> str:
        """See Locator."""
        return self.path.partition("/")[0]

    @property
    def name(self) -> str:
        """See Locator."""
        return self.path.partition("/")[2]


@dataclass(frozen=True)
class StageRun:
    """One distinct stage run. `inputs` maps the input's role to the key of the run that makes it."""

    key: str
    type: StageType
    params: Parameters
    inputs: Mapping[str, str]

    @property
    def name(self) -> str:
        """The artifact's readable name: label and short key."""
        return f"{self.type.label(self.params)}-{self.key[:SHORT_KEY_CHARACTERS]}"

    @property
    def bucket(self) -> str:
        """The store's bucket for its artifact."""
        return self.type.bucket

    @property
    def path(self) -> str:
        """The artifact's place in a store: bucket and name."""
        return f"{self.bucket}/{self.name}"

    @property
    def ref(self) -> ArtifactRef:
        """The artifact alone."""
        return ArtifactRef(self.key, self.path)


@dataclass(frozen=True)
class LanePlan:
    """The runs of one lane, in order; `model_key` is the run whose artifact is the lane's model.

    A chain that is not to be evaluated has neither `evaluate_key` nor `speed_key`; `judge_key` is there where
    a judge is configured.
    """

    name: str
    title: str
    group: str
    stage_keys: tuple[str, ...]
    model_key: str
    evaluate_key: str | None = None
    speed_key: str | None = None
    judge_key: str | None = None

    @property
    def target_keys(self) -> tuple[str, ...]:
        """The runs that must be committed for the lane to be complete."""
        keys = (self.model_key, self.evaluate_key, self.judge_key, self.speed_key)
        return tuple(key for key in keys if key)


@dataclass
class Plan:
    """All distinct runs by key, in an order in which inputs come first, and the lanes over them."""

    runs: dict[str, StageRun] = field(default_factory=dict)
    lanes: dict[str, LanePlan] = field(default_factory=dict)

    def list_inputs(self, run: StageRun) -> dict[str, ArtifactRef]:
        """Return a run's input artifacts by role."""
        return {role: self.runs[key].ref for role, key in run.inputs.items()}

    def collect_needed(self, key: str) -> set[str]:
        """Return the run `key` and all that it needs, directly or not."""
        needed = {key}
        for parent in self.runs[key].inputs.values():
            needed |= self.collect_needed(parent)
        return needed

    def collect_lane_runs(self, lane: str) -> set[str]:
        """Return every run that a lane needs up to its evaluation."""
        return set().union(*(self.collect_needed(key) for key in self.lanes[lane].target_keys))

    def count_asked(self) -> int:
        """Return how many stage runs the lanes would make, were nothing shared."""
        return sum(len(self.collect_lane_runs(lane)) for lane in self.lanes)

    def list_lanes_of(self, key: str) -> list[str]:
        """Return the lanes that need the run `key`."""
        return [lane for lane in self.lanes if key in self.collect_lane_runs(lane)]


def make_stage_run(
    stage: str,
    params: Parameters,
    inputs: Mapping[str, str],
    environments: Mapping[str, str],
) -> StageRun:
    """Make one run and its key; `environments` maps each service to its lock's digest."""
    stage_type = STAGE_TYPES[stage]
    key = compute_stage_key(
        stage,
        stage_type.version,
        drop_paths(params.model_dump(mode="json", exclude=set(params.not_in_key))),
        inputs,
        environments[stage_type.service],
    )
    return StageRun(key, stage_type, params, dict(inputs))


class Planner:
    """Adds runs to a plan for one experiment, whose sources carry digests."""

    def __init__(
        self,
        experiment: Experiment,
        engine: EngineParams,
        environments: Mapping[str, str],
        hardware: str = "",
    ) -> None:
        self.experiment = experiment
        self.engine = engine
        self.environments = environments
        self.hardware = hardware
        self.plan = Plan()

    def add_run(self, stage: str, params: Parameters, inputs: Mapping[str, str]) -> str:
        """Add a run, unless an equal one is planned, and return its key."""
        run = make_stage_run(stage, params, inputs, self.environments)
        self.plan.runs.setdefault(run.key, run)
        return run.key

    def add_model(self, name: str, source: Source) -> str:
        """Add the fetching of a model."""
        model = Source(**source.model_dump(include=set(Source.model_fields)))
        return self.add_run("fetch_model", FetchModelParams(name=name, model=model), {})

    def add_base(self) -> str:
        """Add the fetching of the base model."""
        return self.add_model(self.experiment.base_model.name, self.experiment.base_model)

    def add_suite(self) -> str:
        """Add the preparation of the benchmark sets."""
        return self.add_run("prepare_benchmarks", plan_suite(self.experiment), {})

    def add_corpus(self) -> str:
        """Add the preparation of the corpus, guarded by the suite, measured by the base's tokenizer."""
        experiment = self.experiment
        params = PrepareCorpusParams(
            corpus=experiment.data["manta"], seed=experiment.seed, **experiment.corpus.model_dump()
        )
        return self.add_run("prepare_corpus", params, {"model": self.add_base(), "suite": self.add_suite()})

    def add_chain(
        self, start: str, stages: Iterable[tuple[str, Parameters]], teacher: str | None = None
    ) -> tuple[str, ...]:
        """Add stages, each on the model before it; the teacher is `start` unless given. Return their keys."""
        model, keys = start, []
        for name, params in stages:
            stage_type = STAGE_TYPES[name]
            inputs = {"model": model}
            if stage_type.needs_corpus(params):
                inputs["corpus"] = self.add_corpus()
            if stage_type.needs_teacher:
                inputs["teacher"] = teacher or start
            model = self.add_run(name, params, inputs)
            keys.append(model)
        return tuple(keys)

    def add_lane(
        self, name: str, title: str, group: str, start: str, chain: tuple[str, ...], baseline: str | None
    ) -> None:
        """Add a lane over planned runs; it is evaluated where a baseline to compare with is given."""
        model = chain[-1] if chain else start
        evaluate = speed = judge = None
        if baseline is not None:
            suite = self.add_suite()
            quality = plan_evaluation(self.experiment, self.engine)
            evaluate = self.add_run("evaluate", quality, {"model": model, "suite": suite})
            judging = plan_judging(self.experiment)
            if judging is not None:
                judge = self.add_run("judge", judging, {"answers": evaluate, "suite": suite})
            timing = plan_speed(self.experiment, self.engine, self.hardware)
            inputs = {"model": model, "baseline": baseline, "suite": suite}
            speed = self.add_run("measure_speed", timing, inputs)
        self.plan.lanes[name] = LanePlan(name, title, group, chain, model, evaluate, speed, judge)


def plan_lanes(
    experiment: Experiment,
    lanes: list[Lane],
    engine: EngineParams,
    environments: Mapping[str, str],
    hardware: str = "",
) -> Plan:
    """Plan an experiment whose sources carry digests (see `resolve.resolve_sources`).

    The baseline is planned as the lane `baseline`, first. `hardware` names the device on which speed is
    measured: speeds of two devices are two artifacts.
    """
    planner = Planner(experiment, engine, environments, hardware)
    base = planner.add_base()
    title = f"{experiment.base_model.name}, uncompressed"
    planner.add_lane(BASELINE, title, "Baseline", base, (), base)
    for lane in lanes:
        chain = planner.add_chain(base, [(stage.type.name, stage.params) for stage in lane.stages])
        planner.add_lane(lane.name, lane.title, lane.group, base, chain, base)
    return planner.plan


def drop_paths(value: Any) -> Any:
    """Local paths do not enter a key: the content's digest does."""
    if isinstance(value, dict):
        if "digest" in value and is_local(str(value.get("source", ""))):
            if not value["digest"]:
                raise ValueError(f"{value['source']}: no digest yet (see resolve.resolve_sources)")
            return {**{k: drop_paths(v) for k, v in value.items()}, "source": "local"}
        return {k: drop_paths(v) for k, v in value.items()}
    if isinstance(value, list):
        return [drop_paths(item) for item in value]
    return value
