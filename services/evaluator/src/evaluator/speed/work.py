"""What a step of a dense decoder has to do: bytes of weights and KV cache to read, operations. Pure.

Bytes: every weight once, whatever the batch, and for each sequence the keys and values of its context. Left
out are activations, what a step writes, and the looked-up rows of the embedding table. Operations: two for
each weight of a linear and each token, four for each token of context and each unit of attention's width.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lanekit.spec.estimates import ModelShape, read_shape

# Bytes of one element of the KV cache, by the dtype that the engine resolved.
CACHE_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2, "fp8": 1, "fp8_e4m3": 1, "fp8_e5m2": 1}
EXPERTS = ("num_experts", "num_local_experts", "n_routed_experts")  # not every weight is read then


@dataclass(frozen=True)
class Work:
    """Bytes to read and operations to do."""

    read_bytes: float
    operations: float


@dataclass(frozen=True)
class ModelWork:
    """What decides a model's work; `windows` holds each layer's longest context, None where all is seen.

    `cache_bytes` is the width of the KV cache's elements.
    """

    shape: ModelShape
    windows: tuple[int | None, ...]
    weight_bytes: int
    cache_bytes: int

    @property
    def kv_bytes_per_token(self) -> int:
        """The cache that one token of context takes: keys and values of every layer."""
        return 2 * self.shape.layers * self.shape.kv_width * self.cache_bytes

    def count_decode(self, n_sequences: int, context: float) -> Work:
        """Return the work of a step that adds a token to each of some sequences of this mean context."""
        seen = self._sum_contexts(context)
        read = self.weight_bytes + n_sequences * 2 * self.shape.kv_width * self.cache_bytes * seen
        return Work(read, n_sequences * (self._count_token(seen) + 2 * self.shape.embedding_parameters))

    def count_prefill(self, n_sequences: int, prompt_tokens: int) -> Work:
        """Return the work of taking in prompts, the head at their last tokens alone."""
        tokens, seen = n_sequences * prompt_tokens, self._sum_contexts(prompt_tokens / 2)
        heads = n_sequences * 2 * self.shape.embedding_parameters
        return Work(self.weight_bytes, tokens * self._count_token(seen) + heads)

    def _count_token(self, seen: float) -> float:
        linears = 2 * self.shape.layers * self.shape.layer_parameters
        return linears + 4 * self.shape.attention_width * seen

    def _sum_contexts(self, context: float) -> float:
        return sum(context if window is None else min(context, window) for window in self.windows)


def read_work(config: Mapping[str, Any], weight_bytes: int, kv_cache_dtype: str) -> ModelWork | None:
    """Return what decides a model's work, from its config.json; None where that does not tell.

    A mixture of experts, or a cache of another dtype than `CACHE_BYTES` has, is not known here.
    """
    if kv_cache_dtype not in CACHE_BYTES or any(config.get(name) for name in EXPERTS):
        return None
    try:
        shape = read_shape(config)
    except (KeyError, TypeError, ValueError):
        return None
    window, types = config.get("sliding_window"), config.get("layer_types") or ()
    windows = tuple(
        int(window) if window and kind == "sliding_attention" else None
        for kind in (*types, *[""] * (shape.layers - len(types)))
    )
    return ModelWork(shape, windows, weight_bytes, CACHE_BYTES[kv_cache_dtype])


def find_compute_dtype(config: Mapping[str, Any], dtype: str, *, has_fp8: bool) -> str:
    """Return the dtype in which vLLM multiplies most of a model: "int8", "fp8", or the model's own.

    Weights alone do not decide: where activations are not quantized the kernel widens the weights. Without
    tensor cores for FP8 vLLM serves it weight-only.
    """
    quantization = config.get("quantization_config")
    if not isinstance(quantization, Mapping):
        return dtype
    groups = quantization.get("config_groups")
    found = [
        activations
        for group in (groups.values() if isinstance(groups, Mapping) else ())
        if isinstance(group, Mapping) and isinstance(activations := group.get("input_activations"), Mapping)
    ]
    inner = quantization.get("quantization")
    algorithm = (inner if isinstance(inner, Mapping) else quantization).get("quant_algo")
    kinds = {activations.get("type") for activations in found if activations.get("num_bits") == 8}
    if str(algorithm).upper() == "FP8" or "float" in kinds:
        return "fp8" if has_fp8 else dtype
    return "int8" if "int" in kinds else dtype
