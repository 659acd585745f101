"""What the benchmarks share: turns, spreads, table, machine; and that each explains itself."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from commands import ROOT, make_environment

from benchmarks import measure
from benchmarks.suite import NAMES, load_benchmarks, write_suite

SCRIPTS = sorted(
    path.name
    for path in (ROOT / "scripts" / "benchmarks").glob("*.py")
    if '"__main__"' in path.read_text(encoding="utf-8")
)


def test_ways_take_turns_and_are_prepared() -> None:
    done: list[str] = []
    ways = {name: (lambda name=name: done.append(name)) for name in "abc"}
    timings = measure.Timings()
    for number in range(3):
        timings.run_round(number, ways, lambda: done.append("|"))
    assert "".join(done) == "|a|b|c|b|c|a|c|a|b"
    assert {name: len(seconds) for name, seconds in timings.seconds.items()} == {"a": 3, "b": 3, "c": 3}
    assert timings.cpu_seconds.keys() == timings.seconds.keys()


def test_a_way_that_tells_its_seconds_is_believed() -> None:
    timings = measure.Timings()
    timings.run_round(0, {"told": lambda: 12.5, "timed": lambda: None})
    assert timings.seconds["told"] == [12.5]
    assert 0 <= timings.seconds["timed"][0] < 1


def test_cpu_seconds_are_told_by_what_is_asked() -> None:
    clock = iter((10.0, 14.0))
    timings = measure.Timings(read_cpu=lambda: next(clock))
    timings.run_round(0, {"a": lambda: None})
    assert timings.cpu_seconds == {"a": [4.0]}


def test_spreads_and_ratios_are_the_rounds_own() -> None:
    assert measure.show_spread([3.0, 1.0, 2.0], ".2f") == ("2.00", "1.00 to 3.00")
    assert measure.list_ratios([2.0, 3.0], [1.0, 6.0]) == [2.0, 0.5]


def test_the_table_is_markdown() -> None:
    assert measure.render_table(("way", "s"), [("a", "1"), ("b", "2")]).splitlines() == [
        "| way | s |", "| :--- | ---: |", "| a | 1 |", "| b | 2 |",
    ]  # fmt: skip


def test_the_machine_is_described(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    line = measure.describe_machine("pydantic", "no-such-package")
    assert "OMP_NUM_THREADS 3" in line and "Python 3." in line and "pydantic 2." in line
    assert "no-such-package" not in line


def test_json_goes_where_it_is_asked_for(tmp_path: Path) -> None:
    measure.write_json(None, {})
    measure.write_json(tmp_path / "x.json", {"가": 1})
    assert json.loads((tmp_path / "x.json").read_text(encoding="utf-8")) == {"가": 1}


def test_the_suite_is_what_needs_no_judge(tmp_path: Path) -> None:
    rows = write_suite(tmp_path, copies=2)
    assert sorted(path.stem for path in tmp_path.iterdir()) == sorted(rows) == sorted(NAMES)
    assert len(rows["kmmlu_pro"]) == 240 and rows["kmmlu_pro"][0] == rows["kmmlu_pro"][120]
    benchmarks = load_benchmarks(max_prompt_tokens=90)
    assert [benchmark.name for benchmark in benchmarks] == list(NAMES)
    assert benchmarks[-1].max_prompt_tokens == 90 != load_benchmarks()[-1].max_prompt_tokens


@pytest.mark.slow
@pytest.mark.parametrize("script", SCRIPTS)
def test_each_benchmark_explains_itself(script: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "benchmarks" / script), "--help"],
        cwd=tmp_path, env=make_environment(), capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "usage:" in done.stdout and "Examples" in done.stdout
