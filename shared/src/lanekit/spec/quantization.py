"""Parameters of what quantizes, and of what chooses the layers that stay as they are."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, field_validator, model_validator

from lanekit.spec.numbers import Seed
from lanekit.spec.params import CalibratedParams, Parameters

GptqScheme = Literal["W4A16", "W4A16_ASYM", "W8A16", "W8A8"]


RoundScheme = GptqScheme


Fp8Scheme = Literal["FP8", "FP8_DYNAMIC"]


AwqScheme = Literal["W4A16", "W4A16_ASYM"]


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
