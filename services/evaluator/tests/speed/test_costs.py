"""What bounds a model's forms: as measured on an H100, and as a slower GPU must be."""

from __future__ import annotations

import statistics
from typing import Any

import pytest

from evaluator.speed.costs import describe_cost
from lanekit.host.gpu_models import GPU_MODELS, find_gpu_model
from lanekit.results.speed import ModelCost, SpeedForm
from lanekit.spec.evaluation import SpeedSettings

H100 = "NVIDIA H100 80GB HBM3"
CONFIG = {
    "num_hidden_layers": 30, "hidden_size": 2048, "intermediate_size": 4096, "num_attention_heads": 32,
    "num_key_value_heads": 8, "head_dim": 64, "vocab_size": 102_400,
}  # fmt: skip
SPEC = SpeedSettings(batch_sizes=(1, 8, 32, 256), prompt_tokens=512, decode_tokens=256, prefill_tokens=2048)
# vLLM 0.14.1 on one H100, this model's size, random weights, November 2026: the package's MB, the cache's and
# the activations' dtypes, ms a token by the number of sequences (least and most), ms a prompt of 2048 tokens.
MEASURED: dict[str, tuple[int, str, str, dict[int, tuple[float, float]], tuple[float, float]]] = {
    "BF16": (2559, "bfloat16", "",
             {1: (2.04, 2.47), 8: (0.296, 0.324), 32: (0.092, 0.108), 256: (0.042, 0.046)}, (10.1, 10.3)),
    "W4A16": (971, "bfloat16", "",
              {1: (2.47, 2.65), 8: (0.390, 0.436), 32: (0.120, 0.137), 256: (0.045, 0.055)}, (10.9, 11.1)),
    "W8A8": (1490, "bfloat16", "int",
             {1: (2.30, 2.35), 8: (0.339, 0.348), 32: (0.110, 0.118), 256: (0.046, 0.052)}, (7.85, 7.92)),
    "FP8": (1489, "bfloat16", "float",
            {1: (2.26, 2.70), 8: (0.351, 0.391), 32: (0.122, 0.138), 256: (0.048, 0.049)}, (7.36, 7.42)),
    "FP8 with FP8 KV cache": (1489, "fp8_e4m3", "float",
            {1: (1.85, 2.39), 8: (0.297, 0.326), 32: (0.085, 0.096), 256: (0.046, 0.049)}, (7.69, 8.04)),
}  # fmt: skip


def make_forms() -> dict[str, SpeedForm]:
    sizes = {f"decode_b{n}": n for n in SPEC.batch_sizes} | {"prefill": 64}
    return {
        name: SpeedForm(
            kind="prefill" if name == "prefill" else "decode", s_per_token=1, s_per_token_all=[1],
            baseline_s_per_token=1, baseline_s_per_token_all=[1], ratio=1, n_sequences=size, tokens=1,
            baseline_tokens=1, seconds=1, baseline_seconds=1,
        )
        for name, size in sizes.items()
    }  # fmt: skip


def describe(megabytes: int, cache: str, activations: str, times: dict[str, float], gpu: str) -> ModelCost:
    config: dict[str, Any] = dict(CONFIG)
    if activations:
        group = {"input_activations": {"num_bits": 8, "type": activations}}
        config["quantization_config"] = {"config_groups": {"group_0": group}}
    description = {
        "engine": "vllm", "dtype": "bfloat16", "kv_cache_dtype": cache, "kernels": {"linear": 210},
        "weight_bytes_per_step": megabytes * 10**6,
    }  # fmt: skip
    spec = SPEC.model_copy(update={"score_form": "decode_b32"})
    forms = {name: form for name, form in make_forms().items() if name in times}
    return describe_cost(description, config, times, forms, spec, find_gpu_model(gpu))


def read_times(model: str) -> dict[str, float]:
    """Return the middle of what was measured, in seconds a token."""
    _, _, _, decodes, prefill = MEASURED[model]
    times = {f"decode_b{n}": statistics.mean(ends) / 1000 for n, ends in decodes.items()}
    return times | {"prefill": statistics.mean(prefill) / 1000 / 2048}


@pytest.mark.parametrize("model", MEASURED)
def test_on_an_h100_small_batches_are_bound_by_the_host(model: str) -> None:
    """2 ms a step whatever the weights, and hardly more for 8 or 32 sequences than for one."""
    cost = describe(*MEASURED[model][:3], read_times(model), H100)
    assert [cost.bounds[f"decode_b{n}"].verdict for n in (1, 8, 32, 256)] == ["host"] * 3 + [""]
    assert all((cost.bounds[f"decode_b{n}"].memory_share or 1) < 0.4 for n in (1, 8, 32))
    assert cost.roofline_form == "decode_b32"
    assert cost.roofline_ratio == cost.bounds["decode_b32"].memory_share
    assert cost.kernels == {"linear": 210}


def test_the_bf16_columns_shares_by_hand() -> None:
    cost = describe(*MEASURED["BF16"][:3], read_times("BF16"), H100)
    assert cost.kv_bytes_per_context_token == 61_440
    first = cost.bounds["decode_b1"]
    prompt_s = 512 * 10.2e-3 / 2048
    assert first.seconds == pytest.approx((2.255e-3 * 256 - prompt_s) / 255)
    assert first.read_bytes == 2_559_000_000 + (512 + 128) * 61_440
    assert first.memory_share == pytest.approx(first.read_bytes / 3.352e12 / first.seconds)
    assert first.memory_share == pytest.approx(0.34, abs=0.01)
    assert first.compute_share == pytest.approx(first.operations / 989e12 / first.seconds)
    prefill = cost.bounds["prefill"]
    assert cost.prefill_tokens_per_s == pytest.approx(2048 / 10.2e-3)
    assert prefill.compute_share == pytest.approx(0.485, abs=0.005) and prefill.host_share is None
    assert (cost.compute_dtype, cost.peak_operations_per_s) == ("bfloat16", 989e12)


@pytest.mark.parametrize(
    ("activations", "gpu", "dtype", "peak"),
    [
        ("float", H100, "fp8", 1979e12), ("int", H100, "int8", 1979e12), ("", H100, "bfloat16", 989e12),
        ("float", "NVIDIA A100 80GB PCIe", "bfloat16", 312e12), ("int", "NVIDIA A10G", "int8", 140e12),
        ("float", "NVIDIA GeForce RTX 4090", "fp8", 330.3e12), ("", "Tesla T4", "bfloat16", None),
    ],
)  # fmt: skip
def test_the_peak_is_of_the_dtype_that_the_gpu_multiplies_in(
    activations: str, gpu: str, dtype: str, peak: float | None
) -> None:
    cost = describe(1490, "bfloat16", activations, read_times("FP8"), gpu)
    assert (cost.compute_dtype, cost.peak_operations_per_s) == (dtype, peak)
    assert (cost.bounds["prefill"].compute_share is None) is (peak is None)


def test_on_an_l4_a_step_is_bound_by_memory_and_the_prefill_by_compute() -> None:
    times = {"decode_b1": 10.5e-3, "decode_b8": 1.45e-3, "prefill": 1 / 30_000}
    cost = describe(2559, "bfloat16", "", times, "NVIDIA L4")
    assert {name: bound.verdict for name, bound in cost.bounds.items()} == {
        "decode_b1": "memory bandwidth", "decode_b8": "memory bandwidth", "prefill": "compute",
    }  # fmt: skip
    assert cost.roofline_form == "decode_b8"  # the score's is not timed here: the one of most sequences


def test_without_the_form_prefill_a_step_holds_its_share_of_it() -> None:
    times = {"decode_b1": 10.5e-3, "decode_b8": 1.45e-3}
    cost = describe(2559, "bfloat16", "", times, "NVIDIA L4")
    assert cost.bounds["decode_b1"].seconds == pytest.approx(10.5e-3 * 256 / 255)
    assert set(cost.bounds) == set(times) and cost.prefill_tokens_per_s is None


def test_of_another_device_times_are_told_and_nothing_is_judged() -> None:
    cost = describe(2559, "bfloat16", "", read_times("BF16"), "NVIDIA B300")
    assert cost.kv_bytes_per_context_token == 61_440 and cost.prefill_tokens_per_s
    assert cost.roofline_ratio is None and cost.peak_operations_per_s is None
    assert {bound.verdict for bound in cost.bounds.values()} == {""}
    unknown = describe(2559, "fp4", "", read_times("BF16"), H100)
    assert (unknown.bounds, unknown.kv_bytes_per_context_token, unknown.roofline_form) == ({}, None, "")


def test_the_table_of_gpus_is_of_one_mind() -> None:
    for name, gpu in GPU_MODELS.items():
        half, int8 = gpu.find_peak("float16"), gpu.find_peak("int8")
        assert half and int8 and 1.9 < int8 / half < 4.1, name
        assert (gpu.find_peak("fp8") is not None) is (gpu.sm >= 89), name
        assert (gpu.find_peak("bfloat16") is not None) is (gpu.sm >= 80), name
