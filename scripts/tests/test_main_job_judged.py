"""The main job with a judge: KoMT-Bench counts, equal answers are judged once, and no key is left behind."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import yaml
from commands import Runner, read_table
from judge_endpoint import Answer, serve

pytestmark = pytest.mark.slow

LANE = "lane03_gptq_w8a16"


def write_judged(experiment: Path, url: str) -> Path:
    """Write the reduced experiment with a judge beside it, and return its path."""
    settings = yaml.safe_load(experiment.read_text(encoding="utf-8"))
    settings["evaluation"]["judge"] = {"url": url, "model": "small-judge", "retries": 0, "timeout_s": 20}
    path = experiment.parent / "experiment.judged.yaml"
    path.write_text(yaml.safe_dump(settings, allow_unicode=True), encoding="utf-8")
    return path


def test_a_judged_benchmark_counts(
    run_script: Runner, experiment: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LANEKIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("LANEKIT_JUDGE_API_KEY", "sk-not-to-be-seen")
    options = ("--only", "lane03")
    with serve(lambda number, _body: Answer(f"Rating: [[{5 + number % 3}]]")) as endpoint:
        judged = ("--experiment", str(write_judged(experiment, endpoint.url)), *options)
        run_script("run_all.py", *judged, cwd=tmp_path)
        asked = {str(request["messages"]) for request in endpoint.requests}
        assert len(endpoint.requests) == len(asked), "equal answers of two lanes are judged once"
        assert 2 * 8 <= len(asked) <= 2 * 2 * 8, "two turns of eight items, of the baseline and a lane"
        assert set(endpoint.keys) == {"Bearer sk-not-to-be-seen"}
    table = read_table(tmp_path)
    for row in table.values():
        values = [float(row[name]) for name in ("kmmlu_pro", "kmmlu_redux", "ko_longrag", "komt_bench")]
        assert 0 < values[-1] <= 0.7
        assert math.isclose(float(row["perf"]), sum(values) / 4)
    assert "is left out" not in (tmp_path / "results" / "summary.md").read_text(encoding="utf-8")
    compared = run_script("compare_lanes.py", "baseline", LANE, "--benchmark", "komt_bench", cwd=tmp_path)
    assert "komt_bench" in compared.stdout
    for path in tmp_path.rglob("*"):
        assert not path.is_file() or b"sk-not-to-be-seen" not in path.read_bytes(), path
    again = run_script("run_all.py", *judged, cwd=tmp_path)  # the judge is gone by now
    assert "running:" not in again.stdout

    # Without a judge nothing is generated anew, and its weight is shared in the open.
    done = run_script("run_all.py", *options, cwd=tmp_path)
    assert "running: evaluate" not in done.stdout and "running: speed" not in done.stdout
    assert "komt_bench (weight 0.25) is left out: no judge is configured" in (
        tmp_path / "results" / "summary.md"
    ).read_text(encoding="utf-8")
