"""What a lane asks of the engine in the place of the experiment's arguments. Pure."""

from __future__ import annotations

from lanekit.spec.evaluation import EngineParams, MeasureSpeedParams
from lanekit.spec.params import KvCacheDtype, Parameters


class LaneEngine(Parameters):
    """A closed list: what a server can be told that changes neither the question nor the others' conditions.

    `kv_cache_dtype` is the KV cache's, `enforce_eager` goes without CUDA graphs, for kernels that cannot be
    captured. Not among them: `max_model_len`, by which prompts are cut; `gpu_memory_utilization` and
    `batch_size`, which both models of a sitting share; `dtype`, which a package's config.json says; `engine`,
    `device` and `seed`, which are no lane's.
    """

    kv_cache_dtype: KvCacheDtype | None = None
    enforce_eager: bool | None = None

    @property
    def arguments(self) -> dict[str, str | bool]:
        """The arguments that are given, by name."""
        return self.model_dump(exclude_none=True)

    def __str__(self) -> str:
        """Return e.g. "kv_cache_dtype=fp8, enforce_eager=true"; nothing where none is given."""
        shown = {name: str(value).lower() for name, value in self.arguments.items()}
        return ", ".join(f"{name}={value}" for name, value in shown.items())

    def apply(self, engine: EngineParams) -> EngineParams:
        """Return the engine with these arguments in the place of its own."""
        return engine.model_copy(update=self.arguments)

    def reduce(self, engine: EngineParams) -> LaneEngine:
        """Return those of the arguments that the engine does not have by itself: what a package needs."""
        return find_own_arguments(self.apply(engine), engine)


PLAIN = LaneEngine()


def find_own_arguments(candidate: EngineParams, shared: EngineParams) -> LaneEngine:
    """Return the arguments by which a lane's engine differs from the one that all share."""
    mine, theirs = (engine.model_dump(include=set(LaneEngine.model_fields)) for engine in (candidate, shared))
    return LaneEngine(**{name: value for name, value in mine.items() if value != theirs[name]})


def read_lane_engine(timing: Parameters) -> LaneEngine:
    """Return the arguments that a lane was timed with and its baseline was not."""
    if not isinstance(timing, MeasureSpeedParams) or timing.candidate_engine is None:
        return PLAIN
    return find_own_arguments(timing.candidate_engine, timing.engine)
