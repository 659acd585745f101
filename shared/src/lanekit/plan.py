"""Planning: lanes become a graph of stage runs, equal runs become one. Pure; `resolve.py` does the I/O."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from lanekit.experiment import Experiment, is_local
from lanekit.keys import SHORT_KEY_CHARACTERS, compute_stage_key
from lanekit.lanefile import Lane
from lanekit.params import (
    EngineParams,
    EvaluateParams,
    FetchModelParams,
    MeasureSpeedParams,
    Parameters,
    PrepareBenchmarksParams,
    PrepareCorpusParams,
    Source,
)
from lanekit.specs import STAGE_TYPES, StageType

BASELINE = "baseline"


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


@dataclass(frozen=True)
class LanePlan:
    """The runs of one lane, in order; `model_key` is the run whose artifact is the lane's model."""

    name: str
    title: str
    group: str
    stage_keys: tuple[str, ...]
    model_key: str
    evaluate_key: str
    speed_key: str


@dataclass
class Plan:
    """All distinct runs by key, in an order in which inputs come first, and the lanes over them."""

    runs: dict[str, StageRun] = field(default_factory=dict)
    lanes: dict[str, LanePlan] = field(default_factory=dict)

    def collect_needed(self, key: str) -> set[str]:
        """Return the run `key` and all that it needs, directly or not."""
        needed = {key}
        for parent in self.runs[key].inputs.values():
            needed |= self.collect_needed(parent)
        return needed

    def collect_lane_runs(self, lane: str) -> set[str]:
        """Return every run that a lane needs up to its evaluation."""
        plan = self.lanes[lane]
        return self.collect_needed(plan.evaluate_key) | self.collect_needed(plan.speed_key)

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
        _drop_paths(params.model_dump(mode="json")),
        inputs,
        environments[stage_type.service],
    )
    return StageRun(key, stage_type, params, dict(inputs))


def plan_lanes(
    experiment: Experiment,
    lanes: list[Lane],
    engine: EngineParams,
    environments: Mapping[str, str],
) -> Plan:
    """Plan an experiment whose sources carry digests (see `resolve.resolve_sources`).

    The baseline is planned as the lane `baseline`, first.
    """
    plan = Plan()

    def add(stage: str, params: Parameters, inputs: Mapping[str, str]) -> str:
        run = make_stage_run(stage, params, inputs, environments)
        plan.runs.setdefault(run.key, run)
        return run.key

    base_source = Source(**experiment.base_model.model_dump(exclude={"name"}))
    base = add("fetch_model", FetchModelParams(name=experiment.base_model.name, model=base_source), {})
    corpus_params = PrepareCorpusParams(
        corpus=experiment.data["manta"], seed=experiment.seed, **experiment.corpus.model_dump()
    )
    suite_params = plan_suite(experiment)

    def add_judgement(model: str) -> tuple[str, str]:
        suite = add("prepare_benchmarks", suite_params, {})
        quality = add("evaluate", plan_evaluation(experiment, engine), {"model": model, "suite": suite})
        speed_inputs = {"model": model, "baseline": base}
        return quality, add("measure_speed", plan_speed(experiment, engine), speed_inputs)

    plan.lanes[BASELINE] = LanePlan(
        BASELINE,
        f"{experiment.base_model.name}, uncompressed",
        "Baseline",
        (),
        base,
        *add_judgement(base),
    )
    for lane in lanes:
        model, keys = base, []
        for stage in lane.stages:
            inputs = {"model": model}
            if stage.type.needs_corpus(stage.params):
                inputs["corpus"] = add("prepare_corpus", corpus_params, {})
            if stage.type.needs_teacher:
                inputs["teacher"] = base
            model = add(stage.type.name, stage.params, inputs)
            keys.append(model)
        plan.lanes[lane.name] = LanePlan(
            lane.name, lane.title, lane.group, tuple(keys), model, *add_judgement(model)
        )
    return plan


def plan_suite(experiment: Experiment) -> PrepareBenchmarksParams:
    """Return what to read of the benchmark sets."""
    return PrepareBenchmarksParams(
        sets={b.name: experiment.data[b.name] for b in experiment.benchmarks},
        limit_items=experiment.evaluation.limit_items,
    )


def plan_evaluation(experiment: Experiment, engine: EngineParams) -> EvaluateParams:
    """Return the evaluation's parameters."""
    return EvaluateParams(
        engine=engine,
        benchmarks=experiment.benchmarks,
        enable_thinking=experiment.evaluation.enable_thinking,
    )


def plan_speed(experiment: Experiment, engine: EngineParams) -> MeasureSpeedParams:
    """Return the speed measurement's parameters."""
    return MeasureSpeedParams(engine=engine, **experiment.speed.model_dump())


def plan_engine(
    experiment: Experiment, detect_cuda: Callable[[], bool], engine: str | None = None
) -> EngineParams:
    """Decide the engine: the caller's, else the experiment's, `auto` by whether CUDA is there."""
    settings = experiment.evaluation
    name = engine or settings.engine
    if name == "auto":
        name = "vllm" if detect_cuda() else "transformers"
    fields: dict[str, Any] = settings.model_dump(exclude={"engine", "limit_items", "enable_thinking"})
    return EngineParams(engine=name, seed=experiment.seed, **fields)


def _drop_paths(value: Any) -> Any:
    """Local paths do not enter a key: the content's digest does."""
    if isinstance(value, dict):
        if "digest" in value and is_local(str(value.get("source", ""))):
            return {**{k: _drop_paths(v) for k, v in value.items()}, "source": "local"}
        return {k: _drop_paths(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_drop_paths(item) for item in value]
    return value
