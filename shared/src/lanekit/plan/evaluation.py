"""From an experiment's settings to the parameters of its evaluation stages. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from lanekit.spec.benchmark import Benchmark
from lanekit.spec.calibration import CORPORA
from lanekit.spec.evaluation import EngineParams, EvaluateParams, MeasureSpeedParams
from lanekit.spec.experiment_file import Experiment
from lanekit.spec.judge import JudgeParams, check_judge
from lanekit.spec.params import PrepareBenchmarksParams
from lanekit.spec.screen import CompareLogitsParams


def plan_suite(experiment: Experiment) -> PrepareBenchmarksParams:
    """Return the benchmark sets to read: all that have a source, since the corpus is checked against all."""
    sets = {name: source for name, source in experiment.data.items() if name not in CORPORA}
    return PrepareBenchmarksParams(sets=sets)


def plan_evaluation(experiment: Experiment, engine: EngineParams) -> EvaluateParams:
    """Return the evaluation's parameters; how answers are judged is no part of how they are made."""
    return EvaluateParams(
        engine=engine,
        benchmarks=_strip_rubrics(experiment.benchmarks),
        limit_items=experiment.evaluation.limit_items,
        enable_thinking=experiment.evaluation.enable_thinking,
    )


def list_judged(experiment: Experiment) -> list[Benchmark]:
    """Return the benchmarks that a judge scores; none where no judge is configured."""
    if experiment.evaluation.judge is None:
        return []
    return [benchmark for benchmark in experiment.benchmarks if benchmark.metric == "judge"]


def plan_judging(experiment: Experiment) -> JudgeParams | None:
    """Return the judging's parameters; None where no judge is configured or nothing is to be judged.

    Raises:
        InputError: the judge's settings could leak a key or cannot hold their cap.
    """
    judge, judged = experiment.evaluation.judge, list_judged(experiment)
    if judge is None or not judged:
        return None
    check_judge(judge)
    return JudgeParams(
        benchmark=judged[0],
        limit_items=experiment.evaluation.limit_items,
        seed=experiment.seed,
        **judge.model_dump(),
    )


def plan_speed(
    experiment: Experiment, engine: EngineParams, hardware: str, candidate: EngineParams
) -> MeasureSpeedParams:
    """Return the speed measurement's parameters; the baseline's engine is the experiment's own."""
    benchmarks = _strip_rubrics(b for b in experiment.benchmarks if b.metric != "judge")
    return MeasureSpeedParams(
        engine=engine,
        candidate_engine=candidate if candidate != engine else None,
        hardware=hardware,
        benchmarks=benchmarks,
        enable_thinking=experiment.evaluation.enable_thinking,
        **experiment.speed.model_dump(),
    )


def plan_screen(experiment: Experiment, engine: EngineParams) -> CompareLogitsParams | None:
    """Return the screen's parameters; None where the experiment has none. Its device is the evaluation's."""
    if experiment.screen is None:
        return None
    return CompareLogitsParams(device=engine.device, **experiment.screen.model_dump())


def _strip_rubrics(benchmarks: Iterable[Benchmark]) -> tuple[Benchmark, ...]:
    return tuple(benchmark.model_copy(update={"rubric": None}) for benchmark in benchmarks)


def plan_engine(
    experiment: Experiment, detect_cuda: Callable[[], bool], engine: str | None = None
) -> EngineParams:
    """Decide the engine: the caller's, else the experiment's, `auto` by whether CUDA is there."""
    settings = experiment.evaluation
    name = engine or settings.engine
    if name == "auto":
        name = "vllm" if detect_cuda() else "transformers"
    fields: dict[str, Any] = settings.model_dump(
        exclude={"engine", "limit_items", "enable_thinking", "judge"}
    )
    return EngineParams.model_validate({"engine": name, "seed": experiment.seed, **fields})
