"""Planning: lanes become a graph of stage runs, equal runs become one. Pure; sources/ does the I/O."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from lanekit.plan.evaluation import plan_evaluation, plan_judging, plan_speed, plan_suite
from lanekit.plan.graph import BASELINE, LanePlan, Plan, make_stage_run
from lanekit.spec.experiment_file import Experiment
from lanekit.spec.lane_file import Lane
from lanekit.spec.params import EngineParams, FetchModelParams, Parameters, PrepareCorpusParams, Source
from lanekit.spec.stages import STAGE_TYPES


class Planner:
    """Adds runs to a plan for one experiment, whose sources carry digests."""

    def __init__(
        self,
        experiment: Experiment,
        engine: EngineParams,
        lock_digests: Mapping[str, str],
        hardware: str = "",
    ) -> None:
        self.experiment = experiment
        self.engine = engine
        self.lock_digests = lock_digests
        self.hardware = hardware
        self.plan = Plan()

    def add_run(self, stage: str, params: Parameters, inputs: Mapping[str, str]) -> str:
        """Add a run, unless an equal one is planned, and return its key."""
        run = make_stage_run(stage, params, inputs, self.lock_digests)
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
    lock_digests: Mapping[str, str],
    hardware: str = "",
) -> Plan:
    """Plan an experiment whose sources carry digests (see `resolve.resolve_sources`).

    The baseline is planned as the lane `baseline`, first. `hardware` names the device on which speed is
    measured: speeds of two devices are two artifacts.
    """
    planner = Planner(experiment, engine, lock_digests, hardware)
    base = planner.add_base()
    title = f"{experiment.base_model.name}, uncompressed"
    planner.add_lane(BASELINE, title, "Baseline", base, (), base)
    for lane in lanes:
        chain = planner.add_chain(base, [(stage.type.name, stage.params) for stage in lane.stages])
        planner.add_lane(lane.name, lane.title, lane.group, base, chain, base)
    return planner.plan
