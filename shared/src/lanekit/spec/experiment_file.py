"""The experiment file: what all lanes share (base model, data, suite, scoring, seed)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, PositiveInt

from lanekit.errors import InputError, did_you_mean
from lanekit.files.strict_yaml import FileProblem, InputProblems, KeyPath, YamlDocument, read_yaml
from lanekit.files.validation import validate
from lanekit.spec.benchmark import REQUIRED_COLUMNS, Benchmark
from lanekit.spec.calibration import CORPORA
from lanekit.spec.calibration import CORPUS as CORPUS
from lanekit.spec.evaluation import SpeedSettings
from lanekit.spec.judge import JudgeSettings
from lanekit.spec.lane_file import Lane, find_lane_files, read_lanes
from lanekit.spec.numbers import Seed
from lanekit.spec.params import CorpusSettings, DeviceChoice, Dtype, KvCacheDtype, Parameters, Source
from lanekit.spec.screen import ScreenSettings
from lanekit.spec.selection import keep_selected, limit_calibration, resolve_selection
from lanekit.spec.stages import LANE_STAGES, STAGE_TYPES


class BaseModelSource(Source):
    """The uncompressed model; `name` is what packages and folders are named after.

    `published_percent` are its published values by benchmark: 37.5, not 0.375.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    published_percent: dict[str, Annotated[float, Field(gt=1, le=100)]] = Field(default_factory=dict)


class EvaluationSettings(Parameters):
    """Engine `auto` is vLLM where a CUDA device is, transformers elsewhere."""

    engine: Literal["auto", "vllm", "transformers"] = "auto"
    dtype: Dtype = "auto"
    device: DeviceChoice = "auto"
    max_model_len: PositiveInt = 4096
    gpu_memory_utilization: float = Field(default=0.85, gt=0, le=1)
    enforce_eager: bool = False
    kv_cache_dtype: KvCacheDtype = "auto"
    batch_size: PositiveInt = 64
    limit_items: PositiveInt | None = None
    enable_thinking: bool = False
    judge: JudgeSettings | None = None


class ScoringSettings(Parameters):
    """Score = quality_weight·Perf/Perf_base + (1 − quality_weight)·(1 − spt/spt_base).

    Intervals are bootstrapped with `resamples` and have `confidence`.
    """

    quality_weight: float = Field(default=0.5, ge=0, le=1)
    benchmark_weights: dict[str, float]
    resamples: PositiveInt = 10_000
    confidence: float = Field(default=0.95, gt=0, lt=1)


class RankingRules(Parameters):
    """`margin`: the largest loss of quality that counts as none, as a fraction of the baseline."""

    margin: float = Field(default=0.01, gt=0, lt=1)


class PackagingSettings(Parameters):
    """The contest's limits on a submission.

    `plain`: it loads packages with the server's own arguments, as a contest does that takes nothing but the
    zip. A lane that needs others then gets no package, since the contest would measure something else.
    """

    top_k: PositiveInt = 3
    plain: bool = True
    zip_prefix: str = ""
    max_zip_bytes: PositiveInt
    max_unpacked_bytes: PositiveInt


class Experiment(Parameters):
    """Everything that the lanes share.

    `lanes` are those that run where a command names none, every lane file where it is left out.
    `limit_calibration_rows`: no stage gets more, whatever its lane asks for. `screen: null` leaves
    `compare_logits` out.
    """

    name: str
    seed: Seed = 42
    lanes: tuple[str, ...] | None = None
    limit_calibration_rows: PositiveInt | None = None
    base_model: BaseModelSource
    data: dict[str, Source]
    corpus: CorpusSettings
    stage_defaults: dict[str, dict[str, Any]] = Field(default_factory=dict)
    benchmarks: tuple[Benchmark, ...] = ()
    evaluation: EvaluationSettings
    screen: ScreenSettings | None = ScreenSettings()
    speed: SpeedSettings
    scoring: ScoringSettings
    ranking: RankingRules = RankingRules()
    packaging: PackagingSettings


def load_experiment(path: Path) -> Experiment:
    """Load an experiment file and, from `benchmarks/` beside it, the suite its weights name.

    A local source is taken relative to the experiment file's folder and returned absolute.

    Raises:
        InputProblems: every problem of the file.
    """
    document = read_yaml(path)
    if not isinstance(document.data, dict):
        raise InputProblems([document.problem((), "an experiment file is a mapping")])
    if "benchmarks" in document.data:
        raise InputProblems(
            [document.problem(("benchmarks",), "benchmarks stand in files of their own, benchmarks/*.yaml")]
        )
    experiment, problems = validate(Experiment, document.data, document, ())
    problems += [document.problem(place, message) for place, message in _find_name_faults(document.data)]
    problems += _check_stage_defaults(document)
    if experiment is None or problems:
        raise InputProblems(problems)
    benchmarks: list[Benchmark] = []
    for name in experiment.scoring.benchmark_weights:
        try:
            benchmarks.append(load_benchmark(path.parent / "benchmarks" / f"{name}.yaml"))
        except InputProblems as error:
            problems += error.problems
    if problems:
        raise InputProblems(problems)
    home = path.resolve().parent
    loaded: Experiment = experiment.model_copy(
        update={
            "benchmarks": tuple(benchmarks),
            "base_model": _absolute(experiment.base_model, home),
            "data": {name: _absolute(source, home) for name, source in experiment.data.items()},
        }
    )
    return loaded


def _find_name_faults(data: dict[str, Any]) -> list[tuple[KeyPath, str]]:
    """Find unknown data sets, benchmarks and stages, benchmarks without data, and impossible weights."""
    sources, scoring, base = data.get("data"), data.get("scoring"), data.get("base_model")
    published = base.get("published_percent") if isinstance(base, dict) else None
    weights = scoring.get("benchmark_weights") if isinstance(scoring, dict) else None
    defaults = data.get("stage_defaults")
    benchmarks = tuple(name for name in REQUIRED_COLUMNS if name not in CORPORA)
    faults: list[tuple[KeyPath, str]] = []
    for place, names, known in (
        (("data",), sources, tuple(REQUIRED_COLUMNS)),
        (("scoring", "benchmark_weights"), weights, benchmarks),
        (("base_model", "published_percent"), published, benchmarks),
        (("stage_defaults",), defaults, LANE_STAGES),
    ):
        for name in names if isinstance(names, dict) else ():
            if name not in known:
                hint = did_you_mean(name, known)
                faults.append(((*place, name), f"unknown name '{name}'{hint}; allowed: {', '.join(known)}"))
    if isinstance(sources, dict) and isinstance(weights, dict):
        for name in sorted({CORPUS, *weights}.intersection(REQUIRED_COLUMNS) - set(sources)):
            faults.append((("data",), f"no source for '{name}'"))
    if isinstance(weights, dict):
        numbers = [number for w in weights.values() if (number := _read_number(w)) is not None]
        if any(w < 0 for w in numbers) or (len(numbers) == len(weights) and not any(numbers)):
            faults.append(
                (("scoring", "benchmark_weights"), "no weight may be negative, one must be positive")
            )
    return faults


def _read_number(value: Any) -> float | None:
    """Return a weight as a number, also one that is written as text; what is none is told elsewhere."""
    try:
        return None if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        return None


def _check_stage_defaults(document: YamlDocument) -> list[FileProblem]:
    """Check each stage's shared parameters here, where they stand; what a lane adds is missing yet."""
    defaults = document.data.get("stage_defaults")
    problems: list[FileProblem] = []
    for name, values in defaults.items() if isinstance(defaults, dict) else ():
        if name in LANE_STAGES and isinstance(values, dict):
            found = validate(STAGE_TYPES[name].params, values, document, ("stage_defaults", name))[1]
            problems += [p for p in found if p.kind != "missing"]  # a lane adds the rest
    return problems


def load_benchmark(path: Path) -> Benchmark:
    """Load one benchmark file.

    Raises:
        InputProblems: every problem of the file.
    """
    document = read_yaml(path)
    benchmark, problems = validate(Benchmark, document.data, document, ())
    if benchmark is None:
        raise InputProblems(problems)
    if benchmark.name != path.stem:
        raise InputProblems([FileProblem(path, 1, 1, f"the name '{benchmark.name}' is not the file's")])
    return benchmark  # type: ignore[no-any-return]


def load_experiment_lanes(path: Path, lanes_folder: Path | None = None) -> tuple[Experiment, list[Lane]]:
    """Load an experiment and the lanes that it runs (by default of those beside the experiment file).

    Raises:
        InputProblems: every problem of the experiment file and of the lane files together.
    """
    experiment, lanes, problems = read_experiment_lanes(path, lanes_folder)
    if problems:
        raise InputProblems(problems)
    return experiment, keep_selected(lanes, experiment.lanes)


def read_experiment_lanes(
    path: Path, lanes_folder: Path | None = None, *, has_all_lanes: bool = True
) -> tuple[Experiment, list[Lane], list[FileProblem]]:
    """Return an experiment, those of its lanes that can be read, and the problems of the others.

    The lanes are all that there are; `lanes` of the experiment are those that it runs, by their full names.

    Args:
        has_all_lanes: whether the folder must hold every lane that the experiment names; a bundle's has one.

    Raises:
        InputProblems: the experiment file is at fault; the lane files' problems are told with its own.
    """
    folder = lanes_folder or path.parent
    try:
        experiment = load_experiment(path)
    except InputProblems as error:
        raise InputProblems([*error.problems, *_find_lane_problems(path, folder)]) from error
    lanes, problems = read_lanes(folder, _make_defaults(experiment.seed, experiment.stage_defaults))
    known = [lane_path.stem for lane_path in find_lane_files(folder)] if has_all_lanes else []
    named = experiment.lanes if has_all_lanes else None
    selected, found = resolve_selection(named, known, read_yaml(path))
    experiment = experiment.model_copy(update={"lanes": selected})
    return experiment, limit_calibration(lanes, experiment.limit_calibration_rows), [*problems, *found]


def _make_defaults(seed: Any, stage_defaults: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {
        name: {**({"seed": seed} if STAGE_TYPES[name].is_seeded else {}), **stage_defaults.get(name, {})}
        for name in LANE_STAGES
    }


def _find_lane_problems(path: Path, folder: Path) -> list[FileProblem]:
    """Find what is wrong with the lane files where the experiment file is at fault itself.

    What a lane would take from the experiment is not known then, so that nothing counts as missing.
    """
    try:
        problems = read_lanes(folder, _make_defaults(42, {}))[1]
    except InputError:
        return []  # there are no lane files; that is told once the experiment can be read
    return [problem for problem in problems if problem.path != path and problem.kind != "missing"]


def is_local(source: str) -> bool:
    """Whether a source is a path (it starts with /, ./ or ../), not a hub id."""
    return source.startswith(("/", "./", "../", "~"))


def _absolute(source: Any, home: Path) -> Any:
    if not is_local(source.source):
        return source
    path = (home / Path(source.source).expanduser()).resolve()
    return source.model_copy(update={"source": str(path)})
