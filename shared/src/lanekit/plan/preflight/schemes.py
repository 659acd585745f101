"""What each quantization needs of the model, the GPU and the engine, said before anything is computed."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from lanekit.files.small_files import CONFIG
from lanekit.plan.preflight.finding import Finding, Level
from lanekit.plan.preflight.kernels import (
    FP8_SINCE,
    GROUP_SIZES,
    MODELOPT_SINCE,
    NO_INT8_SINCE,
    can_serve_weights,
    count_layer_weights,
    list_fused_linears,
    list_input_widths,
    write_capability,
)
from lanekit.plan.preflight.modules import is_ignored, list_linears
from lanekit.plan.preflight.request import Request
from lanekit.spec.lane_file import Lane, LaneStage
from lanekit.spec.params import PostSftParams
from lanekit.spec.quantization import CompressParams, Fp8Params, GptqParams

FUSED = (("q_proj", "k_proj", "v_proj"), ("gate_proj", "up_proj"))
DENSE_BITS = 16
_CHANNEL = "use W8A16, which is per channel"


def check_schemes(request: Request) -> Iterator[Finding]:
    """Check every quantization of every lane, and what comes after one that cannot be read again."""
    config = request.model.peek_object(CONFIG) if request.model else {}
    shapes = request.model.shapes if request.model else {}
    for lane in request.lanes:
        yield from _check_readers(lane)
        for stage in lane.stages:
            if isinstance(stage.params, CompressParams):
                yield from _check_widths(request, stage, config)
                yield from _check_gpu(request, stage, stage.params)
                yield from _check_budget(stage, stage.params, config)
                yield from _check_fused(request, stage, stage.params, list_linears(shapes))


def _check_readers(lane: Lane) -> Iterator[Finding]:
    """Refuse training on a package that only vLLM reads."""
    for before, stage in zip(lane.stages, lane.stages[1:], strict=False):
        is_modelopt = isinstance(before.params, Fp8Params) and before.params.format == "modelopt"
        if is_modelopt and isinstance(stage.params, PostSftParams):
            yield Finding(
                stage.locate(),
                "'post_sft' cannot read ModelOpt's format, which the stage before it writes",
                "take post_sft out, or take format: modelopt out of fp8",
            )


def _check_widths(request: Request, stage: LaneStage, config: Mapping[str, Any]) -> Iterator[Finding]:
    """Refuse widths that the scheme's groups, or every kernel of vLLM, cannot take."""
    scheme = getattr(stage.params, "scheme", "")
    group_size = GROUP_SIZES.get(scheme)
    bad = [f"{n} {w}" for n, w in list_input_widths(config).items() if group_size and w % group_size]
    if bad:
        yield Finding(
            stage.locate("scheme"),
            f"{scheme} needs widths that divide by its group size {group_size}; "
            f"the model has {', '.join(bad)}",
            _CHANNEL,
        )
        return
    if not _is_for_vllm(request) or not scheme.endswith(("A16", "A16_ASYM")):
        return
    capability = _find_capability(request)
    has_index = isinstance(stage.params, GptqParams) and stage.params.actorder == "group"
    unserved = [
        linear
        for linear in list_fused_linears(config)
        if not can_serve_weights(scheme, linear, capability, has_index=has_index)
    ]
    if unserved:
        shown = ", ".join(f"{linear.name} {linear.n_in} → {linear.n_out}" for linear in unserved)
        on = "" if capability is None else f" on compute capability {write_capability(capability)}"
        yield Finding(
            stage.locate("scheme"),
            f"no kernel of vLLM 0.14.1 serves {scheme}{on} at these widths: {shown} (Marlin wants inputs "
            "that divide by 128 and outputs by 64)",
            "use W8A8 or an FP8 scheme, which take these widths; or --engine transformers",
        )


def _check_gpu(request: Request, stage: LaneStage, params: CompressParams) -> Iterator[Finding]:
    """Compare the GPU, where it is known, with what the scheme's kernels run on."""
    if not _is_for_vllm(request) or request.engine is None:
        return
    is_modelopt = isinstance(params, Fp8Params) and params.format == "modelopt"
    if is_modelopt and request.engine.dtype == "float32":
        yield Finding(
            request.locate("evaluation", "dtype"),
            "dtype is float32, and vLLM 0.14.1 computes ModelOpt's format in 16 bits "
            f"({stage.locate('format')})",
            "set evaluation.dtype: auto",
        )
    if request.host is not None and not request.host.has_cuda and is_modelopt:
        yield Finding(
            stage.locate("format"),
            "format is modelopt, and the engine is vLLM's build for CPUs, which has no kernel for it",
            "pass --engine transformers, or run on a host with an NVIDIA GPU",
        )
    capability = _find_capability(request)
    if capability is None:
        return
    said = f"the GPU's compute capability is {write_capability(capability)}"
    if is_modelopt and capability < MODELOPT_SINCE:
        needs = f"vLLM 0.14.1 reads ModelOpt's format from {write_capability(MODELOPT_SINCE)} on"
        yield Finding(stage.locate("format"), f"{needs}; {said}", "use format: compressed-tensors, or W8A8")
    elif isinstance(params, Fp8Params) and capability < FP8_SINCE:
        message = (
            f"FP8 is multiplied from {write_capability(FP8_SINCE)} on, here its weights alone are FP8; {said}"
        )
        yield Finding(stage.locate("scheme"), message, "use W8A8, which multiplies in INT8", "warning")
    elif getattr(params, "scheme", "") == "W8A8" and capability >= NO_INT8_SINCE:
        message = f"vLLM 0.14.1 has no INT8 kernel from {write_capability(NO_INT8_SINCE)} on; {said}"
        yield Finding(stage.locate("scheme"), message, "use an FP8 scheme")


def _check_budget(stage: LaneStage, params: CompressParams, config: Mapping[str, Any]) -> Iterator[Finding]:
    """Refuse a budget that not even one kept layer fits into."""
    if params.keep is None or params.keep.budget_mb is None:
        return
    bits = 4 if getattr(params, "scheme", "").startswith("W4") else 8
    # Scales that a kept layer saves are under a tenth of it.
    least = 0.9 * count_layer_weights(config) * (DENSE_BITS - bits) / 8 / 1e6
    if params.keep.budget_mb < least:
        yield Finding(
            stage.locate("keep"),
            f"keep.budget_mb is {params.keep.budget_mb:g}, and one layer takes at least {least:.2f} MB more "
            f"in {DENSE_BITS} bits than in {bits}",
            "raise budget_mb to what some layers take, or name the layers: keep: {layers: [0, 1]}",
        )


def _check_fused(
    request: Request, stage: LaneStage, params: CompressParams, linears: list[str]
) -> Iterator[Finding]:
    """Refuse to leave out a part of what vLLM fuses: it starts on no such package."""
    left_out = {name for name in linears if any(_matches(name, entry) for entry in params.ignore)}
    for group in FUSED:
        present = {name.rpartition(".")[0] for name in linears if name.endswith(f".{group[0]}")}
        split = [
            parent
            for parent in sorted(present)
            if 0 < sum(f"{parent}.{part}" in left_out for part in group) < len(group)
        ]
        if split:
            level: Level = "fault" if _is_for_vllm(request) else "warning"
            yield Finding(
                stage.locate("ignore"),
                f"ignore leaves out some of {', '.join(group)} and not all (in {split[0]}"
                + (f" and {len(split) - 1} more)" if len(split) > 1 else ")")
                + ": vLLM fuses them and starts on no such model",
                f"leave out all of {', '.join(group)}, or none",
                level,
            )


def _matches(name: str, entry: str) -> bool:
    try:
        return is_ignored(name, entry)
    except re.error:  # told by the check of the names
        return False


def _is_for_vllm(request: Request) -> bool:
    return request.engine is not None and request.engine.engine == "vllm"


def _find_capability(request: Request) -> int | None:
    return request.host.capability if request.host is not None else None
