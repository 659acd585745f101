"""What a package switches on by itself in the pinned vLLM on the GPU at hand: kernels, KV cache.

Looked up in vLLM 0.14.1 and seen on an H100. The kernel decides the speed and differs by GPU, so that what
holds on one need not hold on the contest's.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from lanekit.files.small_files import CONFIG
from lanekit.host.gpu_models import GpuModel, find_gpu_model
from lanekit.plan.preflight.environment import ENVIRONMENT
from lanekit.plan.preflight.finding import Finding, Level
from lanekit.plan.preflight.request import Request
from lanekit.spec.lane_file import Lane, LaneStage
from lanekit.spec.quantization import Fp8Params, GptqParams

VLLM = "vLLM 0.14.1"
FIRST_SM, FP8_SM, HOPPER_SM = 80, 89, 90  # of those whose kernels are known; Hopper is the last
AS_IT_IS = "nothing is to be done: the metrics name the kernels that served"


def check_kernels(request: Request) -> Iterator[Finding]:
    """Tell what the model's own format and each lane's scheme switch on where vLLM runs on a GPU."""
    host, engine = request.host, request.engine
    if host is None or engine is None or engine.engine != "vllm" or not host.has_cuda:
        return
    if host.vllm_builds == ():
        return  # a fault, told elsewhere
    gpu = find_gpu_model(host.gpu)
    if request.model is not None:
        where = request.model.name_place(CONFIG, "quantization_config")
        config = request.model.peek_object(CONFIG).get("quantization_config")
        for message, remedy, level in explain_format(config, gpu):
            yield Finding(where, message, remedy, level)
    if gpu is not None and FIRST_SM <= gpu.sm <= HOPPER_SM:
        yield from _explain_lanes(request.lanes, host.gpu, gpu)
    elif host.gpu:
        message = f"which kernels {VLLM} chooses on {host.gpu} is not known here"
        yield Finding(ENVIRONMENT, message, AS_IT_IS, "notice")


def _explain_lanes(lanes: Sequence[Lane], name: str, gpu: GpuModel) -> Iterator[Finding]:
    """Tell what serves each scheme, at the first lane that has it, and each lane's own FP8 KV cache."""
    users: dict[str, list[Lane]] = defaultdict(list)
    places: dict[str, str] = {}
    for lane in lanes:
        for stage in lane.stages:
            if scheme := name_scheme(stage):
                users[scheme].append(lane)
                places.setdefault(scheme, stage.locate("scheme"))
        if lane.engine.kv_cache_dtype == "fp8":
            message = f"{lane.name} on {name}: its FP8 KV cache is served by {name_attention(gpu)}"
            yield Finding(lane.engine_at, message, AS_IT_IS, "notice")
    for scheme, found in users.items():
        kernel, level = explain_scheme(scheme, gpu)
        names = ", ".join(dict.fromkeys(lane.name for lane in found))
        yield Finding(places[scheme], f"{scheme} ({names}) on {name}: {kernel}", AS_IT_IS, level)


def name_scheme(stage: LaneStage) -> str:
    """Return the scheme that decides a stage's kernel, e.g. "W8A16, actorder group"; "" where it has none."""
    params = stage.params
    if isinstance(params, GptqParams):
        by_group = ", actorder group" if params.actorder == "group" and params.scheme == "W8A16" else ""
        return f"{params.scheme}{by_group}"
    return params.scheme if isinstance(params, Fp8Params) else ""


def explain_scheme(scheme: str, gpu: GpuModel) -> tuple[str, Level]:
    """Return what serves a scheme on a GPU from compute capability 8.0 to 9.0."""
    is_hopper = gpu.sm >= HOPPER_SM
    if scheme.startswith("FP8"):
        if gpu.sm >= FP8_SM:
            return "weights and activations in FP8, CUTLASS", "notice"
        return "weight-only, Marlin: below compute capability 8.9 activations stay in 16 bits", "warning"
    if scheme == "W8A8":
        return "weights and activations in INT8, CUTLASS", "notice"
    if is_hopper:
        return "weight-only, Machete", "notice"
    return f"weight-only, {'AllSpark' if scheme == 'W8A16' else 'Marlin'}", "notice"


def explain_format(quantization: Any, gpu: GpuModel | None) -> Iterator[tuple[str, str, Level]]:
    """Yield what a checkpoint's quantization_config does to the KV cache: message, remedy, level."""
    if not isinstance(quantization, Mapping):
        return
    method = str(quantization.get("quant_method", ""))
    inner = quantization.get("quantization")
    own = inner if isinstance(inner, Mapping) else quantization
    if method.startswith("modelopt") and str(own.get("kv_cache_quant_algo")).upper() == "FP8":
        served = f", served by {name_attention(gpu)}" if gpu else ""
        message = f"ModelOpt's kv_cache_quant_algo: FP8 switches {VLLM}'s FP8 KV cache on by itself{served}"
        yield message, AS_IT_IS, "notice"
    if method == "compressed-tensors" and quantization.get("kv_cache_scheme"):
        yield (
            f"{VLLM} drops kv_cache_scheme of a compressed-tensors package: its KV cache keeps 16 bits",
            "ask for it with a lane's engine: {kv_cache_dtype: fp8}, or bring the model in ModelOpt's format",
            "warning",
        )


def name_attention(gpu: GpuModel) -> str:
    """Return what serves an FP8 KV cache."""
    return "FlashAttention 3" if gpu.sm == HOPPER_SM else "FlashInfer or, where it is not there, Triton"
