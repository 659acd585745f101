"""Estimates of memory and disk: against what was measured, and against each other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from twelve import load_twelve

from lanekit.host.checkout import find_project_root
from lanekit.spec import estimates
from lanekit.spec.estimates import (
    EXAONE_SHAPE,
    estimate_device_bytes,
    estimate_host_bytes,
    name_memory_knobs,
    read_shape,
)
from lanekit.spec.evaluation import EngineParams, EvaluateParams
from lanekit.spec.experiment_file import load_experiment_lanes
from lanekit.spec.stages import STAGE_TYPES

GB = 1e9
# Stage, what the benchmark changed of lanes/experiment.yaml, GB of the GPU, GB of main memory: the highest of
# each in scripts/benchmarks/results/real_size_h100.json.
MEASURED: list[tuple[str, dict[str, Any], float, float]] = [
    ("sft", {}, 16.97, 4.47),
    ("distill", {}, 22.01, 7.63),
    ("post_sft", {}, 13.35, 13.61),
    ("prune", {"keep_layers": 28}, 3.66, 4.06),
    ("gptq", {"scheme": "W4A16", "calibration_rows": 32}, 1.87, 8.09),
    ("gptq", {"scheme": "W8A16", "calibration_rows": 32}, 1.87, 8.14),
    ("fp8", {"scheme": "FP8", "calibration_rows": 32}, 1.39, 7.80),
    ("fp8", {"scheme": "FP8_DYNAMIC", "calibration_rows": 32}, 3.20, 3.94),
]
MEASURED_DISK_GB = 38.29 + 3 * 0.971  # store and submissions, and each package unzipped once
PACKAGED = ("lane02", "lane08", "lane09")
MODEL_GB = 2.559


def make_params(stage: str, changes: dict[str, Any]) -> Any:
    text = (find_project_root() / "lanes" / "experiment.yaml").read_text(encoding="utf-8")
    defaults = yaml.safe_load(text)["stage_defaults"].get(stage, {})
    return STAGE_TYPES[stage].params.model_validate({**defaults, **changes})


@pytest.mark.parametrize(("stage", "changes", "device_gb", "host_gb"), MEASURED)
def test_estimates_are_within_a_fifth_of_what_was_measured(
    stage: str, changes: dict[str, Any], device_gb: float, host_gb: float
) -> None:
    params = make_params(stage, changes)
    assert estimate_device_bytes(params, EXAONE_SHAPE) == pytest.approx(device_gb * GB, rel=0.2)
    assert estimate_host_bytes(params, EXAONE_SHAPE, on_gpu=True) == pytest.approx(host_gb * GB, rel=0.2)


def test_the_disk_estimate_is_within_a_quarter_of_what_was_measured() -> None:
    lanes = load_twelve(find_project_root() / "lanes" / "experiment.yaml")[1]
    packaged = [lane for lane in lanes if lane.name.startswith(PACKAGED)]
    estimated = estimates.estimate_disk_bytes(int(MODEL_GB * GB), lanes, 3, False, packaged)
    assert estimated == pytest.approx(MEASURED_DISK_GB * GB, rel=0.25)
    assert estimates.estimate_disk_bytes(int(MODEL_GB * GB), lanes, 3, False) > estimated


def test_quantizing_on_a_cpu_is_estimated_as_it_was_measured() -> None:
    """5.4 GB for GPTQ over 8 rows of 256 tokens, at the real size."""
    params = make_params("gptq", {"scheme": "W4A16", "calibration_rows": 8, "max_length": 256})
    assert estimate_host_bytes(params, EXAONE_SHAPE, on_gpu=False) == pytest.approx(5.4 * GB, rel=0.1)


def test_smoothing_takes_what_the_other_stage_that_only_looks_takes() -> None:
    smooth = make_params("smooth", {"max_length": 1024})
    prune = make_params("prune", {"keep_layers": 28, "max_length": 1024})
    assert estimate_device_bytes(smooth, EXAONE_SHAPE) == estimate_device_bytes(prune, EXAONE_SHAPE)
    assert name_memory_knobs(smooth, on_host=False) == "max_length"


def test_the_shape_of_exaone_has_its_parameters() -> None:
    assert pytest.approx(1.279e9, rel=0.001) == EXAONE_SHAPE.parameters


def test_a_shape_is_read_from_a_config() -> None:
    config = {
        "num_hidden_layers": 30, "hidden_size": 2048, "intermediate_size": 4096, "num_attention_heads": 32,
        "num_key_value_heads": 8, "head_dim": 64, "vocab_size": 102_400, "tie_word_embeddings": True,
    }  # fmt: skip
    assert read_shape(config) == EXAONE_SHAPE
    with pytest.raises(KeyError):
        read_shape({"hidden_size": 2048})


@pytest.mark.parametrize(
    ("more", "less"),
    [
        ({"batch_size": 8}, {"batch_size": 4}),
        ({"max_length": 2048}, {"max_length": 1024}),
        ({"gradient_checkpointing": False}, {"gradient_checkpointing": True}),
    ],
)
def test_more_work_at_once_wants_more_memory(more: dict[str, Any], less: dict[str, Any]) -> None:
    assert estimate_device_bytes(make_params("sft", more), EXAONE_SHAPE) > (
        estimate_device_bytes(make_params("sft", less), EXAONE_SHAPE) or 0
    )


def test_adam_keeps_more_than_adafactor() -> None:
    adam, adafactor = (
        estimate_device_bytes(make_params("distill", {"optimizer": name}), EXAONE_SHAPE) or 0
        for name in ("adamw_torch", "adafactor")
    )
    assert adam - adafactor == pytest.approx(1.1 * 7.9 * EXAONE_SHAPE.parameters, rel=0.01)


def test_awq_keeps_what_goes_in_and_comes_out_of_a_layer_on_the_device() -> None:
    few, many = (
        estimate_device_bytes(make_params("awq", {"scheme": "W4A16", "calibration_rows": n}), EXAONE_SHAPE)
        or 0
        for n in (100, 356)
    )
    assert many - few == pytest.approx(1.1 * 3 * 256 * 2048 * 2048 * 2, rel=0.001)


def test_autoround_needs_more_than_awq_by_a_batch_and_what_it_learns() -> None:
    def estimate(stage: str, **more: int) -> int:
        params = make_params(stage, {"scheme": "W4A16", "calibration_rows": 64, **more})
        return estimate_device_bytes(params, EXAONE_SHAPE) or 0

    small, large = (estimate("autoround", batch_size=size) for size in (2, 8))
    assert large - small == pytest.approx(1.1 * 6 * 2048 * (2048 + 4096) * 20, rel=0.001)
    assert small - estimate("awq") > 1.1 * 12 * EXAONE_SHAPE.layer_parameters


@pytest.mark.parametrize(
    ("stage", "changes", "on_host", "knobs"),
    [
        ("gptq", {"scheme": "W4A16"}, True, "calibration_rows or max_length"),
        ("fp8", {"scheme": "FP8_DYNAMIC"}, True, ""),
        ("awq", {"scheme": "W4A16"}, False, "calibration_rows or max_length"),
        ("sft", {}, False, "batch_size or max_length (and set optimizer: adafactor)"),
        ("distill", {}, False, "batch_size or max_length"),
        ("sft", {}, True, ""),
        ("prune", {"keep_layers": 28}, False, "max_length"),
    ],
)
def test_a_remedy_names_what_lowers_the_need(
    stage: str, changes: dict[str, Any], on_host: bool, knobs: str
) -> None:
    assert name_memory_knobs(make_params(stage, changes), on_host=on_host) == knobs


def test_an_engine_takes_what_it_is_given() -> None:
    params = EvaluateParams(engine=EngineParams(engine="vllm"), benchmarks=())
    assert estimate_device_bytes(params, EXAONE_SHAPE) is None


@pytest.mark.parametrize(("dtype", "model_gb"), [("float32", 5.12), ("bfloat16", 2.56)])
def test_a_screen_holds_two_models_and_a_batch_of_logits_of_each(dtype: str, model_gb: float) -> None:
    found = estimate_device_bytes(make_params("compare_logits", {"dtype": dtype}), EXAONE_SHAPE)
    logits_gb = (4 if dtype == "float32" else 2) * 2**27 / 1e9
    assert found == pytest.approx(1e9 * (1.1 * 2 * (model_gb + logits_gb) + 0.6), rel=0.02)


def test_disk_estimate_counts_shared_artifacts_once(lanes_folder: Path) -> None:
    lanes = load_experiment_lanes(lanes_folder / "experiment.yaml")[1]
    by_number = {lane.name.split("_")[0]: lane for lane in lanes}
    base = 1000

    def estimate(*numbers: str, top_k: int = 0) -> float:
        chosen = [by_number[number] for number in numbers]
        return estimates.estimate_disk_bytes(base, chosen, top_k, False) / base / estimates.DISK_MARGIN

    four, eight = estimates.FOUR_BIT_SHARE, estimates.EIGHT_BIT_SHARE
    assert estimate() == pytest.approx(1, abs=0.01)
    assert estimate("lane01") == pytest.approx(1 + four, abs=0.01)
    assert estimate("lane03") == pytest.approx(1 + eight, abs=0.01)
    assert estimate("lane01", "lane08") == pytest.approx(1 + 2 * four, abs=0.01)
    assert estimate("lane05", "lane06", "lane07") == pytest.approx(2 + 2 * four, abs=0.01)
    assert estimate("lane10") == pytest.approx(3 + four, abs=0.01)
    packages = estimates.COPIES_OF_PACKAGE * (1 + eight)
    assert estimate("lane01", "lane03", "lane05", top_k=2) == pytest.approx(
        2 + four + eight + packages, abs=0.01
    )
    hub = estimates.estimate_disk_bytes(base, [], 0, True)
    assert hub == pytest.approx(2 * base * estimates.DISK_MARGIN, abs=1)
