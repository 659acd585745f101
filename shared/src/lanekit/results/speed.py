"""A speed measurement: its forms, what each model costs, what bounds it."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict

from lanekit.host.devices import DeviceKind


class _Schema(BaseModel):
    model_config = ConfigDict(extra="forbid", protected_namespaces=())


FormKind = Literal["decode", "prefill", "free", "benchmark", "matched"]


FIXED_KINDS: tuple[FormKind, ...] = ("decode", "prefill", "matched")


class SpeedForm(_Schema):
    """One form of timing: wall seconds per token, the median and each repeat, base and candidate in turn.

    The FIXED_KINDS have a fixed length, `free` and `benchmark` run until the model ends. Tokens are
    generated ones, in `prefill` those of the prompts. `seconds` is the median wall time of a repeat,
    `tokens` their number in it; free-running models end where they like, so the two differ between
    candidate and baseline. `ratio` is the median of the pairs' ratios, candidate over baseline, with its 95
    % interval (None for one repeat). A repeat is `passes` over the form's `n_sequences` prompts.
    """

    kind: FormKind
    s_per_token: float
    s_per_token_all: list[float]
    baseline_s_per_token: float
    baseline_s_per_token_all: list[float]
    ratio: float
    ratio_low: float | None = None
    ratio_high: float | None = None
    n_sequences: int
    passes: int = 1
    tokens: int
    baseline_tokens: int
    seconds: float
    baseline_seconds: float

    @property
    def tokens_per_item(self) -> float:
        """The candidate's tokens for each prompt."""
        return self.tokens / (self.n_sequences * self.passes)

    @property
    def baseline_tokens_per_item(self) -> float:
        """The baseline's tokens for each prompt."""
        return self.baseline_tokens / (self.n_sequences * self.passes)


Bound = Literal["host", "memory bandwidth", "compute", ""]


class FormBound(_Schema):
    """What bounds a decode step, or a prefill: least times over `seconds`, the time measured, as fractions.

    `memory_share` is of `read_bytes` at the memory's bandwidth, `compute_share` of `operations` at the tensor
    cores' peak, `host_share` of what a step takes whatever its work; None: not known. `verdict` is "" where
    none of them alone is half of the time (evaluator/speed/roofline).
    """

    seconds: float
    read_bytes: float
    operations: float
    host_share: float | None = None
    memory_share: float | None = None
    compute_share: float | None = None
    verdict: Bound = ""


class ModelCost(_Schema):
    """What one model asks of the device: `weight_bytes_per_step` are read for every decode step.

    So are `kv_bytes_per_context_token` for every token of every sequence's context. `roofline_ratio` is the
    least time that the device's memory bandwidth allows for both over the time measured, at `roofline_form`,
    the score's or else the decode of most sequences: 1 is the roof, None where the bandwidth is not known.
    `kernels` counts the layers by type and by the kernel that serves them; `compute_dtype` is what most of
    them multiply in, `peak_operations_per_s` the tensor cores' dense peak in it. `bounds` are by form.
    `max_num_seqs` sequences run at once, as far as the `kv_cache_tokens` of the engine's blocks reach; None
    where it does not tell.
    """

    weight_bytes_per_step: int
    kv_bytes_per_context_token: int | None = None
    roofline_ratio: float | None = None
    roofline_form: str = ""
    kv_cache_dtype: str = ""
    kernels: dict[str, int] = {}
    max_num_seqs: int | None = None
    kv_cache_blocks: int | None = None
    kv_cache_tokens: int | None = None
    compute_dtype: str = ""
    peak_operations_per_s: float | None = None
    prefill_tokens_per_s: float | None = None
    bounds: dict[str, FormBound] = {}


class SpeedResult(_Schema):
    """Seconds per token of the score's form: median, and each repeat, of one sitting.

    `baseline_*` are the uncompressed model's, measured in turn with the candidate's. `batch_size` is the
    form's number of sequences. `engine_arguments` are the baseline's engine's: the lane's own stand in
    its record. `sitting` is one process group's measurement, and no other's; `gpu` holds what nvidia-smi
    says of the device (name, driver, clocks before and after), empty on a CPU. `warnings` tell what makes
    the measurement doubtful, e.g. clocks that fell meanwhile. `shapes` is a digest of what decides which
    kernels run: models of equal shapes are equally fast.
    """

    s_per_token: float
    s_per_token_all: list[float]
    baseline_s_per_token: float
    baseline_s_per_token_all: list[float]
    batch_size: int
    prompt_tokens: int
    decode_tokens: int
    engine: str
    device: str
    device_kind: DeviceKind
    form: str = "decode"
    forms: dict[str, SpeedForm] = {}
    sitting: str = ""
    gpu: dict[str, str] = {}
    engine_arguments: dict[str, str | int | float | bool] = {}
    bandwidth_bytes_per_s: float | None = None
    cost: ModelCost | None = None
    baseline_cost: ModelCost | None = None
    versions: dict[str, str] = {}
    warnings: list[str] = []
    shapes: str = ""

    @property
    def ratio(self) -> float | None:
        """Candidate over baseline at the score's form; None where the baseline has no time."""
        if self.form in self.forms:
            return self.forms[self.form].ratio
        return self.s_per_token / self.baseline_s_per_token if self.baseline_s_per_token > 0 else None

    @property
    def is_cpu(self) -> bool:
        """Whether it was measured on a CPU, so that a table must say so."""
        return self.device_kind == "cpu"


def take_median_ratio(candidate: Sequence[float], baseline: Sequence[float]) -> float:
    """Return the median of the ratios of two series of seconds per token, pair by pair.

    It is taken on the logarithms: of an even number of pairs the middle two give their geometric mean, so
    that either model's ratio to the other is the inverse of the other's. NaN where a time is not positive.
    """
    if min(*candidate, *baseline) <= 0:
        return math.nan
    return math.exp(statistics.median(math.log(a / b) for a, b in zip(candidate, baseline, strict=True)))
