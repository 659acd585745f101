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

from pydantic import PositiveFloat, PositiveInt  # isort: skip

from lanekit.spec.calibration import CORPUS, CalibrationChoice, count_mixed
from lanekit.spec.numbers import PlacedError, PlainNumbers, Seed

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
