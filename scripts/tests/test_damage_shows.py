"""The tiny model is worth compressing: pruning hurts, distillation heals, eight bits are near lossless."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml
from commands import ROOT, Runner, read_table

pytestmark = pytest.mark.slow

LANES = {
    "lane31_prune28": [{"prune": {"keep_layers": 28}}],
    "lane32_prune26": [{"prune": {"keep_layers": 26}}],
    "lane33_prune28_kd": [{"prune": {"keep_layers": 28}}, "distill"],
    "lane34_w8a16": [{"gptq": {"scheme": "W8A16"}}],
}
CHANCE = 0.25


def test_pruning_hurts_distillation_heals_and_w8a16_is_near_lossless(
    run_script: Runner, experiment: Path, tmp_path: Path
) -> None:
    lanes = tmp_path / "lanes"
    shutil.copytree(experiment.parent / "benchmarks", lanes / "benchmarks")
    settings = yaml.safe_load(experiment.read_text(encoding="utf-8"))
    demo = yaml.safe_load((ROOT / "lanes" / "experiment.demo.yaml").read_text(encoding="utf-8"))
    del settings["lanes"], settings["limit_calibration_rows"]
    for part in ("corpus", "stage_defaults", "evaluation"):  # all items, and the demo's own numbers
        settings[part] = demo[part]
    del settings["evaluation"]["limit_items"]
    for benchmark in ("ko_longrag", "komt_bench"):  # long to read, and not what is looked at
        del settings["data"][benchmark], settings["scoring"]["benchmark_weights"][benchmark]
    settings["speed"] |= {"batch_sizes": [1], "prefill_tokens": 0, "free_items": 0, "benchmark_items": 0}
    settings["speed"]["score_form"] = "decode_b1"
    (lanes / "experiment.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    for name, stages in LANES.items():
        lane = {"title": name, "group": "Test", "stages": stages}
        (lanes / f"{name}.yaml").write_text(yaml.safe_dump(lane), encoding="utf-8")

    run_script("run_all.py", "--experiment", str(lanes / "experiment.yaml"), cwd=tmp_path)
    table = read_table(tmp_path)
    for benchmark in ("kmmlu_pro", "kmmlu_redux"):
        value = {lane: float(row[benchmark]) for lane, row in table.items()}
        base = value["baseline"]
        assert base >= 0.70 > CHANCE
        assert value["lane31_prune28"] <= base - 0.10
        assert value["lane32_prune26"] <= base - 0.30
        assert value["lane33_prune28_kd"] >= base - 0.10
        assert abs(value["lane34_w8a16"] - base) <= 0.03
