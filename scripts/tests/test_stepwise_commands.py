"""The commands one by one, on local files, as a person without the planner would use them."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from commands import ROOT, Runner, read_table

from lanekit.files.model_folder import read_config

pytestmark = pytest.mark.slow

FIXTURE = str(ROOT / "scripts" / "tiny" / "fixture")


def test_from_data_to_packages(run_script: Runner, data_folder: Path, tmp_path: Path) -> None:
    rows = [json.loads(x) for x in (data_folder / "manta.jsonl").read_text(encoding="utf-8").splitlines()]
    pq.write_table(pa.Table.from_pylist(rows[:400]), tmp_path / "manta.parquet")
    manta = ("--source", "manta=manta.parquet")

    printed = run_script("01_prepare_data.py", *manta, cwd=tmp_path).stdout
    assert "train 200, validation 16, calibration 32" in printed

    run_script(
        "02_finetune_sft.py", "--mode", "kd", "--keep-layers", "28", "--input-model", FIXTURE,
        "--output", "kd28", "--set", "steps=2", *manta, cwd=tmp_path,
    )  # fmt: skip
    assert read_config(tmp_path / "kd28")["num_hidden_layers"] == 28
    run_script("02_finetune_sft.py", "--mode", "sft", "--output", "sft", *manta, cwd=tmp_path)

    run_script(
        "03_quantize.py", "--input-model", "kd28", "--output", "kd28-w4", "--scheme", "W4A16",
        "--dampening", "0.02", *manta, cwd=tmp_path,
    )  # fmt: skip
    quantization = read_config(tmp_path / "kd28-w4")["quantization_config"]
    assert quantization["format"] == "pack-quantized"
    run_script(
        "02_finetune_sft.py", "--mode", "post_sft", "--input-model", "kd28-w4", "--output", "kd28-w4-post",
        *manta, cwd=tmp_path,
    )  # fmt: skip
    again = run_script(
        "03_quantize.py", "--input-model", "kd28", "--output", "kd28-w4", "--scheme", "W4A16",
        "--dampening", "0.02", *manta, cwd=tmp_path, expect=2,
    )  # fmt: skip
    assert "not an empty folder" in again.stderr
    run_script("03_quantize.py", "--lane", "lane04", *manta, cwd=tmp_path)

    run_script("04_eval_vllm.py", "--model", FIXTURE, "--baseline", cwd=tmp_path)
    run_script("04_eval_vllm.py", "--model", "kd28-w4-post", "--lane-id", "own_kd28", cwd=tmp_path)
    run_script("04_eval_vllm.py", "--model", "sft", "--lane-id", "own_sft", cwd=tmp_path)
    assert (tmp_path / "results" / "baseline.json").is_file()

    run_script("05_rank_and_package.py", cwd=tmp_path)
    table = read_table(tmp_path)
    assert set(table) == {"baseline", "own_kd28", "own_sft"}
    assert {table["own_kd28"]["rank"], table["own_sft"]["rank"]} == {"1", "2"}
    assert (tmp_path / "submissions" / "submit_top2.zip").is_file()


def test_a_quantized_model_is_refused_where_a_dense_one_is_needed(run_script: Runner, tmp_path: Path) -> None:
    run_script("03_quantize.py", "--scheme", "FP8_DYNAMIC", "--output", "fp8", cwd=tmp_path)
    done = run_script("02_finetune_sft.py", "--mode", "sft", "--input-model", "fp8", cwd=tmp_path, expect=2)
    assert "'sft' needs an unquantized model" in done.stderr
