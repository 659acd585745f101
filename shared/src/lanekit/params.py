"""Parameters of every stage: frozen models, unknown names refused. Defaults are the documented ones of the
libraries or methods; what a user tunes stands in lanes/experiment.yaml and in the lane files."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt

from lanekit.benchmarks import Benchmark

GptqScheme = Literal["W4A16", "W4A16_ASYM", "W8A16", "W8A8"]
Fp8Scheme = Literal["FP8", "FP8_DYNAMIC"]
Device = Literal["auto", "cpu", "cuda"]
Dtype = Literal["auto", "float32", "bfloat16", "float16"]


class Parameters(BaseModel):
    """Base of all parameter models."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=(), allow_inf_nan=False)


class Source(Parameters):
    """Where data or a model comes from: a hub id, or a local file or folder.

    `digest` is filled in by the planner: the content's sha256 for local paths, the commit for a hub id.
    """

    source: str
    revision: str = "main"
    split: str = "train"
    digest: str = ""


class FetchModelParams(Parameters):
    """Bring a model folder into the store."""

    name: str
    model: Source


class CorpusSettings(Parameters):
    """How much of the instruction corpus is used, and for what."""

    train_rows: PositiveInt
    validation_rows: PositiveInt
    calibration_rows: PositiveInt


class PrepareCorpusParams(CorpusSettings):
    """Split the instruction corpus and draw the calibration set from the training part."""

    corpus: Source
    seed: int = 42


class PrepareBenchmarksParams(Parameters):
    """Read the benchmark sets and check their columns; `limit_items` keeps the first N of each."""

    sets: dict[str, Source]
    limit_items: PositiveInt | None = None


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
    device: Device = "auto"
    seed: int = 42


class SftParams(TrainingParams):
    """LoRA supervised fine-tuning (Hu et al. 2021), merged into the weights at the end."""

    lora_rank: PositiveInt = 16
    lora_alpha: PositiveInt = 32
    lora_dropout: float = Field(default=0.0, ge=0, lt=1)
    target_modules: tuple[str, ...] = (
        "q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj",
    )  # fmt: skip


class PostSftParams(TrainingParams):
    """Train the norm weights alone; every other tensor stays as it is, bit for bit."""


class DistillParams(TrainingParams):
    """Knowledge distillation from the unpruned base model (Hinton et al. 2015)."""

    temperature: PositiveFloat = 2.0
    cross_entropy_weight: float = Field(default=0.0, ge=0, le=1)


class PruneParams(Parameters):
    """Drop whole decoder layers until `keep_layers` are left.

    `block_influence` drops those that change their input least (ShortGPT, Men et al. 2024);
    `deepest` drops the last ones before the final layer (Gromov et al. 2024, their simple strategy).
    """

    keep_layers: PositiveInt
    selection: Literal["block_influence", "deepest"] = "block_influence"
    calibration_rows: PositiveInt = 64
    max_length: PositiveInt = 512
    device: Device = "auto"
    seed: int = 42


class QuantizeParams(Parameters):
    """What both quantization stages share."""

    ignore: tuple[str, ...] = ("lm_head",)
    calibration_rows: PositiveInt = 512
    max_length: PositiveInt = 2048
    seed: int = 42


class GptqParams(QuantizeParams):
    """GPTQ (Frantar et al. 2022) into a compressed-tensors preset scheme."""

    scheme: GptqScheme
    dampening: float = Field(default=0.01, gt=0, lt=1)
    block_size: PositiveInt = 128
    actorder: Literal["static", "weight", "group", "none"] = "static"


class Fp8Params(QuantizeParams):
    """FP8 weights and activations; FP8_DYNAMIC needs no calibration, FP8 (static) does."""

    scheme: Fp8Scheme


class EngineParams(Parameters):
    """How a model is run for evaluation and timing. Lengths are tokens."""

    engine: Literal["vllm", "transformers"]
    dtype: Dtype = "auto"
    max_model_len: PositiveInt = 4096
    gpu_memory_utilization: float = Field(default=0.85, gt=0, le=1)
    enforce_eager: bool = False
    batch_size: PositiveInt = 64
    device: Device = "auto"
    seed: int = 42


class EvaluateParams(Parameters):
    """Run the benchmark suite, greedily, through the chat template."""

    engine: EngineParams
    benchmarks: tuple[Benchmark, ...]
    enable_thinking: bool = False


class SpeedSettings(Parameters):
    """The fixed-length decode that gives seconds per token."""

    batch_size: PositiveInt = 8
    prompt_tokens: PositiveInt = 128
    decode_tokens: PositiveInt = 128
    repeats: PositiveInt = 3
    warmups: PositiveInt = 1


class MeasureSpeedParams(SpeedSettings):
    """Fixed-length decode; candidate and baseline are both loaded and measured in turn.

    `hardware` names the device that it is asked of (see `lanekit.devices`): a speed belongs to one device.
    """

    engine: EngineParams
    hardware: str = ""


class PackageParams(Parameters):
    """Lay out one lane's model as a submission and zip it."""

    package_name: str
    lane: str
    base_model_name: str
    base_model_source: str
    zip_prefix: str = ""
    max_zip_bytes: PositiveInt
    max_unpacked_bytes: PositiveInt


class VerifyPackageParams(Parameters):
    """Unzip a package, load it with a library that reads its format and ask for a generation."""

    engine: EngineParams
    prompt: str = "안녕하세요?"
    max_new_tokens: PositiveInt = 8


class RankParams(Parameters):
    """Score and rank lane records; `records` is a list of LaneRecord as JSON objects."""

    records: tuple[dict[str, object], ...]
    weights: dict[str, float]
    quality_weight: float = Field(default=0.5, ge=0, le=1)
    baseline: str = "baseline"
    experiment: str = ""
