"""The main job with the real stages: results, resume, a lane that fails."""

from __future__ import annotations

import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml
from commands import ROOT, EmbeddedRun, Runner, make_environment, read_table
from composed import N_LANES

from lanekit.spec.experiment_file import load_experiment_lanes

pytestmark = pytest.mark.slow

FEW_LANES = "lane03,lane05"


def read_manifests(store: Path) -> dict[str, dict[str, Any]]:
    return {
        str(path.parent.relative_to(store)): json.loads(path.read_text(encoding="utf-8"))
        for path in sorted(store.glob("*/*/manifest.json"))
    }


@pytest.fixture(scope="module")
def finished(embedded_run: EmbeddedRun, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the main job has run."""
    return shutil.copytree(embedded_run.folder, tmp_path_factory.mktemp("finished") / "main-job")


def test_the_table_holds_every_lane_and_the_baseline(finished: Path) -> None:
    header = (finished / "results" / "summary.csv").read_text(encoding="utf-8").splitlines()[0]
    assert header.startswith(
        "rank,lane,group,status,perf,perf_norm,s_per_token,speed_norm,score,size_bytes,reason"
    )
    table = read_table(finished)
    demo = load_experiment_lanes(ROOT / "lanes" / "experiment.demo.yaml")[1]
    assert set(table) == {"baseline", *(lane.name for lane in demo)}
    assert all(row["status"] == "ok" for row in table.values())
    ranks = sorted(int(row["rank"]) for lane, row in table.items() if lane != "baseline")
    assert ranks == list(range(1, N_LANES + 1))


def test_the_score_is_the_formulas(finished: Path) -> None:
    table = read_table(finished)
    base_perf = float(table["baseline"]["perf"])
    assert base_perf > 0.5, "the tiny model must know its world"
    by_rank = []
    for lane, row in table.items():
        perf_norm = float(row["perf"]) / base_perf
        assert row["speed_form"] == "benchmark"
        speed_norm = 1 - float(row["ratio_benchmark"])  # the median of the pairs, each timed in turn
        assert math.isclose(float(row["perf_norm"]), perf_norm)
        assert math.isclose(float(row["speed_norm"]), speed_norm, abs_tol=1e-12)
        assert math.isclose(float(row["score"]), max(0.5 * perf_norm + 0.5 * speed_norm, 0), abs_tol=1e-12)
        if lane != "baseline":
            by_rank.append((int(row["rank"]), float(row["score"])))
    assert [score for _, score in sorted(by_rank)] == sorted((s for _, s in by_rank), reverse=True)
    assert float(table["baseline"]["score"]) == 0.5


def test_quantized_lanes_are_smaller_and_speeds_are_marked(finished: Path) -> None:
    table = read_table(finished)
    base = int(table["baseline"]["size_bytes"])
    assert int(table["lane03_gptq_w8a16"]["size_bytes"]) < 0.65 * base
    assert int(table["lane05_sft_fp16"]["size_bytes"]) == pytest.approx(base, rel=0.01)
    assert "cpu" in table["baseline"]["device"].lower()
    assert "cpu" in (finished / "results" / "summary.md").read_text(encoding="utf-8").lower()


def test_post_sft_kept_every_packed_weight(finished: Path) -> None:
    manifests = read_manifests(finished / ".lanekit" / "store")
    store = finished / ".lanekit" / "store"
    from trainer.models.packed import hash_tensors

    paths = [path for path in manifests if path.startswith("models/post_sft-")]
    assert len(paths) == 2
    for path in paths:
        parent_key = manifests[path]["inputs"]["model"]
        (parent,) = [p for p, m in manifests.items() if m["key"] == parent_key]
        assert manifests[parent]["stage"] == "gptq"
        before, after = hash_tensors(store / parent), hash_tensors(store / path)
        assert set(before) == set(after)
        assert any(name.endswith("weight_packed") for name in before)
        changed = {name for name in before if before[name] != after[name]}
        assert changed and all(name.endswith("norm.weight") for name in changed)


def test_three_packages_are_whole_licensed_and_verified(finished: Path) -> None:
    table = read_table(finished)
    by_rank = {row["rank"]: lane for lane, row in table.items()}
    for position in (1, 2, 3):
        folder = finished / "submissions" / f"top{position}"
        archive = finished / "submissions" / f"submit_top{position}.zip"
        names = {p.name for p in folder.iterdir()}
        assert {"config.json", "model.safetensors", "tokenizer.json", "README.md"} <= names
        assert any(name.startswith("LICENSE") for name in names)
        assert by_rank[str(position)].replace("_", "-") in (folder / "README.md").read_text(encoding="utf-8")
        with zipfile.ZipFile(archive) as stored:
            assert stored.testzip() is None
            assert {Path(name).name for name in stored.namelist()} == names
    manifests = read_manifests(finished / ".lanekit" / "store")
    verified = [p for p, m in manifests.items() if m["stage"] == "verify_package"]
    assert len(verified) == 3
    for path in verified:
        text = (finished / ".lanekit" / "store" / path / "verification.json").read_text(encoding="utf-8")
        assert json.loads(text)["n_tokens"] > 0


def test_a_second_run_computes_nothing(finished: Path, run_script: Runner) -> None:
    store = finished / ".lanekit" / "store"
    before, table = read_manifests(store), read_table(finished)
    done = run_script("run_all.py", cwd=finished)
    assert "running:" not in done.stdout
    assert read_manifests(store) == before
    assert read_table(finished) == table


def test_kill_and_resume_recomputes_only_what_was_not_committed(
    finished: Path, run_script: Runner, experiment: Path, tmp_path: Path
) -> None:
    command = [
        sys.executable, str(ROOT / "scripts" / "run_all.py"),
        "--experiment", str(experiment), "--only", FEW_LANES,
    ]  # fmt: skip
    store = tmp_path / ".lanekit" / "store"
    process = subprocess.Popen(
        command, cwd=tmp_path, env=make_environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 600
    while len(read_manifests(store)) < 5 or not list_unfinished(store):
        assert process.poll() is None, "the run ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.05)
    children = psutil.Process(process.pid).children(recursive=True)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    _, alive = psutil.wait_procs(children, timeout=20)
    assert not alive, "stage processes must end with their parent"
    committed = read_manifests(store)
    run_script("run_all.py", "--only", FEW_LANES, cwd=tmp_path)
    after = read_manifests(store)
    assert {path: after[path] for path in committed} == committed
    whole = {p for p, m in read_manifests(finished / ".lanekit" / "store").items() if is_lane_work(m)}
    assert {p for p, m in after.items() if is_lane_work(m)} < whole, "equal keys in every store"
    assert not list_unfinished(store)
    table = read_table(finished)
    quality = {lane: row["perf"] for lane, row in read_table(tmp_path).items()}
    assert len(quality) == 3 and quality == {lane: table[lane]["perf"] for lane in quality}


def list_unfinished(store: Path) -> list[Path]:
    """Return the outputs of stages that run, or were cut off."""
    return [path for path in (store / "scratch").glob("*/*") if path.is_dir()]


def is_lane_work(manifest: dict[str, Any]) -> bool:
    """Ranking and packaging follow the measured speeds, which differ from run to run."""
    return manifest["stage"] not in ("rank", "package", "verify_package")


def test_a_failed_lane_stands_in_the_table_and_stops_no_other(
    finished: Path, run_script: Runner, experiment: Path, tmp_path: Path
) -> None:
    lanes = tmp_path / "lanes"
    shutil.copytree(experiment.parent, lanes)
    (lanes / "lane90_diverges.yaml").write_text(
        yaml.safe_dump(
            {"title": "Diverges", "group": "SFT", "stages": [{"sft": {"learning_rate": 1e30, "steps": 20}}]}
        ),
        encoding="utf-8",
    )
    options = ("--experiment", str(lanes / "experiment.yaml"), "--only", "lane03,lane90")
    shutil.copytree(finished / ".lanekit", tmp_path / ".lanekit")
    run_script("run_all.py", *options, cwd=tmp_path, expect=1)
    table = read_table(tmp_path)
    assert table["lane03_gptq_w8a16"]["rank"] == "1"
    assert table["lane90_diverges"]["status"] == "failed"
    assert table["lane90_diverges"]["rank"] == ""
    assert "stage sft: the loss is" in table["lane90_diverges"]["reason"]
    assert list(table)[-1] == "lane90_diverges"
    assert (tmp_path / "submissions" / "submit_top1.zip").is_file()
    assert not (tmp_path / "submissions" / "submit_top2.zip").exists()


def test_a_truncated_artifact_fails_its_users_by_name(
    finished: Path, run_script: Runner, tmp_path: Path
) -> None:
    shutil.copytree(finished / ".lanekit", tmp_path / ".lanekit")
    store = tmp_path / ".lanekit" / "store"
    (weights,) = store.glob("models/gptq_w8a16-*/model.safetensors")
    weights.write_bytes(weights.read_bytes()[:-100])
    manifests = read_manifests(store)
    damaged = manifests[str(weights.parent.relative_to(store))]["key"]
    (evaluated,) = [
        path for path, manifest in manifests.items()
        if manifest["stage"] == "evaluate" and manifest["inputs"]["model"] == damaged
    ]  # fmt: skip
    shutil.rmtree(store / evaluated)
    run_script("run_all.py", "--only", "lane03,lane05", cwd=tmp_path, expect=1)
    table = read_table(tmp_path)
    assert "model.safetensors: truncated or changed" in table["lane03_gptq_w8a16"]["reason"]
    assert table["lane05_sft_fp16"]["status"] == "ok"
    shutil.rmtree(weights.parent)  # what the message says to do
    run_script("run_all.py", "--only", "lane03,lane05", cwd=tmp_path)
    assert read_table(tmp_path)["lane03_gptq_w8a16"]["status"] == "ok"
