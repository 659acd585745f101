"""Parameters of what runs models: their engine, evaluation, timing, verification."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from lanekit.spec.benchmark import Benchmark
from lanekit.spec.numbers import Seed
from lanekit.spec.params import DeviceChoice, Dtype, KvCacheDtype, Parameters


class EngineParams(Parameters):
    """How a model is run for evaluation and timing. Lengths are tokens."""

    engine: Literal["vllm", "transformers"]
    dtype: Dtype = "auto"
    max_model_len: PositiveInt = 4096
    gpu_memory_utilization: float = Field(default=0.85, gt=0, le=1)
    enforce_eager: bool = False
    kv_cache_dtype: KvCacheDtype = "auto"
    batch_size: PositiveInt = 64
    device: DeviceChoice = "auto"
    seed: Seed = 42


class EvaluateParams(Parameters):
    """Run the benchmark suite, greedily, through the chat template; `limit_items` asks the first N of each.

    A benchmark that a judge scores is only answered here; `judge` scores the answers.
    """

    engine: EngineParams
    benchmarks: tuple[Benchmark, ...]
    limit_items: PositiveInt | None = None
    enable_thinking: bool = False


class SpeedSettings(Parameters):
    """What is timed, how long, and what of it gives the score.

    Fixed-length decode of `decode_tokens` after `prompt_tokens`, once for each of `batch_sizes`; prefill of
    `prefill_tokens` by the largest batch; free-running, the first `free_items` benchmark prompts;
    `benchmark`, the contest's clock: `benchmark_items` prompts in the suite's proportions, all in one call,
    each reply ended by the model; and `matched`, the same with the baseline's numbers of tokens. The engine
    runs as many sequences at once as the largest of `batch_sizes`: four times as many prompts keep it full.
    `score_form` is one of `forms`.

    Every form is timed `min_repeats` times in pairs, the score's and `matched` until the ratio's 95 %
    interval is within ± `ratio_tolerance` or `budget_s` are spent. A run lasts `min_repeat_s` at least
    (None: 5 s on a GPU).
    """

    batch_sizes: tuple[PositiveInt, ...] = (1, 8, 32, 64, 256)
    prompt_tokens: PositiveInt = 128
    decode_tokens: PositiveInt = 128
    prefill_tokens: NonNegativeInt = 512
    free_items: NonNegativeInt = 64
    benchmark_items: NonNegativeInt = 1024
    min_repeats: PositiveInt = 3
    min_repeat_s: float | None = Field(default=None, ge=0)
    ratio_tolerance: PositiveFloat = 0.01
    budget_s: float = Field(default=600.0, ge=0)
    warmups: PositiveInt = 1
    score_form: str = "benchmark"

    @property
    def forms(self) -> tuple[str, ...]:
        """The names of what is timed, in order."""
        names = [f"decode_b{size}" for size in self.batch_sizes]
        names += ["prefill"] * bool(self.prefill_tokens) + ["free"] * bool(self.free_items)
        names += ["benchmark", "matched"] * bool(self.benchmark_items)
        return tuple(names)

    @model_validator(mode="after")
    def check_forms(self) -> SpeedSettings:
        """Refuse a score's form that is not timed, and a batch size named twice."""
        if len(set(self.batch_sizes)) != len(self.batch_sizes):
            raise ValueError("batch_sizes names a size twice")
        if self.score_form not in self.forms:
            raise ValueError(f"score_form '{self.score_form}' is not timed; timed: {', '.join(self.forms)}")
        return self


class MeasureSpeedParams(SpeedSettings):
    """Candidate and baseline are both loaded and measured in turn.

    `hardware` names the device that it is asked of (see `host.devices`): a speed belongs to one device.
    `benchmarks` are those whose prompts run free, with reasoning where `enable_thinking` is on. The engine is
    the baseline's; `candidate_engine` is the candidate's where its lane asks for other arguments.
    """

    unwritten_at_default: ClassVar[frozenset[str]] = frozenset({"candidate_engine"})

    engine: EngineParams
    candidate_engine: EngineParams | None = None
    hardware: str = ""
    benchmarks: tuple[Benchmark, ...] = ()
    enable_thinking: bool = False


class VerifyPackageParams(Parameters):
    """Unzip a package, load it with a library that reads its format and ask for a generation."""

    engine: EngineParams
    prompt: str = "안녕하세요?"
    max_new_tokens: PositiveInt = 8
