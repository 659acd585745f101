"""Bad input on the command line: a clear error, no traceback, nothing lost."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from commands import ROOT, Runner, make_environment
from filelock import FileLock

BAD_INPUT = 2


def check_error(text: str, *parts: str) -> None:
    assert "Traceback" not in text
    for part in parts:
        assert part in " ".join(text.split()), text


def test_an_unknown_lane_is_named_with_the_closest(run_script: Runner, tmp_path: Path) -> None:
    done = run_script("run_all.py", "--only", "lane01_gptq_w4a61", cwd=tmp_path, expect=BAD_INPUT)
    check_error(done.stderr, "unknown lane 'lane01_gptq_w4a61' (did you mean 'lane01_gptq_w4a16'?)")


def test_an_unknown_scheme_is_named_with_the_closest(run_script: Runner, tmp_path: Path) -> None:
    done = run_script("03_quantize.py", "--scheme", "W4A61", cwd=tmp_path, expect=BAD_INPUT)
    check_error(done.stderr, "unknown scheme 'W4A61' (did you mean 'W4A16'?)")


def test_all_problems_of_lane_files_come_at_once(
    run_script: Runner, experiment: Path, tmp_path: Path
) -> None:
    lanes = tmp_path / "lanes"
    shutil.copytree(experiment.parent, lanes)
    (lanes / "lane01_gptq_w4a16.yaml").write_text(
        "title: a\ntitle: b\ngroup: g\nstages: [gptq]\n", encoding="utf-8"
    )
    (lanes / "lane02_gptq_w4a16_damp.yaml").write_text(
        "title: a\ngroup: g\nstages:\n  - gptq: {scheme: W4A61, damping: 0.1}\n", encoding="utf-8"
    )
    options = ("--experiment", str(lanes / "experiment.yaml"))
    done = run_script("run_all.py", *options, cwd=tmp_path, expect=BAD_INPUT)
    check_error(
        done.stderr,
        "lane01_gptq_w4a16.yaml:2:1: duplicate key 'title' (first on line 1)",
        "lane02_gptq_w4a16_damp.yaml:4:12: scheme: unknown value 'W4A61' (did you mean 'W4A16'?)",
        "unknown name 'damping' (did you mean 'dampening'?)",
    )
    assert not (tmp_path / ".lanekit").exists()


def test_keep_layers_above_the_models_is_found_before_any_work(
    run_script: Runner, experiment: Path, tmp_path: Path
) -> None:
    lanes = tmp_path / "lanes"
    shutil.copytree(experiment.parent, lanes)
    lane = lanes / "lane10_prune28_kd_w4a16.yaml"
    lane.write_text(lane.read_text(encoding="utf-8").replace("28}", "31}"), encoding="utf-8")
    options = ("--experiment", str(lanes / "experiment.yaml"))
    done = run_script("run_all.py", *options, cwd=tmp_path, expect=BAD_INPUT)
    check_error(
        done.stderr, "lane10_prune28_kd_w4a16.yaml:4:1: keep_layers is 31, but the model has 30 layers"
    )


def test_a_missing_data_file_names_the_way_out(run_script: Runner, tmp_path: Path) -> None:
    options = ("--source", "manta=./nowhere.jsonl")
    done = run_script("01_prepare_data.py", *options, cwd=tmp_path, expect=BAD_INPUT)
    check_error(done.stderr, "nowhere.jsonl: no such file", "remedy:")


def test_an_unknown_data_set_is_named_with_the_closest(run_script: Runner, tmp_path: Path) -> None:
    options = ("--source", "kmmlu_por=./a.jsonl")
    done = run_script("01_prepare_data.py", *options, cwd=tmp_path, expect=BAD_INPUT)
    check_error(done.stderr, "unknown data set 'kmmlu_por' (did you mean 'kmmlu_pro'?)")


def test_an_unknown_parameter_is_named_with_the_closest(run_script: Runner, tmp_path: Path) -> None:
    options = ("--mode", "sft", "--set", "stepps=3")
    done = run_script("02_finetune_sft.py", *options, cwd=tmp_path, expect=BAD_INPUT)
    check_error(done.stderr, "unknown name 'stepps' (did you mean 'steps'?)")


def test_a_model_is_not_distilled_from_itself(run_script: Runner, tmp_path: Path) -> None:
    done = run_script("02_finetune_sft.py", "--mode", "kd", cwd=tmp_path, expect=BAD_INPUT)
    check_error(done.stderr, "would distil a model from itself", "--keep-layers", "--teacher")


def test_a_store_that_cannot_be_written_is_refused(run_script: Runner, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x", encoding="utf-8")
    done = run_script("run_all.py", "--store", "file/store", cwd=tmp_path, expect=1)
    check_error(done.stderr, "the store", "is not writable", "--store")


def test_a_store_in_use_is_refused(run_script: Runner, tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    with FileLock(tmp_path / "store" / ".run.lock"):
        done = run_script("run_all.py", "--store", "store", cwd=tmp_path, expect=BAD_INPUT)
    check_error(done.stderr, "another run uses the store", "remedy:")


def test_nothing_to_rank_says_what_to_run(run_script: Runner, tmp_path: Path) -> None:
    done = run_script("05_rank_and_package.py", cwd=tmp_path, expect=BAD_INPUT)
    check_error(done.stderr, "no results to rank", "04_eval_vllm.py")


@pytest.mark.parametrize("script", ["run_all.py", "enqueue_lane.py", "00_setup_check.py"])
def test_a_wrong_variable_is_one_line(script: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / script)], cwd=tmp_path, check=False, capture_output=True,
        env={**make_environment(), "LANEKIT_SLOTS": "abc"}, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == BAD_INPUT
    check_error(done.stderr, "LANEKIT_SLOTS=abc: input should be a valid integer", "correct the variable")


@pytest.mark.parametrize(
    "script",
    ["00_setup_check.py", "01_prepare_data.py", "02_finetune_sft.py", "03_quantize.py", "04_eval_vllm.py",
     "05_rank_and_package.py", "run_all.py", "make_tiny_data.py", "make_tiny_model.py", "make_env.py",
     "enqueue_lane.py", "status.py", "cancel.py", "retry.py", "fetch.py"],
)  # fmt: skip
def test_help_teaches(script: str) -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / script), "--help"],
        env=make_environment(), capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    assert f"python scripts/{script}" in done.stdout, "the help shows how the command is called"
