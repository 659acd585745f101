"""What vLLM 0.14.1's kernels need of a model's linears and of the GPU, scheme by scheme. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

GROUP_SIZES = {"W4A16": 128, "W4A16_ASYM": 128}
FP8_SINCE, MODELOPT_SINCE = 89, 89  # compute capability, e.g. 89 for 8.9
NO_INT8_SINCE = 100


class Linear(NamedTuple):
    """A linear layer as vLLM runs it, q, k, v and gate, up fused."""

    name: str
    n_in: int
    n_out: int


def read_count(config: Mapping[str, Any], name: str) -> int | None:
    """Return a positive whole number of a config; None where there is none."""
    value = config.get(name)
    return value if type(value) is int and value > 0 else None


def list_input_widths(config: Mapping[str, Any]) -> dict[str, int]:
    """Return the input widths of a decoder's linear layers by name, as far as the config tells them."""
    heads, hidden = read_count(config, "num_attention_heads"), read_count(config, "hidden_size")
    head_dim = read_count(config, "head_dim") or (hidden // heads if heads and hidden else None)
    widths = {
        "hidden_size": hidden,
        "num_attention_heads x head_dim": heads * head_dim if heads and head_dim else None,
        "intermediate_size": read_count(config, "intermediate_size"),
    }
    return {name: width for name, width in widths.items() if width is not None}


def list_fused_linears(config: Mapping[str, Any]) -> list[Linear]:
    """Return a decoder layer's linears; none where the config does not tell all widths."""
    widths = list_input_widths(config)
    if len(widths) < 3:
        return []
    hidden, attention, ffn = widths.values()
    heads = read_count(config, "num_attention_heads") or 1
    kv_heads = read_count(config, "num_key_value_heads") or heads
    kv = attention // heads * kv_heads
    return [
        Linear("qkv_proj", hidden, attention + 2 * kv),
        Linear("o_proj", attention, hidden),
        Linear("gate_up_proj", hidden, 2 * ffn),
        Linear("down_proj", ffn, hidden),
    ]


def count_layer_weights(config: Mapping[str, Any]) -> int:
    """Return how many weights the linears of one decoder layer have; 0 where the config does not tell."""
    return sum(linear.n_in * linear.n_out for linear in list_fused_linears(config))


def can_serve_weights(scheme: str, linear: Linear, capability: int | None, *, has_index: bool) -> bool:
    """Whether a kernel multiplies packed integer weights of this shape: Marlin, Machete or AllSpark.

    Args:
        capability: the GPU's; None where it is not known: any of them will do.
        has_index: whether the package names each column's group, which AllSpark does not take.
    """
    n_in, n_out = linear.n_in, linear.n_out
    marlin = n_in % 128 == 0 and n_out % 64 == 0
    machete = capability in (None, 90) and n_in % 64 == 0 and n_out % 128 == 0
    allspark = scheme == "W8A16" and not has_index and (capability is None or 80 <= capability < 90)
    return marlin or machete or (allspark and n_in % 16 == 0 and n_out % 16 == 0)


def write_capability(capability: int) -> str:
    """Return e.g. "8.9" for 89."""
    return f"{capability // 10}.{capability % 10}"
