"""What the stages will run on: engine, device and libraries."""

from __future__ import annotations

from collections.abc import Iterator

from lanekit.plan.preflight.finding import Finding
from lanekit.plan.preflight.lane_engines import check_given, tell_rounded_cache
from lanekit.plan.preflight.request import Request

ENVIRONMENT = "environment"  # stands where a file would
SETUP = "run ./scripts/dev setup"


def check_environment(request: Request) -> Iterator[Finding]:
    """Check that what is asked for can be had where the stages run."""
    host = request.host
    if host is None:
        return
    if host.missing:
        yield Finding(ENVIRONMENT, f"not installed: {', '.join(host.missing)}", SETUP)
    if host.differing:
        said = f"other versions than the lock's: {', '.join(host.differing)}"
        yield Finding(ENVIRONMENT, said, f"{SETUP}: results are stored as the lock's", "warning")
    for stage in request.list_stages():
        if getattr(stage.params, "device", "auto") == "cuda" and not host.has_cuda:
            yield _miss_cuda(stage.locate("device"))
    engine = request.engine
    if engine is None:
        return
    if engine.device == "cuda" and not host.has_cuda:
        yield _miss_cuda(request.locate("evaluation", "device"))
    where = request.engine_option or request.locate("evaluation", "engine")
    if engine.engine == "transformers" and engine.kv_cache_dtype != "auto":
        yield tell_rounded_cache(request.locate("evaluation", "kv_cache_dtype"))
    yield from check_given(request)
    if engine.engine != "vllm" or host.vllm_builds is None:
        return
    if not host.vllm_builds:
        yield Finding(
            where,
            "the engine is vllm, and vLLM is not installed here",
            f"{SETUP} (on a host with an NVIDIA GPU it brings vLLM), or pass --engine transformers",
        )
    elif host.vllm_builds == ("vllm",) and not host.has_cuda:
        yield Finding(
            where,
            "the engine is vllm, its build here is the one for GPUs, and this host has none",
            "pass --engine transformers, or run on a host with an NVIDIA GPU",
        )


def _miss_cuda(where: str) -> Finding:
    return Finding(
        where,
        "the device is cuda, and no NVIDIA GPU is there",
        "set device: auto, or run on a host with a GPU",
    )
