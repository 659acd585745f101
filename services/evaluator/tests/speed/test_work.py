"""Bytes and operations of a step, by hand."""

from __future__ import annotations

from typing import Any

import pytest

from evaluator.speed.work import Work, find_compute_dtype, read_work

EXAONE = {
    "num_hidden_layers": 30, "hidden_size": 2048, "intermediate_size": 4096, "num_attention_heads": 32,
    "num_key_value_heads": 8, "head_dim": 64, "vocab_size": 102_400, "tie_word_embeddings": True,
    "sliding_window": None, "layer_types": ["full_attention"] * 30,
}  # fmt: skip
# Two layers: q and o 4·4, k and v 4·2, three of 4·6; the second sees 8 tokens at most. The table is 10·4.
TINY = {
    "num_hidden_layers": 2, "hidden_size": 4, "intermediate_size": 6, "num_attention_heads": 2,
    "num_key_value_heads": 1, "vocab_size": 10,
}  # fmt: skip
SLIDING = TINY | {"sliding_window": 8, "layer_types": ["full_attention", "sliding_attention"]}


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [("bfloat16", 61_440), ("float16", 61_440), ("float32", 122_880), ("fp8", 30_720), ("fp8_e4m3", 30_720)],
)
def test_a_context_token_takes_keys_and_values_of_all_layers(dtype: str, expected: int) -> None:
    work = read_work(EXAONE, 2_558_000_000, dtype)
    assert work and work.kv_bytes_per_token == expected


def test_a_decode_reads_weights_once_and_each_sequences_cache() -> None:
    work = read_work(EXAONE, 2_558_000_000, "bfloat16")
    assert work
    found = work.count_decode(256, 600)
    assert found.read_bytes == 2_558_000_000 + 256 * 600 * 61_440
    linears = 2 * 30 * (2048 * (2 * 2048 + 2 * 512) + 3 * 2048 * 4096)
    attention = 4 * 2048 * 600 * 30
    assert found.operations == 256 * (linears + attention + 2 * 102_400 * 2048)


def test_a_prefill_asks_the_head_for_the_last_token_alone() -> None:
    work = read_work(TINY, 100, "float32")
    assert work
    linears = 2 * 2 * (4 * (2 * 4 + 2 * 2) + 3 * 4 * 6)
    attention = 4 * 4 * 8 * 2  # a mean context of half the prompt, two layers
    assert work.count_prefill(3, 16) == Work(100, 3 * 16 * (linears + attention) + 3 * 2 * 40)


def test_a_sliding_window_ends_the_context() -> None:
    whole, sliding = (read_work(config, 0, "float16") for config in (TINY, SLIDING))
    assert whole and sliding
    assert sliding.count_decode(1, 8) == whole.count_decode(1, 8)
    row = 2 * 2 * 2  # keys and values of a width of 2 in two bytes
    assert whole.count_decode(5, 20).read_bytes == 5 * row * (20 + 20)
    assert sliding.count_decode(5, 20).read_bytes == 5 * row * (20 + 8)


@pytest.mark.parametrize(
    ("config", "dtype"),
    [
        ({}, "bfloat16"), ({"hidden_size": "wide"}, "bfloat16"), (TINY, "fp4"), (TINY, ""),
        (TINY | {"num_experts": 8}, "bfloat16"),
    ],
)  # fmt: skip
def test_what_is_not_known_is_not_counted(config: dict[str, Any], dtype: str) -> None:
    assert read_work(config, 1, dtype) is None


def make_scheme(**activations: Any) -> dict[str, Any]:
    group = {"weights": {"num_bits": 8, "type": "int"}, "input_activations": activations or None}
    return {"quantization_config": {"quant_method": "compressed-tensors", "config_groups": {"g": group}}}


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({}, "bfloat16"),
        (make_scheme(), "bfloat16"),  # weights alone
        (make_scheme(num_bits=8, type="int"), "int8"),
        (make_scheme(num_bits=8, type="float"), "fp8"),
        ({"quantization_config": {"quant_method": "modelopt", "quant_algo": "fp8"}}, "fp8"),
        ({"quantization_config": {"quant_method": "modelopt", "quantization": {"quant_algo": "FP8"}}}, "fp8"),
        ({"quantization_config": {"quant_method": "gptq", "bits": 4}}, "bfloat16"),
    ],
)
def test_activations_decide_in_what_a_model_multiplies(config: dict[str, Any], expected: str) -> None:
    assert find_compute_dtype(config, "bfloat16", has_fp8=True) == expected
    without = "bfloat16" if expected == "fp8" else expected
    assert find_compute_dtype(config, "bfloat16", has_fp8=False) == without
