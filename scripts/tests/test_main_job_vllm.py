"""The real vLLM on this machine's CPU: the baseline and one unquantized lane, ranked and packaged."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
from commands import Runner, read_table

pytestmark = [
    pytest.mark.slow,
    pytest.mark.vllm,
    pytest.mark.skipif(
        importlib.util.find_spec("vllm") is None, reason="no vLLM build for this machine's CPU"
    ),
]


def test_baseline_and_an_unquantized_lane(run_script: Runner, tmp_path: Path) -> None:
    run_script("run_all.py", "--engine", "vllm", "--slots", "1", "--only", "lane05", cwd=tmp_path)
    table = read_table(tmp_path)
    assert table["lane05_sft_fp16"]["status"] == "ok"
    assert table["lane05_sft_fp16"]["engine"] == "vllm"
    assert float(table["baseline"]["perf"]) > 0.5
    assert (tmp_path / "submissions" / "submit_top1.zip").is_file()
