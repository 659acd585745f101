"""Parameters of every stage: frozen models, unknown names refused. Defaults are the documented ones of the
libraries or methods; what a user tunes stands in lanes/experiment.yaml and in the lane files."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, ClassVar, Literal

from pydantic import (
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    field_validator,
    model_serializer,
    model_validator,
)

from pydantic import NonNegativeInt, PositiveFloat, PositiveInt  # isort: skip

from lanekit.spec.benchmark import Benchmark
from lanekit.spec.calibration import CORPUS, CalibrationChoice, count_mixed
from lanekit.spec.numbers import PlacedError, PlainNumbers, Seed

GptqScheme = Literal["W4A16", "W4A16_ASYM", "W8A16", "W8A8"]
RoundScheme = GptqScheme
Fp8Scheme = Literal["FP8", "FP8_DYNAMIC"]
AwqScheme = Literal["W4A16", "W4A16_ASYM"]
DeviceChoice = Literal["auto", "cpu", "cuda"]
Dtype = Literal["auto", "float32", "bfloat16", "float16"]
KvCacheDtype = Literal["auto", "fp8"]
OnContamination = Literal["refuse", "drop", "label"]


class Parameters(PlainNumbers):
    """Base of all parameter models; what `not_in_key` names says how a stage runs, not what it computes.

    What `unwritten_at_default` names came later than results that have their key without it: at its default
    it is in no key, manifest or document, so that those results stay what they are.
    """

    not_in_key: ClassVar[frozenset[str]] = frozenset()
    unwritten_at_default: ClassVar[frozenset[str]] = frozenset()
    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=(), allow_inf_nan=False)

    @model_serializer(mode="wrap")
    def _write(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        written: dict[str, Any] = write(self)
        # pydantic hands over whatever stands in a field, also what `model_copy` put there unchecked
        for name in getattr(self, "unwritten_at_default", ()):
            field = type(self).model_fields[name]
            if getattr(self, name) == field.get_default(call_default_factory=True):
                written.pop(name, None)
        return written


class Source(Parameters):
    """Where data or a model comes from: a hub id, or a local file or folder.

    `digest` is filled in by the planner: the content's sha256 for local paths, the commit for a hub id.
    `rows` is how many the published split has: a hub data set with another number is refused.
    """

    source: str
    revision: str = "main"
    split: str = "train"
    rows: PositiveInt | None = None
    digest: str = ""


class FetchModelParams(Parameters):
    """Bring a model folder into the store."""

    name: str
    model: Source


class CorpusSettings(Parameters):
    """How much of the instruction corpus is used, for what, and what is done about benchmark items in it.

    `calibration_bins` are upper edges, in tokens of the chat-templated conversation; longer ones share an
    open bin. `contamination`: `refuse` stops, `drop` leaves the rows out, `label` keeps them and marks every
    lane that uses them. A benchmark text overlaps where `ngram_words` words in a row are a row's too.
    """

    train_rows: PositiveInt
    validation_rows: PositiveInt
    calibration_rows: PositiveInt
    calibration_bins: tuple[PositiveInt, ...] = (256, 512, 1024, 2048)
    contamination: OnContamination = "refuse"
    ngram_words: PositiveInt = 13

    @field_validator("calibration_bins")
    @classmethod
    def check_bins(cls, edges: tuple[int, ...]) -> tuple[int, ...]:
        """Refuse edges that do not ascend, and none at all."""
        if not edges or any(a >= b for a, b in pairwise(edges)):
            raise ValueError("calibration_bins must ascend, e.g. [256, 512, 1024]")
        return edges


class PrepareCorpusParams(CorpusSettings):
    """Split the instruction corpus, draw the calibration set from the training part, guard both.

    `name` is the data set that it is in the experiment.
    """

    unwritten_at_default: ClassVar[frozenset[str]] = frozenset({"name"})
    name: str = CORPUS
    corpus: Source
    seed: Seed = 42


class MixCalibrationParams(Parameters):
    """Put the first rows of several sources' calibration sets together, each prefix in their proportion."""

    rows: dict[str, PositiveInt]


class CalibratedParams(Parameters):
    """What stages share that may look at calibration rows.

    Of a mix all rows are taken, unless `calibration_rows` says fewer: the first, in the same proportion.
    """

    unwritten_at_default: ClassVar[frozenset[str]] = frozenset({"calibration"})
    calibration: CalibrationChoice | None = None

    @model_validator(mode="before")
    @classmethod
    def count_rows(cls, values: Any) -> Any:
        """Take the number of rows from the mix, where there is one and no number; refuse more than it has."""
        n_mixed = count_mixed(values)
        if n_mixed is None:
            return values
        asked = values.get("calibration_rows", n_mixed)
        if type(asked) is int and asked > n_mixed:
            raise PlacedError(f"calibration_rows is {asked}, and the mix has {n_mixed}", "calibration_rows")
        return {**values, "calibration_rows": asked}


class PrepareBenchmarksParams(Parameters):
    """Read the benchmark sets, whole, and check their columns and their number of rows."""

    sets: dict[str, Source]


class TrainingParams(Parameters):
    """What every training stage shares. `steps` are optimizer updates; lengths are tokens."""

    steps: PositiveInt
    learning_rate: PositiveFloat
    batch_size: PositiveInt
    gradient_accumulation: PositiveInt = 1
    max_length: PositiveInt
    warmup_ratio: float = Field(default=0.03, ge=0, le=1)
    weight_decay: float = Field(default=0.0, ge=0)
    optimizer: Literal["adamw_torch", "adafactor"] = "adamw_torch"
    gradient_checkpointing: bool = False
    log_every_steps: PositiveInt = 10
    device: DeviceChoice = "auto"
    seed: Seed = 42


class SftParams(TrainingParams):
    """LoRA supervised fine-tuning (Hu et al. 2021), merged into the weights at the end."""

    lora_rank: PositiveInt = 16
    lora_alpha: PositiveInt = 32
    lora_dropout: float = Field(default=0.0, ge=0, lt=1)
    target_modules: tuple[str, ...] = (
        "q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj",
    )  # fmt: skip


class PostSftParams(TrainingParams):
    """Train the norm weights alone; every other tensor stays as it is, bit for bit.

    A step of bfloat16 is 1/128 to 1/256 of a weight, and Adam moves one by at most the sum of the rates: half
    of `steps` x `learning_rate`. Where that is below half a step, most updates cannot survive by themselves.
    """


class DistillParams(TrainingParams):
    """Knowledge distillation from the unpruned base model (Hinton et al. 2015)."""

    temperature: PositiveFloat = 2.0
    cross_entropy_weight: float = Field(default=0.0, ge=0, le=1)


class PruneParams(CalibratedParams):
    """Drop whole decoder layers until `keep_layers` are left.

    `block_influence` drops those that change their input least (ShortGPT, Men et al. 2024);
    `deepest` drops the last ones before the final layer (Gromov et al. 2024, their simple strategy).
    """

    keep_layers: PositiveInt
    selection: Literal["block_influence", "deepest"] = "block_influence"
    calibration_rows: PositiveInt = 64
    max_length: PositiveInt = 512
    device: DeviceChoice = "auto"
    seed: Seed = 42


class SmoothParams(CalibratedParams):
    """Move outliers from activations into weights, without changing what the model computes.

    For EXAONE-4, which has no norm before attention and MLP: one scale a channel for the whole residual
    stream, one for the outputs of v and of up, by SmoothQuant's formula (Xiao et al. 2023), whose alpha is
    `strength`. With `power_of_two` no weight loses a bit.
    """

    strength: float = Field(default=0.5, ge=0, le=1)
    power_of_two: bool = True
    calibration_rows: PositiveInt = 128
    max_length: PositiveInt = 512
    device: DeviceChoice = "auto"
    seed: Seed = 42


class KeptLayers(Parameters):
    """Decoder layers that are not quantized; whole ones: vLLM fuses q, k, v and gate, up.

    Named by number, or chosen `by: sensitivity`: those whose quantization alone moves the logits most,
    `count` of them, or as many as let the package grow by no more than `budget_mb`. `rows` calibration rows
    are looked at, each to `max_length` tokens.
    """

    unwritten_at_default: ClassVar[frozenset[str]] = frozenset(
        {"layers", "by", "budget_mb", "count", "rows", "max_length"}
    )
    layers: tuple[NonNegativeInt, ...] = ()
    by: Literal["sensitivity"] | None = None
    budget_mb: PositiveFloat | None = None
    count: PositiveInt | None = None
    rows: PositiveInt = 16
    max_length: PositiveInt = 512

    @field_validator("layers")
    @classmethod
    def check_layers(cls, layers: tuple[int, ...]) -> tuple[int, ...]:
        """Put them in order, so that equal choices have one key; refuse a layer named twice."""
        if len(set(layers)) != len(layers):
            raise ValueError("keep.layers names a layer twice")
        return tuple(sorted(layers))

    @model_validator(mode="after")
    def check_choice(self) -> KeptLayers:
        """Refuse to name layers and have them chosen, and neither."""
        if (self.by is None) == (not self.layers):
            raise ValueError(
                "keep takes {layers: [0, 1]} or {by: sensitivity, budget_mb: 50}, and one of them"
            )
        n_limits = sum(limit is not None for limit in (self.budget_mb, self.count))
        if n_limits != (0 if self.by is None else 1):
            raise ValueError("keep.by: sensitivity goes with one of keep.count and keep.budget_mb")
        return self


class CompressParams(Parameters):
    """What every quantization shares: which layers stay as they are."""

    unwritten_at_default: ClassVar[frozenset[str]] = frozenset({"keep"})
    ignore: tuple[str, ...] = ("lm_head",)
    keep: KeptLayers | None = None


class SensitivityParams(Parameters):
    """What quantizing each decoder layer alone does to the logits, by rounding, on calibration rows."""

    scheme: GptqScheme | Fp8Scheme
    ignore: tuple[str, ...]
    rows: PositiveInt
    max_length: PositiveInt


class RoundParams(CompressParams):
    """Rounding to nearest into a compressed-tensors preset scheme; W8A8 rounds activations token by token.

    No data is read. At 8 bits it cannot be told from GPTQ; at 4 bits GPTQ is nearer in the language that it
    was calibrated in.
    """

    scheme: RoundScheme


class QuantizeParams(CompressParams, CalibratedParams):
    """What quantizations that may be calibrated share."""

    unwritten_at_default: ClassVar[frozenset[str]] = (
        CompressParams.unwritten_at_default | CalibratedParams.unwritten_at_default
    )
    calibration_rows: PositiveInt = 512
    max_length: PositiveInt = 2048
    seed: Seed = 42


class GptqParams(QuantizeParams):
    """GPTQ (Frantar et al. 2022) into a compressed-tensors preset scheme."""

    scheme: GptqScheme
    dampening: float = Field(default=0.01, gt=0, lt=1)
    block_size: PositiveInt = 128
    actorder: Literal["static", "weight", "group", "none"] = "static"


class Fp8Params(QuantizeParams):
    """FP8 weights and activations; FP8_DYNAMIC needs no calibration, FP8 (static) does.

    `format: modelopt` writes NVIDIA ModelOpt's format, which vLLM alone reads. Its package can ask for an FP8
    KV cache by itself (`kv_cache: fp8`, with calibrated scales), as one of compressed-tensors cannot.
    """

    unwritten_at_default: ClassVar[frozenset[str]] = QuantizeParams.unwritten_at_default | {
        "format", "kv_cache",
    }  # fmt: skip
    scheme: Fp8Scheme
    format: Literal["compressed-tensors", "modelopt"] = "compressed-tensors"
    kv_cache: Literal["auto", "fp8"] = "auto"

    @model_validator(mode="after")
    def check_format(self) -> Fp8Params:
        """Refuse what a format cannot hold."""
        if self.format == "modelopt" and self.scheme != "FP8":
            raise ValueError("format modelopt has static scales alone; take scheme: FP8")
        if self.kv_cache == "fp8" and self.format != "modelopt":
            raise ValueError("kv_cache fp8 needs format: modelopt; no other package can ask vLLM for it")
        return self


class AwqParams(QuantizeParams):
    """AWQ (Lin et al. 2023); `grid_points` are the exponents that are tried for each pair of layers."""

    scheme: AwqScheme
    grid_points: PositiveInt = 20


class AutoRoundParams(QuantizeParams):
    """AutoRound (Cheng et al. 2023): `iterations` steps a decoder layer, each on `batch_size` blocks.

    A block has `max_length` tokens.
    """

    scheme: Literal["W4A16"]
    iterations: PositiveInt = 200
    batch_size: int = Field(default=8, ge=2)


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


class PackageParams(Parameters):
    """Lay out one lane's model as a submission and zip it.

    `engine_arguments` are those that the lane was ranked with: no package carries them, its card says so.
    """

    unwritten_at_default: ClassVar[frozenset[str]] = frozenset({"engine_arguments"})

    package_name: str
    lane: str
    base_model_name: str
    base_model_source: str
    zip_prefix: str = ""
    max_zip_bytes: PositiveInt
    max_unpacked_bytes: PositiveInt
    engine_arguments: dict[str, str | bool] = Field(default_factory=dict)


class VerifyPackageParams(Parameters):
    """Unzip a package, load it with a library that reads its format and ask for a generation."""

    engine: EngineParams
    prompt: str = "안녕하세요?"
    max_new_tokens: PositiveInt = 8


class RankParams(Parameters):
    """Score and rank lane records; `records` is a list of LaneRecord as JSON objects.

    `resamples` is the number of bootstrap resamples; intervals have `confidence`. `margin` is the largest
    loss of quality that counts as none, as a fraction of the baseline; `published_percent` are the base
    model's published values by benchmark. `plain_packages`: a lane that needs engine arguments gets none.
    """

    records: tuple[dict[str, object], ...]
    weights: dict[str, float]
    quality_weight: float = Field(default=0.5, ge=0, le=1)
    baseline: str = "baseline"
    experiment: str = ""
    resamples: PositiveInt = 10_000
    confidence: float = Field(default=0.95, gt=0, lt=1)
    margin: float = Field(default=0.01, gt=0, lt=1)
    published_percent: dict[str, float] = Field(default_factory=dict)
    plain_packages: bool = True
    seed: Seed = 42
