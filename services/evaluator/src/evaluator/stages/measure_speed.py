"""Stage `measure_speed`: fixed-length decode of candidate and baseline, measured in turn in one sitting."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from evaluator.chat import ChatTokenizer
from evaluator.engines import load_engine
from evaluator.engines.base import Engine
from evaluator.speed import alternate, draw_prompts, is_same_model, summarize_series
from lanekit.child import list_versions
from lanekit.errors import InputError
from lanekit.modelfiles import write_json
from lanekit.params import EngineParams, MeasureSpeedParams
from lanekit.progress import Progress
from lanekit.results import SpeedResult

_EXTRA_TOKENS = 8  # room beside prompt and decode


def run(spec: MeasureSpeedParams, inputs: Mapping[str, Path], out: Path, progress: Progress) -> None:
    """Time `inputs["model"]` against `inputs["baseline"]`; writes metrics.json and report.json.

    Where both are one folder it is loaded and measured once, and candidate and baseline are that one series.

    Raises:
        InputError: a model cannot be loaded, or the lengths exceed max_model_len.
    """
    model, baseline = inputs["model"], inputs["baseline"]
    same = is_same_model(model, baseline)
    folders = [model] if same else [model, baseline]
    params = fit_engine(spec, residents=len(folders))
    engines: list[Engine] = []
    try:
        for folder in folders:
            progress(0, 0, f"loading {'the baseline' if folder is baseline else 'the model'}")
            engines.append(load_engine(folder, params))
        vocab_size = min(engine.vocab_size for engine in engines)
        plain_ids = ChatTokenizer(baseline).list_plain_ids(vocab_size)
        prompts = draw_prompts(plain_ids, spec.batch_size, spec.prompt_tokens, spec.engine.seed)
        series = [summarize_series(values) for values in alternate(engines, prompts, spec, progress)]
        descriptions = [engine.describe() for engine in engines]
        device = engines[0].device
    finally:
        for engine in engines:
            engine.close()
    versions = list_versions()
    candidate, base = series[0], series[-1]
    result = SpeedResult(
        s_per_token=candidate["s_per_token"],
        s_per_token_all=candidate["s_per_token_all"],
        baseline_s_per_token=base["s_per_token"],
        baseline_s_per_token_all=base["s_per_token_all"],
        batch_size=spec.batch_size,
        prompt_tokens=spec.prompt_tokens,
        decode_tokens=spec.decode_tokens,
        engine=spec.engine.engine,
        device=device,
        versions=versions,
    )
    report: dict[str, Any] = {
        "candidate": {**candidate, "engine": descriptions[0]},
        "baseline": {**base, "engine": descriptions[-1]},
        "one_series": same,
        "warmups": spec.warmups,
        "device": device,
        "engine_parameters": params.model_dump(mode="json"),
        "versions": versions,
    }
    write_json(out / "metrics.json", result.model_dump())
    write_json(out / "report.json", report)


def fit_engine(spec: MeasureSpeedParams, residents: int) -> EngineParams:
    """Return the engine's parameters for this measurement.

    One batch holds all prompts, and each resident model gets its share of the GPU's memory.

    Raises:
        InputError: prompt and decode tokens exceed max_model_len.
    """
    length = spec.prompt_tokens + spec.decode_tokens
    if length + _EXTRA_TOKENS > spec.engine.max_model_len:
        raise InputError(
            f"speed: {spec.prompt_tokens} prompt and {spec.decode_tokens} decode tokens exceed max_model_len "
            f"{spec.engine.max_model_len}",
            remedy="lower them, or raise evaluation.max_model_len in the experiment file",
        )
    share = spec.engine.gpu_memory_utilization / residents
    return spec.engine.model_copy(update={"batch_size": spec.batch_size, "gpu_memory_utilization": share})
