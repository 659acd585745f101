"""Replicates that would not differ are refused, those that hardly do are warned of."""

from __future__ import annotations

from pathlib import Path

from preflight_bench import Bench


def ask(path: Path, count: int) -> None:
    path.write_text(path.read_text(encoding="utf-8") + f"replicates: {count}\n", encoding="utf-8")


def test_replicates_of_what_is_not_drawn_are_refused(bench: Bench) -> None:
    ask(bench.write_lane("lane02_x", "fp8: {scheme: FP8_DYNAMIC}"), 3)
    ask(bench.write_lane("lane03_x", "prune: {keep_layers: 28, selection: deepest}"), 2)
    bench.write_lane("lane04_x", "fp8: {scheme: FP8_DYNAMIC}")
    ask(bench.write_lane("lane05_x", "prune: {keep_layers: 27, selection: deepest}"), 1)
    first, second = (finding for finding in bench.collect() if finding.level == "fault")
    assert first.where == f"{bench.lanes}/lane02_x.yaml:5:1"
    assert "lane02_x is to have 3 replicates, and no stage of it calibrates or trains" in first.message
    assert first.remedy.startswith("take replicates out of lane02_x")
    assert second.where == f"{bench.lanes}/lane03_x.yaml:5:1"


def test_replicates_of_what_is_drawn_pass(bench: Bench) -> None:
    ask(bench.write_lane("lane02_x", "fp8: {scheme: FP8}"), 3)
    ask(bench.write_lane("lane03_x", "sft"), 3)
    ask(bench.write_lane("lane04_x", "prune: {keep_layers: 28, selection: deepest}", "distill"), 3)
    assert bench.collect() == []


def test_draws_that_share_many_rows_are_warned_of(bench: Bench) -> None:
    bench.change(lambda s: s["corpus"].update(calibration_rows=76))
    ask(bench.write_lane("lane02_x", "gptq: {scheme: W8A8, calibration_rows: 75}"), 2)
    assert bench.collect() == []  # a quarter of 300 rows
    ask(bench.write_lane("lane02_x", "gptq: {scheme: W8A8, calibration_rows: 76}"), 2)
    (finding,) = bench.collect()
    assert finding.level == "warning" and finding.where == f"{bench.lanes}/lane02_x.yaml:5:1"
    assert "two draws of 76 calibration rows from the 300 of manta share about 25% of them" in finding.message
    assert "at least 304 rows" in finding.remedy
