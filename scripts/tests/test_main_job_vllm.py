"""The real vLLM on this machine's CPU: the baseline and one unquantized lane, ranked and packaged."""

from __future__ import annotations

import importlib.util
import json
import shutil
from pathlib import Path

import pytest
import yaml
from commands import Runner, read_table

pytestmark = [
    pytest.mark.slow,
    pytest.mark.vllm,
    pytest.mark.skipif(
        importlib.util.find_spec("vllm") is None, reason="no vLLM build for this machine's CPU"
    ),
]


def test_baseline_and_an_unquantized_lane(run_script: Runner, experiment: Path, tmp_path: Path) -> None:
    """Each of the two models has its engine started once; a package is the lane's own model."""
    lanes = tmp_path / "lanes"
    shutil.copytree(experiment.parent, lanes)
    settings = yaml.safe_load((lanes / "experiment.yaml").read_text(encoding="utf-8"))
    settings["speed"]["batch_sizes"] = [settings["evaluation"]["batch_size"]]  # so many sequences in both
    path = lanes / "experiment.yaml"
    path.write_text(yaml.safe_dump(settings, allow_unicode=True), encoding="utf-8")
    options = ("--experiment", str(path), "--engine", "vllm", "--slots", "1", "--only", "lane05")
    run_script("run_all.py", *options, cwd=tmp_path)
    table = read_table(tmp_path)
    assert table["lane05_sft_fp16"]["status"] == "ok"
    assert table["lane05_sft_fp16"]["engine"] == "vllm"
    assert float(table["baseline"]["perf"]) > 0.5
    assert (tmp_path / "submissions" / "submit_top1.zip").is_file()
    starts = read_starts(tmp_path / ".lanekit" / "store")
    assert sorted(name.partition("-")[0] for name in starts) == [
        "evaluate", "evaluate", "speed", "speed", "verify",
    ]  # fmt: skip
    assert sum(starts.values()) == 2, starts


def read_starts(store: Path) -> dict[str, int]:
    """Return how many engines each stage started, by the name of its artifact."""
    reports = [*store.glob("results/*/report.json"), *store.glob("results/*/verification.json")]
    found = {path.parent.name: json.loads(path.read_text(encoding="utf-8")) for path in reports}
    return {name: report["engine_starts"] for name, report in found.items() if "engine_starts" in report}
