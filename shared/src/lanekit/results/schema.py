"""What is known of a lane after its evaluation: the schema of results/<lane>/metrics.json."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, JsonValue

from lanekit.host.devices import DeviceKind
from lanekit.results.screen import ScreenResult
from lanekit.spec.lane_engine import PLAIN, LaneEngine

LaneStatus = Literal["ok", "failed", "unreadable", "foreign", "refused", "incomplete", "unscored"]
NOT_USED: tuple[LaneStatus, ...] = (
    "unreadable",
    "foreign",
    "refused",
)  # the file is nobody's to rank or write
FAILED: tuple[LaneStatus, ...] = ("failed", *NOT_USED)


class _Schema(BaseModel):
    model_config = ConfigDict(extra="forbid", protected_namespaces=())


class PartResult(_Schema):
    """Some items of a benchmark, e.g. the unanswerable ones."""

    n_items: int
    value: float
    exact_match: float | None = None


class BenchmarkResult(_Schema):
    """One benchmark; `value` is a fraction of 1, None where it was left out (`note` says why).

    `n_cut` prompts lost document text to the token budget; in `n_gold_lost` of them the gold answer stood in
    the documents and stands there no more. `parts` are subsets reported apart, by name. `judge` names the
    model that gave the ratings: values of two judges are not comparable.
    """

    metric: str
    version: int
    value: float | None
    n_items: int = 0
    n_unparsed: int = 0
    n_cut: int = 0
    n_gold_lost: int = 0
    exact_match: float | None = None
    parts: dict[str, PartResult] = {}
    judge: str = ""
    note: str = ""


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


class RecordIdentity(_Schema):
    """Which experiment a record is of, as sha256 (`base_source` of a hub model: its commit).

    `base_model` is of the base model's weights and config, `base_source` what its source was named by;
    `suite` of the benchmarks' rows, `settings` of how they are asked; `lane` of the lane's stages, their
    parameters and its engine arguments, "" for a model that was made elsewhere.
    """

    base_model: str
    base_source: str
    suite: str
    settings: str
    lane: str


class LaneStage(_Schema):
    """One of a lane's own stages and all its parameters, defaults included, without local paths."""

    name: str
    parameters: dict[str, JsonValue]


class LaneRecord(_Schema):
    """All that ranking and packaging need to know of one lane.

    `model`, `evaluation`, `judgement`, `timing` and `screening` are places in the store. `screen_reason` says
    why a screen that was asked for is not there; it keeps no lane from its rank. `contamination` counts, by
    benchmark, the items that stand in the text which this lane was trained or calibrated on: {} where there
    are none, None where it is not known, as for a model that was made elsewhere. `recipe` tells what the
    `stages`, places in the store, are, one for one; records of earlier versions have none. `engine` holds the
    engine arguments that the lane has and the baseline has not. `notes` are those of its own stages: what was
    not done as asked.
    """

    lane: str
    title: str = ""
    group: str = ""
    status: LaneStatus = "ok"
    reason: str = ""
    benchmarks: dict[str, BenchmarkResult] = {}
    speed: SpeedResult | None = None
    size_bytes: int | None = None
    model: str = ""
    evaluation: str = ""
    judgement: str = ""
    timing: str = ""
    screen: ScreenResult | None = None
    screening: str = ""
    screen_reason: str = ""
    identity: RecordIdentity | None = None
    contamination: dict[str, int] | None = None
    stages: list[str] = []
    recipe: list[LaneStage] = []
    engine: LaneEngine = PLAIN
    stage_seconds: dict[str, float] = {}
    notes: list[str] = []
    log_tail: list[str] = []

    @property
    def is_contaminated(self) -> bool:
        """Whether benchmark items are known to stand in its training or calibration text."""
        return any((self.contamination or {}).values())


class Interval(_Schema):
    """A confidence interval."""

    low: float
    high: float


Verdict = Literal["no worse", "worse", "cannot tell"]


class MarginTest(_Schema):
    """A lane's difference from the baseline on the same items, against the largest loss that is allowed.

    All are fractions of 1, 0.01 one percentage point: `difference` is value − baseline, `margin` the loss
    allowed, `detectable` the smallest difference that these items show with 80 % power. `n_items_needed`
    settle a verdict that cannot be told, were the difference seen the true one; None where no number does.
    """

    difference: float
    interval: Interval
    margin: float
    verdict: Verdict
    n_items: int
    detectable: float | None = None
    n_items_needed: int | None = None


class BenchmarkStatistics(_Schema):
    """One lane's benchmark against the baseline's, on the same items.

    `recovery` is value/baseline (1 is 100 %). `difference` is value − baseline; `p_value` is of the paired
    test `test`, `p_adjusted` after Holm over the lanes. None where there is nothing to compare.
    `better_items` and `worse_items` are the ids of the items that `n_better` and `n_worse` count.
    """

    interval: Interval | None = None
    recovery: float | None = None
    recovery_interval: Interval | None = None
    difference: float | None = None
    n_better: int = 0
    n_worse: int = 0
    better_items: list[str] = []
    worse_items: list[str] = []
    test: str = ""
    p_value: float | None = None
    p_adjusted: float | None = None
    margin_test: MarginTest | None = None


class DrawSpread(_Schema):
    """Mean over replicates and sample standard deviation between them, of their values with an order."""

    mean: float
    deviation: float


class Replicates(_Schema):
    """A lane over its draws: `lanes` names the replicates, that of the package first, the others by number.

    `perfs` and `scores` are theirs, None where one has no score. `perf` and `score` are over those that have,
    None for fewer than two; `perf_interval` holds the choice of items and of the draw, as the lane's other
    intervals then do.
    """

    lanes: list[str]
    perfs: list[float | None]
    scores: list[float | None]
    perf: DrawSpread | None = None
    score: DrawSpread | None = None
    benchmarks: dict[str, DrawSpread] = {}
    perf_interval: Interval | None = None


class RankedLane(_Schema):
    """A lane with its score; numbers are None where they cannot be computed.

    Of a lane with `replicates`, `perf`, `perf_norm` and `score` are means over them; `record` and
    `benchmark_statistics` are the first's, whose model is packaged.
    `tied_with` names the ranked lanes whose score cannot be told from this one's; `on_front` says that no
    lane is at least as good in quality, speed and size and better in one, contaminated lanes left out.
    `pooled_with` names the lanes of equal shapes; `pooled_ratios` are theirs together, by fixed form.
    `has_items` says that its per-item outputs stand in the ranking's artifact.
    """

    rank: int | None
    record: LaneRecord
    perf: float | None = None
    perf_norm: float | None = None
    speed_norm: float | None = None
    score: float | None = None
    score_interval: Interval | None = None
    perf_norm_interval: Interval | None = None
    perf_margin_test: MarginTest | None = None
    speed_norm_interval: Interval | None = None
    benchmark_statistics: dict[str, BenchmarkStatistics] = {}
    tied_with: list[str] = []
    on_front: bool = False
    pooled_with: list[str] = []
    pooled_ratios: dict[str, float] = {}
    replicates: Replicates | None = None
    has_items: bool = False


class Ranking(_Schema):
    """The whole table, best first, the baseline at its head, failures at its end.

    `replicates` are the lanes' others than the first, each by itself: they have no rank and no package.
    `notes` warn of this ranking, `rules` hold for any: how lanes are ordered, what counts as told apart.
    `margin` is the loss allowed as a fraction of the baseline; `published_percent` are the base model's
    published values by benchmark.
    """

    experiment: str
    lanes: list[RankedLane]
    weights_used: dict[str, float]
    notes: list[str]
    rules: list[str] = []
    margin: float | None = None
    published_percent: dict[str, float] = {}
    replicates: list[RankedLane] = []

    @property
    def evaluated(self) -> list[RankedLane]:
        """All that has a record: the lanes, then the replicates."""
        return [*self.lanes, *self.replicates]
