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
    """Refuse arguments that the engine has not where the stages run; `request.host` is known."""
    engine, host = request.engine, request.host
    if engine is None or host is None:
        return
    for lane in request.lanes:
        if engine.engine == "transformers":
            yield from _check_transformers(lane)
        elif not host.has_cuda and lane.engine.kv_cache_dtype == "fp8":
            yield _refuse_cache(lane, "vLLM's CPU build", "run on a host with an NVIDIA GPU")


def _check_transformers(lane: Lane) -> Iterator[Finding]:
    if lane.engine.kv_cache_dtype == "fp8":
        yield _refuse_cache(lane, "the transformers engine", "use the engine vllm")
    if lane.engine.enforce_eager:
        yield Finding(
            lane.engine_at,
            "enforce_eager is asked for, and the transformers engine has no graphs: nothing changes",
            "take it out, or use the engine vllm",
            "warning",
        )


def _refuse_cache(lane: Lane, engine: str, way: str) -> Finding:
    message = f"kv_cache_dtype is fp8, and {engine} has none"
    return Finding(lane.engine_at, message, f"leave {lane.name} out (--only), or {way}")
