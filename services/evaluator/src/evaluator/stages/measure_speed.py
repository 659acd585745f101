"""Stage `measure_speed`: candidate and baseline loaded together, measured in turn in one sitting."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from evaluator.engines.registry import Wanted, hold_engines
from evaluator.engines.residents import check_memory, explain_failure, fit_candidate, fit_engine
from evaluator.quality.chat import ChatTokenizer
from evaluator.speed.costs import describe_cost
from evaluator.speed.forms import (
    Form,
    Timing,
    check_lengths,
    describe_form,
    make_fixed_forms,
    measure_spread,
    summarize_form,
    time_form,
)
from evaluator.speed.gpu_state import GpuMonitor, find_warnings, join_states
from evaluator.speed.shapes import digest_shapes
from evaluator.speed.suite_forms import make_suite_forms
from evaluator.speed.turns import Turns, measure_width, take_turns
from lanekit.files.model_folder import read_config, write_json
from lanekit.files.safetensors_header import check_model_folder
from lanekit.host.devices import DeviceKind
from lanekit.host.gpu_models import find_gpu_model
from lanekit.host.probe import list_versions
from lanekit.progress import Progress
from lanekit.results.speed import SpeedForm, SpeedResult
from lanekit.spec.evaluation import MeasureSpeedParams

LEAST_GPU_SECONDS = 5.0


def run(spec: MeasureSpeedParams, inputs: Mapping[str, Path], out: Path, progress: Progress) -> None:
    """Time `inputs["model"]` against `inputs["baseline"]`; writes metrics.json and report.json.

    Where both are one folder and one engine it is loaded and measured once, and candidate and baseline are
    that one series.

    Raises:
        InputError: a model cannot be loaded, a form is longer than max_model_len, a row of the suite is at
            fault, or both models are larger than the GPU.
        TransientError: the GPU's memory ran out.
    """
    model, baseline = inputs["model"], inputs["baseline"]
    is_one = model.samefile(baseline) and spec.candidate_engine is None
    folders = [model] if is_one else [model, baseline]
    check_lengths(spec)
    forms = make_forms(spec, folders, baseline, inputs)
    sitting = hold_sitting(spec, folders, forms, progress)
    result = summarize_sitting(spec, sitting)
    report: dict[str, Any] = {
        "sitting": sitting.name,
        "device": sitting.device,
        "warnings": result.warnings,
        "notes": list_notes(result),
        "one_series": len(folders) == 1,
        "warmups": spec.warmups,
        "seconds": sitting.turns.seconds,
        "load_seconds": sitting.load_seconds,
        **sitting.starts,
        "spread": {name: _describe_spread(form) for name, form in result.forms.items()},
        "candidate": {"engine": sitting.descriptions[0], "timings": _list_timings(sitting.turns.series[0])},
        "baseline": {"engine": sitting.descriptions[-1], "timings": _list_timings(sitting.turns.series[-1])},
        "engine_parameters": fit_engine(spec).model_dump(mode="json"),
        "candidate_engine_parameters": fit_candidate(spec).model_dump(mode="json"),
        "versions": result.versions,
    }
    write_json(out / "metrics.json", result.model_dump())
    write_json(out / "report.json", report)


@dataclass
class SpeedSitting:
    """What one measurement brought: one entry for each engine, the candidate's first, the baseline's last.

    `load_seconds` are each engine's, from its start, or the wake-up of one that was there, until it can
    generate; `starts` is what the report says of the starts. `facts` and `states` (before and
    after the timed repeats) are the GPU's, empty on a CPU.
    """

    name: str
    device: str = ""
    device_kind: DeviceKind = "cpu"
    turns: Turns = field(default_factory=lambda: Turns([], []))
    descriptions: list[dict[str, Any]] = field(default_factory=list)
    facts: dict[str, str] = field(default_factory=dict)
    states: list[dict[str, str]] = field(default_factory=list)
    load_seconds: list[float] = field(default_factory=list)
    starts: dict[str, Any] = field(default_factory=dict)
    shapes: str = ""
    configs: list[dict[str, Any]] = field(default_factory=list)


def hold_sitting(
    spec: MeasureSpeedParams, folders: Sequence[Path], forms: Sequence[Form], progress: Progress
) -> SpeedSitting:
    """Have the models of `folders` loaded and time them in turn, each with the memory to itself where it can.

    Raises:
        InputError: a model cannot be loaded, or is larger than its share of the GPU.
        TransientError: the GPU's memory ran out.
    """
    sitting = SpeedSitting(name_sitting(datetime.now(timezone.utc)))
    params = fit_engine(spec)
    monitor = GpuMonitor() if spec.engine.device != "cpu" else None
    if monitor:
        check_memory(folders, params, monitor.facts)
    sitting.shapes = digest_shapes(check_model_folder(folders[0]))
    scored = find_scored(spec, forms)
    sitting.configs = [read_config(folder) for folder in folders]
    wanted = [Wanted(folders[0], fit_candidate(spec), is_baseline=len(folders) == 1)]
    wanted += [Wanted(folder, params, is_baseline=True) for folder in folders[1:]]
    with (
        explain_failure(params, len(folders)),
        hold_engines(wanted, lambda message: progress(0, 0, message)) as held,
    ):

        def read_state() -> None:
            if monitor and sitting.device_kind == "cuda":
                held.give_turn(0)
                sitting.facts = monitor.facts
                sitting.states.append(monitor.read_under(lambda: time_form(held.engine, scored)))

        sitting.load_seconds, sitting.starts = held.seconds, held.describe()
        sitting.device, sitting.device_kind = held.engine.device, held.engine.device_kind
        sitting.turns = take_turns(
            held.engines,
            forms,
            spec,
            least_s=choose_least_seconds(spec, sitting.device_kind),
            on_step=progress,
            between=read_state,
            give_turn=held.give_turn,
        )
        sitting.descriptions = [engine.describe() for engine in held.engines]
    return sitting


def find_scored(spec: MeasureSpeedParams, forms: Sequence[Form]) -> Form:
    """Return the form that gives the score's seconds per token."""
    return next(form for form in forms if form.name == spec.score_form)


def choose_least_seconds(spec: MeasureSpeedParams, device_kind: DeviceKind) -> float:
    """Return how long a timed run lasts at least: a GPU's clocks and host show themselves in seconds."""
    if spec.min_repeat_s is not None:
        return spec.min_repeat_s
    return LEAST_GPU_SECONDS if device_kind == "cuda" else 0.0


def summarize_sitting(spec: MeasureSpeedParams, sitting: SpeedSitting) -> SpeedResult:
    """Return the result; the score's form stands at its head."""
    forms = sitting.turns.forms
    candidate, base = sitting.turns.series[0], sitting.turns.series[-1]
    results = {form.name: summarize_form(form, candidate[form.name], base[form.name]) for form in forms}
    scored = find_scored(spec, forms)
    top = results[scored.name]
    gpu = join_states(sitting.facts, *sitting.states) if sitting.states else {}
    model = find_gpu_model(gpu.get("name", ""))
    times = {name: form.s_per_token for name, form in results.items()}
    base_times = {name: form.baseline_s_per_token for name, form in results.items()}
    mine, theirs = sitting.descriptions[0], sitting.descriptions[-1]
    return SpeedResult(
        s_per_token=top.s_per_token,
        s_per_token_all=top.s_per_token_all,
        baseline_s_per_token=top.baseline_s_per_token,
        baseline_s_per_token_all=top.baseline_s_per_token_all,
        **describe_form(scored, spec),
        engine=spec.engine.engine,
        device=sitting.device,
        device_kind=sitting.device_kind,
        forms=results,
        sitting=sitting.name,
        gpu=gpu,
        engine_arguments=theirs["arguments"],
        bandwidth_bytes_per_s=model.bandwidth_bytes_per_s if model else None,
        cost=describe_cost(mine, sitting.configs[0], times, results, spec, model),
        baseline_cost=describe_cost(theirs, sitting.configs[-1], base_times, results, spec, model),
        versions=list_versions(),
        shapes=sitting.shapes,
        warnings=[
            *(find_warnings(*sitting.states) if sitting.states else []),
            *find_unsettled(spec, sitting.turns),
        ],
    )


def find_unsettled(spec: MeasureSpeedParams, turns: Turns) -> list[str]:
    """Return a warning where the budget ended before the score's ratio was as sure as was asked."""
    if turns.is_settled or not spec.budget_s:
        return []
    width = measure_width(turns.series, spec.score_form)
    return [
        f"the 95 % interval of its ratio is ±{width:.1%} after {turns.seconds:.0f} s, where "
        f"±{spec.ratio_tolerance:.1%} was asked for"
    ]


def name_sitting(now: datetime) -> str:
    """Return a name that no other measurement has, e.g. "20261124T181500Z-1f2e3d4c"."""
    return f"{now:%Y%m%dT%H%M%SZ}-{uuid.uuid4().hex[:8]}"


def make_forms(
    spec: MeasureSpeedParams, folders: Sequence[Path], baseline: Path, inputs: Mapping[str, Path]
) -> list[Form]:
    """Return the forms to time, with the baseline's tokens; `matched` follows when they are warmed up.

    Raises:
        InputError: see `make_suite_forms`; or the models share no ordinary token.
    """
    chat = ChatTokenizer(baseline, enable_thinking=spec.enable_thinking)
    vocab_size = min(int(read_config(folder)["vocab_size"]) for folder in folders)
    forms = make_fixed_forms(spec, chat.list_plain_ids(vocab_size), spec.engine.seed)
    if spec.free_items or spec.benchmark_items:
        forms += make_suite_forms(spec, inputs["suite"], chat, vocab_size)
    return forms


def list_notes(result: SpeedResult) -> list[str]:
    """Return what the numbers leave out."""
    notes = ["bytes a step are weights and KV cache; activations and embedding look-ups are left out"]
    if result.bandwidth_bytes_per_s is None:
        notes.append(
            "no ratio to the roofline and no verdict on what bounds a step: memory bandwidth and tensor peak "
            f"of '{result.device}' are not in the table (lanekit/host/gpu_models.py)"
        )
    if "prefill" not in result.forms:
        notes.append("the step times hold the prefill: ratios to the roofline are lower bounds")
    return notes


def _describe_spread(form: SpeedForm) -> dict[str, float]:
    return {
        "candidate": measure_spread(form.s_per_token_all),
        "baseline": measure_spread(form.baseline_s_per_token_all),
    }


def _list_timings(series: Mapping[str, Sequence[Timing]]) -> dict[str, list[dict[str, float]]]:
    return {
        name: [{"seconds": timing.seconds, "tokens": timing.tokens} for timing in timings]
        for name, timings in series.items()
    }
