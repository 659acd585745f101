"""What one model of a sitting costs: bytes, operations, and what bounds each form of fixed length. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from evaluator.speed.roofline import Roofs, Step, judge_step, measure_host, measure_step
from evaluator.speed.work import ModelWork, find_compute_dtype, read_work
from lanekit.host.gpu_models import GpuModel
from lanekit.results.speed import FormBound, ModelCost, SpeedForm
from lanekit.spec.evaluation import SpeedSettings

PREFILL = "prefill"


def describe_cost(
    description: Mapping[str, Any],
    config: Mapping[str, Any],
    times: Mapping[str, float],
    forms: Mapping[str, SpeedForm],
    spec: SpeedSettings,
    gpu: GpuModel | None,
) -> ModelCost:
    """Return a model's cost.

    Args:
        description: its engine's (`Engine.describe`).
        config: its config.json.
        times: its median seconds per token, by form.
        forms: the sitting's forms.
        gpu: what is known of the device; None for another one, where nothing is judged.
    """
    weight_bytes, cache_dtype = int(description["weight_bytes_per_step"]), str(description["kv_cache_dtype"])
    kernels, dtype = description["kernels"], str(description.get("dtype", ""))
    if description["engine"] == "vllm":  # elsewhere linears are dense whatever the checkpoint
        has_fp8 = gpu is not None and gpu.find_peak("fp8") is not None
        dtype = find_compute_dtype(config, dtype, has_fp8=has_fp8)
    roofs = Roofs(gpu.bandwidth_bytes_per_s, gpu.find_peak(dtype)) if gpu else Roofs()
    work = read_work(config, weight_bytes, cache_dtype)
    bounds = judge_forms(work, times, forms, spec, roofs) if work else {}
    form = choose_roofline_form(bounds, forms, spec.score_form)
    return ModelCost(
        weight_bytes_per_step=weight_bytes,
        kv_bytes_per_context_token=work.kv_bytes_per_token if work else None,
        roofline_ratio=bounds[form].memory_share if form else None,
        roofline_form=form,
        kv_cache_dtype=cache_dtype,
        kernels=kernels if isinstance(kernels, dict) else {},
        compute_dtype=dtype,
        peak_operations_per_s=roofs.operations_per_s,
        prefill_tokens_per_s=1 / times[PREFILL] if PREFILL in times else None,
        bounds=bounds,
        max_num_seqs=description.get("max_num_seqs"),
        kv_cache_blocks=description.get("kv_cache_blocks"),
        kv_cache_tokens=description.get("kv_cache_tokens"),
    )


def judge_forms(
    work: ModelWork,
    times: Mapping[str, float],
    forms: Mapping[str, SpeedForm],
    spec: SpeedSettings,
    roofs: Roofs,
) -> dict[str, FormBound]:
    """Return what bounds each decode form's step, and the prefill.

    A decode's prompts are taken off its time at the speed of the form `prefill`, where that is timed; without
    it the step holds its share of them, and is nearer to the roofs than it seems.
    """
    steps = {}
    for name, form in forms.items():
        if form.kind != "decode":
            continue
        run_seconds = times[name] * form.n_sequences * spec.decode_tokens
        prompts = times.get(PREFILL, 0.0) * form.n_sequences * spec.prompt_tokens
        seconds = measure_step(run_seconds, spec.decode_tokens, prompts)
        if seconds is not None:
            context = spec.prompt_tokens + spec.decode_tokens / 2
            steps[name] = Step(form.n_sequences, seconds, work.count_decode(form.n_sequences, context))
    host = measure_host(steps, work.weight_bytes, roofs)
    bounds = {name: judge_step(step, roofs, host) for name, step in steps.items()}
    if PREFILL in forms:
        n_sequences = forms[PREFILL].n_sequences
        seconds = times[PREFILL] * n_sequences * spec.prefill_tokens
        prefill = Step(n_sequences, seconds, work.count_prefill(n_sequences, spec.prefill_tokens))
        bounds[PREFILL] = judge_step(prefill, roofs)
    return bounds


def choose_roofline_form(
    bounds: Mapping[str, FormBound], forms: Mapping[str, SpeedForm], score_form: str
) -> str:
    """Return the decode form whose step the roofline is told of: the score's, else that of most sequences."""
    decodes = [name for name in bounds if forms[name].kind == "decode"]
    if score_form in decodes:
        return score_form
    return max(decodes, key=lambda name: forms[name].n_sequences, default="")
