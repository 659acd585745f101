"""What a stage will ask of memory, and a run of disk, before anything is started. Pure arithmetic.

Memory is counted from the model's shape and the stage's own parameters. The coefficients that no count gives
(how many copies of the logits a loss keeps, what a CUDA context takes) were fitted to one H200's peaks at
EXAONE-4.0-1.2B's size, with 32 calibration rows: scripts/benchmarks/results/ holds what was measured. What a
calibration row adds to the main memory is counted, not fitted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lanekit.spec.lane_file import Lane
from lanekit.spec.params import (
    DistillParams,
    Parameters,
    PostSftParams,
    PruneParams,
    SftParams,
    SmoothParams,
    TrainingParams,
)
from lanekit.spec.quantization import (
    AutoRoundParams,
    AwqParams,
    CompressParams,
    Fp8Params,
    GptqParams,
    QuantizeParams,
)
from lanekit.spec.screen import CompareLogitsParams
from lanekit.spec.stages import StageType

# An artifact's size as a share of the base model's: the tied embedding (0.21 B of 1.28 B parameters) keeps
# its 2 bytes, the rest takes 4 or 8 bits and its scales. Measured for W4A16: 971 MB of 2.56 GB.
FOUR_BIT_SHARE, EIGHT_BIT_SHARE, DENSE_SHARE = 0.38, 0.60, 1.0
COPIES_OF_PACKAGE = 5  # folder and zip in the store, both in submissions/, one unzipped to verify it
DISK_MARGIN = 1.15

BF16, FP32 = 2, 4  # bytes
# A CUDA context with the libraries' own buffers, and what the allocator holds beyond what it has given out.
CONTEXT_BYTES, FRAGMENTATION = 600_000_000, 1.1
# Bytes for each logit (token × vocabulary entry) that are alive at once in a training step.
CROSS_ENTROPY_BYTES_PER_LOGIT = 14  # bfloat16 logits, float32 copy, its softmax, the gradient
DISTILLATION_BYTES_PER_LOGIT = 30  # the same for student and teacher, and the divergence
LAYER_BYTES_PER_TOKEN_WIDTH = 20  # activations of the one layer that is being computed again
# Main memory: libraries, those of CUDA beside; copies of the weights while a calibrated model is quantized
# and packed (on a GPU it is off-loaded here as well); the inputs and outputs of the layer at hand, for every
# calibration token.
LIBRARIES_BYTES, CUDA_LIBRARIES_BYTES = 1_500_000_000, 400_000_000
QUANTIZE_COPIES, QUANTIZE_COPIES_ON_GPU, COPIES_OF_STATES = 1.5, 2.2, 2
SCREEN_LOGITS = 1 << 27  # that a screen's batch may hold of each model
ADAM_BYTES, ADAFACTOR_BYTES = 8, 0.1  # optimizer state for each trained parameter


@dataclass(frozen=True)
class ModelShape:
    """A decoder's sizes; `parameters` counts a tied embedding once."""

    layers: int
    hidden_size: int
    intermediate_size: int
    attention_width: int
    kv_width: int
    vocab_size: int
    is_tied: bool = True

    @property
    def layer_parameters(self) -> int:
        """Weights of one layer's linears."""
        attention = self.hidden_size * (2 * self.attention_width + 2 * self.kv_width)
        return attention + 3 * self.hidden_size * self.intermediate_size

    @property
    def embedding_parameters(self) -> int:
        """Weights of the embedding table."""
        return self.vocab_size * self.hidden_size

    @property
    def parameters(self) -> int:
        """All weights but the norms'."""
        tables = self.embedding_parameters * (1 if self.is_tied else 2)
        return self.layers * self.layer_parameters + tables


# What is known of EXAONE-4.0-1.2B before it is fetched.
EXAONE_SHAPE = ModelShape(30, 2048, 4096, 32 * 64, 8 * 64, 102_400)


def read_shape(config: Mapping[str, Any]) -> ModelShape:
    """Return the shape that a config.json tells.

    Raises:
        KeyError: the configuration is not a decoder's.
    """
    hidden, heads = int(config["hidden_size"]), int(config["num_attention_heads"])
    head_dim = int(config.get("head_dim") or hidden // heads)
    return ModelShape(
        layers=int(config["num_hidden_layers"]),
        hidden_size=hidden,
        intermediate_size=int(config["intermediate_size"]),
        attention_width=heads * head_dim,
        kv_width=int(config.get("num_key_value_heads") or heads) * head_dim,
        vocab_size=int(config["vocab_size"]),
        is_tied=bool(config.get("tie_word_embeddings", True)),
    )


def estimate_device_bytes(params: Parameters, shape: ModelShape) -> int | None:
    """Estimate the GPU memory that training, quantization or a screen takes; None for other stages."""
    if isinstance(params, TrainingParams):
        needed = _estimate_training(params, shape)
    elif isinstance(params, CompressParams):
        needed = _estimate_quantization(params, shape)
    elif isinstance(params, (PruneParams, SmoothParams)):
        states = (shape.layers + 1) * params.max_length * shape.hidden_size * BF16
        logits = params.max_length * shape.vocab_size * BF16
        needed = BF16 * shape.parameters + states + logits
    elif isinstance(params, CompareLogitsParams):
        width = FP32 if params.dtype == "float32" else BF16
        rows = min(params.sequence_tokens, params.max_tokens) * shape.vocab_size
        needed = 2 * width * (shape.parameters + max(rows, SCREEN_LOGITS))
    else:
        return None
    return int(needed * FRAGMENTATION) + CONTEXT_BYTES


def _estimate_training(params: TrainingParams, shape: ModelShape) -> float:
    tokens = params.batch_size * params.max_length
    state_bytes = ADAM_BYTES if params.optimizer == "adamw_torch" else ADAFACTOR_BYTES
    weights, trained, logit_bytes = FP32 * shape.parameters, 0.0, CROSS_ENTROPY_BYTES_PER_LOGIT
    if isinstance(params, SftParams):
        weights = BF16 * shape.parameters
        widths = 4 * shape.hidden_size + 2 * (shape.attention_width + shape.kv_width)
        trained = (
            shape.layers * params.lora_rank * (widths + 3 * (shape.hidden_size + shape.intermediate_size))
        )
    elif isinstance(params, PostSftParams):
        trained = shape.layers * 4 * shape.hidden_size
    elif isinstance(params, DistillParams):
        weights += BF16 * shape.parameters  # the teacher
        trained, logit_bytes = shape.parameters, DISTILLATION_BYTES_PER_LOGIT
    kept_layers = 1 if params.gradient_checkpointing else shape.layers
    width = shape.hidden_size + shape.intermediate_size
    activations = tokens * shape.hidden_size * BF16 * shape.layers
    activations += kept_layers * tokens * width * LAYER_BYTES_PER_TOKEN_WIDTH
    return weights + trained * (FP32 + state_bytes) + activations + tokens * shape.vocab_size * logit_bytes


def _estimate_quantization(params: CompressParams, shape: ModelShape) -> float:
    if not isinstance(params, QuantizeParams) or not _is_calibrated(params):
        return BF16 * shape.parameters  # without data the whole model goes to the GPU
    # One layer at a time is there; the largest moment is the last, with the head and its logits.
    needed = BF16 * (
        shape.layer_parameters + shape.embedding_parameters + params.max_length * shape.vocab_size
    )
    if isinstance(params, GptqParams):
        needed += FP32 * (5 * shape.hidden_size**2 + shape.attention_width**2 + shape.intermediate_size**2)
    if isinstance(params, AwqParams | AutoRoundParams):  # of every token: in a layer, out of it, of a trial
        needed += 3 * params.calibration_rows * params.max_length * shape.hidden_size * BF16
    if isinstance(params, AutoRoundParams):  # a batch through the layer, with gradients
        width = shape.hidden_size + shape.intermediate_size
        needed += params.batch_size * params.max_length * width * LAYER_BYTES_PER_TOKEN_WIDTH
        needed += FP32 * 3 * shape.layer_parameters  # the weights, what rounds them, and its gradient
    return needed


def _is_calibrated(params: QuantizeParams) -> bool:
    return not (isinstance(params, Fp8Params) and params.scheme == "FP8_DYNAMIC")


def estimate_host_bytes(params: Parameters, shape: ModelShape, *, on_gpu: bool) -> int:
    """Estimate the main memory that a stage takes on a GPU host, or on a CPU."""
    libraries = LIBRARIES_BYTES + (CUDA_LIBRARIES_BYTES if on_gpu else 0)
    weights = BF16 * shape.parameters
    if isinstance(params, QuantizeParams) and _is_calibrated(params):
        tokens = params.calibration_rows * params.max_length
        copies = QUANTIZE_COPIES_ON_GPU if on_gpu else QUANTIZE_COPIES
        return int(libraries + copies * weights + COPIES_OF_STATES * tokens * shape.hidden_size * BF16)
    if not on_gpu:
        return libraries + (estimate_device_bytes(params, shape) or weights) - CONTEXT_BYTES
    copies_at_start = {DistillParams: 2, PostSftParams: 4}.get(type(params), 1)  # in float32, once or twice
    return libraries + copies_at_start * weights


def name_memory_knobs(params: Parameters, *, on_host: bool) -> str:
    """Return the parameters that lower a stage's need, in words; empty where none does.

    Args:
        on_host: of the main memory of a GPU host, where a stage that trains only loads its model.
    """
    if isinstance(params, QuantizeParams):
        return "calibration_rows or max_length" if _is_calibrated(params) else ""
    if on_host:
        return ""
    if isinstance(params, TrainingParams):
        more = " (and set optimizer: adafactor)" if params.optimizer == "adamw_torch" else ""
        return f"batch_size or max_length{more}"
    return "max_length" if isinstance(params, (PruneParams, SmoothParams)) else ""


def estimate_disk_bytes(
    model_bytes: int, lanes: Sequence[Lane], top_k: int, from_hub: bool, packaged: Sequence[Lane] = ()
) -> int:
    """Estimate the disk that a run needs.

    (base + one artifact for each distinct chain of stages, at its share of the base
    + the hub's cache of the base + `COPIES_OF_PACKAGE` copies of each package) × margin.

    Args:
        packaged: the lanes that won, where it is known; before the run the `top_k` largest are packaged.
    """
    chains = {
        tuple((stage.type.name, stage.params.model_dump_json()) for stage in lane.stages[:end]): _share(
            [(stage.type, getattr(stage.params, "scheme", "")) for stage in lane.stages[:end]]
        )
        for lane in lanes
        for end in range(1, len(lane.stages) + 1)
    }
    ends = [
        _share([(s.type, getattr(s.params, "scheme", "")) for s in lane.stages]) for lane in packaged or lanes
    ]
    packages = COPIES_OF_PACKAGE * sum(sorted(ends, reverse=True)[:top_k])
    shares = 1 + sum(chains.values()) + (1 if from_hub else 0) + packages
    return int(model_bytes * shares * DISK_MARGIN)


def _share(stages: Sequence[tuple[StageType, str]]) -> float:
    share = DENSE_SHARE
    for stage_type, scheme in stages:
        if stage_type.gives == "packed":
            share = FOUR_BIT_SHARE if scheme.startswith("W4") else EIGHT_BIT_SHARE
    return share
