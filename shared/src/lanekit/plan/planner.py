"""Planning: lanes become a graph of stage runs, equal runs become one. Pure; sources/ does the I/O."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from lanekit.plan.evaluation import plan_evaluation, plan_judging, plan_screen, plan_speed, plan_suite
from lanekit.plan.graph import BASELINE, LanePlan, Plan, make_stage_run
from lanekit.spec.calibration import CORPUS, count_drawn
from lanekit.spec.evaluation import EngineParams
from lanekit.spec.experiment_file import Experiment
from lanekit.spec.lane_engine import PLAIN, LaneEngine
from lanekit.spec.lane_file import Lane
from lanekit.spec.params import (
    CalibratedParams,
    FetchModelParams,
    MixCalibrationParams,
    Parameters,
    PrepareCorpusParams,
    Source,
)
from lanekit.spec.quantization import CompressParams, SensitivityParams
from lanekit.spec.replicates import FIRST, is_calibrating, vary_params, vary_seed
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

    def add_corpus(self, replicate: int = FIRST) -> str:
        """Add the preparation of the corpus, guarded by the suite, measured by the base's tokenizer.

        A replicate's is the same preparation with the next seed: a sample of its own of the source, binned
        and balanced alike. The seed is a part of the key as it is, so that the first keeps its key, and a
        draw that is needed costs one more reading of the source.
        """
        experiment = self.experiment
        seed = vary_seed(experiment.seed, replicate)
        params = PrepareCorpusParams(
            corpus=experiment.data["manta"], seed=seed, **experiment.corpus.model_dump()
        )
        return self.add_run("prepare_corpus", params, {"model": self.add_base(), "suite": self.add_suite()})

    def add_calibration(self, params: Parameters, replicate: int) -> str:
        """Add what a stage calibrates on, the corpus or a mix; each replicate has the draw after."""
        choice = params.calibration if isinstance(params, CalibratedParams) else None
        draw = replicate + (choice.draw - FIRST if choice else 0)
        rows = choice.share_rows(getattr(params, "calibration_rows", 0)) if choice else {}
        if not rows:
            return self.add_corpus(draw)
        inputs = {name: self._add_source(name, draw) for name in rows}
        return self.add_run("mix_calibration", MixCalibrationParams(rows=rows), inputs)

    def _add_source(self, name: str, draw: int) -> str:
        """Add the preparation of a source; of one that calibrates alone only what the set is drawn from."""
        if name == CORPUS:
            return self.add_corpus(draw)
        experiment, settings = self.experiment, self.experiment.corpus
        sizes = dict(zip(("train_rows", "validation_rows"), count_drawn(name, settings), strict=True))
        params = PrepareCorpusParams(
            name=name,
            corpus=experiment.data[name],
            seed=vary_seed(experiment.seed, draw),
            **{**settings.model_dump(), **sizes},
        )
        return self.add_run("prepare_corpus", params, {"model": self.add_base(), "suite": self.add_suite()})

    def add_sensitivity(self, params: Parameters, model: str, corpus: str) -> str:
        """Add the measuring of what quantizing each layer costs; it is one for every budget."""
        if not isinstance(params, CompressParams) or params.keep is None:
            raise TypeError(f"{type(params).__name__} chooses no layers")
        asked = SensitivityParams(
            scheme=params.scheme,  # type: ignore[attr-defined]  # of every quantization that there is
            ignore=params.ignore,
            rows=params.keep.rows,
            max_length=params.keep.max_length,
        )
        return self.add_run("sensitivity", asked, {"model": model, "corpus": corpus})

    def add_chain(
        self,
        start: str,
        stages: Iterable[tuple[str, Parameters]],
        teacher: str | None = None,
        replicate: int = FIRST,
    ) -> tuple[str, ...]:
        """Add stages, each on the model before it; the teacher is `start` unless given. Return their keys."""
        model, keys = start, []
        for name, own in stages:
            stage_type, params = STAGE_TYPES[name], vary_params(own, replicate)
            inputs = {"model": model}
            if stage_type.needs_corpus(params):
                is_drawn = is_calibrating(stage_type, params)
                inputs["corpus"] = self.add_calibration(params, replicate) if is_drawn else self.add_corpus()
            if stage_type.needs_sensitivity(params):
                inputs["sensitivity"] = self.add_sensitivity(params, model, inputs["corpus"])
            if stage_type.needs_teacher:
                inputs["teacher"] = teacher or start
            model = self.add_run(name, params, inputs)
            keys.append(model)
        return tuple(keys)

    def add_lane(
        self,
        name: str,
        title: str,
        group: str,
        start: str,
        chain: tuple[str, ...],
        baseline: str | None,
        timed_as: str | None = None,
        own: LaneEngine = PLAIN,
        *,
        with_screen: bool = True,
    ) -> None:
        """Add a lane over planned runs; it is evaluated where a baseline to compare with is given.

        `timed_as` names the planned lane whose speed measurement is this one's as well; `own` are the lane's
        own engine arguments. The screen reads the corpus, the first draw for every replicate, so that all are
        held against the same text.
        """
        engine = own.apply(self.engine)
        model = chain[-1] if chain else start
        evaluate = speed = judge = screen = None
        if baseline is not None:
            suite = self.add_suite()
            quality = plan_evaluation(self.experiment, engine)
            evaluate = self.add_run("evaluate", quality, {"model": model, "suite": suite})
            judging = plan_judging(self.experiment)
            if judging is not None:
                judge = self.add_run("judge", judging, {"answers": evaluate, "suite": suite})
            screening = plan_screen(self.experiment, self.engine) if with_screen else None
            if screening is not None:
                inputs = {"model": model, "base": baseline, "corpus": self.add_corpus()}
                screen = self.add_run("compare_logits", screening, inputs)
            if timed_as is not None:
                speed = self.plan.lanes[timed_as].speed_key
            else:
                timing = plan_speed(self.experiment, self.engine, self.hardware, engine)
                inputs = {"model": model, "baseline": baseline, "suite": suite}
                speed = self.add_run("measure_speed", timing, inputs)
        self.plan.lanes[name] = LanePlan(name, title, group, chain, model, evaluate, speed, judge, screen)


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
    for number in range(FIRST, 1 + max((lane.replicates for lane in lanes), default=FIRST)):
        for lane in lanes:  # the first of every lane, then their others: what is packaged is there first
            if number <= lane.replicates:
                _add_replicate(planner, lane, base, number)
    return planner.plan


def _add_replicate(planner: Planner, lane: Lane, base: str, number: int) -> None:
    """Add one replicate of a lane.

    Its quality is its own; its speed is the first's. Another draw changes no shape, dtype or format, so the
    same kernels run (ranker/scoring/pooling), the first is what is packaged, and a sitting that would only
    time the same work again takes the GPU for itself. What differs in `benchmark`, by the length of
    replies, is not seen.
    """
    stages = [(stage.type.name, stage.params) for stage in lane.stages]
    chain = planner.add_chain(base, stages, replicate=number)
    is_first = number == FIRST
    title = lane.title if is_first else f"{lane.title}, replicate {number}"
    timed_as = None if is_first else lane.name
    name = lane.names[number - FIRST]
    planner.add_lane(name, title, lane.group, base, chain, base, timed_as, lane.engine)
