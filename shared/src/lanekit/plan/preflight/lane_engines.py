"""Engine arguments of single lanes: can the engine give them, and what becomes of the lane's package."""

from __future__ import annotations

from collections.abc import Iterator

from lanekit.plan.preflight.finding import Finding
from lanekit.plan.preflight.request import Request
from lanekit.spec.lane_file import Lane


def check_lane_engines(request: Request) -> Iterator[Finding]:
    """Tell which lanes will get no package for their engine arguments' sake."""
    if not request.experiment.packaging.plain or request.engine is None:
        return
    for lane in request.lanes:
        needs = lane.engine.reduce(request.engine)
        if needs.arguments:
            yield Finding(
                lane.engine_at,
                f"{lane.name} needs engine arguments: {needs}; the contest takes plain packages, so it is "
                "ranked and gets no package",
                "leave it so, to compare; or set packaging.plain: false where the contest takes arguments",
                "warning",
            )


def check_given(request: Request) -> Iterator[Finding]:
    """Tell of arguments that the engine has not, or not wholly, where the stages run."""
    engine, host = request.engine, request.host
    if engine is None or host is None:
        return
    for lane in request.lanes:
        if engine.engine == "transformers":
            yield from _check_transformers(lane)
        elif not host.has_cuda and lane.engine.kv_cache_dtype == "fp8":
            yield Finding(
                lane.engine_at,
                "kv_cache_dtype is fp8, and vLLM's CPU build has none",
                f"leave {lane.name} out (--only), or pass --engine transformers",
            )


def _check_transformers(lane: Lane) -> Iterator[Finding]:
    if lane.engine.kv_cache_dtype == "fp8":
        yield tell_rounded_cache(lane.engine_at)
    if lane.engine.enforce_eager:
        yield Finding(
            lane.engine_at,
            "enforce_eager is asked for, and the transformers engine has no graphs: nothing changes",
            "take it out, or use the engine vllm",
            "warning",
        )


def tell_rounded_cache(where: str) -> Finding:
    """Return what an FP8 KV cache is in the transformers engine."""
    return Finding(
        where,
        "kv_cache_dtype is fp8: the transformers engine rounds keys and values to FP8 and keeps them in its "
        "own dtype, so that answers are an FP8 cache's and the speed is not",
        "measure its speed with the engine vllm on a GPU",
        "warning",
    )
