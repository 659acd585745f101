"""Lanes by name: files that are passed over, options that name nothing, the closest name."""

from __future__ import annotations

from pathlib import Path

import pytest
from preflight_bench import Bench

from lanekit.commands.preflight import read_inputs
from lanekit.errors import InputError
from lanekit.spec.lane_file import MAX_LANE_BYTES, find_passed_over, match_names, parse_names

KNOWN = [f"lane{number:02}_x" for number in range(1, 15)]


@pytest.mark.parametrize(
    "name",
    ["lane13_mine.yml", "Lane14_mine.yaml", "LANE15.YAML", "lane16.yaml.txt", "my_lane.yaml", "lnae17.yaml"],
)
def test_lane_files_that_are_passed_over_are_told(tmp_path: Path, name: str) -> None:
    bench = Bench(tmp_path)
    bench.write_lane("lane01_x", "gptq: {scheme: W8A16}").rename(bench.lanes / name)
    bench.write_lane("lane01_x", "gptq: {scheme: W8A8}")
    (finding,) = bench.collect()
    assert finding.level == "warning" and finding.where == str(bench.lanes / name)
    assert "is not read" in finding.message and "rename it, e.g. to lane1" in finding.remedy
    assert finding.remedy.endswith(".yaml")


def test_other_files_are_no_lanes(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    for name in ("lane01.yaml.bak", "lane02.yaml~", ".lane03.yml", "README.md"):
        bench.write_lane("lane09", "sft").rename(bench.lanes / name)
    (bench.lanes / "revisions.yaml").write_text("models: {}\n", encoding="utf-8")
    (bench.lanes / "lane22_dir.yml").mkdir()
    assert find_passed_over(bench.lanes) == []


def test_a_file_too_large_for_a_lane_is_not_looked_at(tmp_path: Path) -> None:
    text = "stages: [sft]\n".ljust(MAX_LANE_BYTES)
    for name, size_bytes in (("largest.yml", MAX_LANE_BYTES), ("larger.yml", MAX_LANE_BYTES + 1)):
        (tmp_path / name).write_text(text.ljust(size_bytes), encoding="utf-8")
    assert find_passed_over(tmp_path) == [tmp_path / "largest.yml"]


def test_a_lane_whose_file_is_passed_over_is_told_where_it_is_wanted(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.write_lane("lane13_mine", "sft", suffix=".yml")
    with pytest.raises(InputError, match="unknown lane 'lane13'") as caught:
        read_inputs(bench.experiment).choose_lanes(["lane13"])
    assert "lane13_mine.yml: this lane file is not read" in caught.value.message
    assert "rename it, e.g. to lane13_mine.yaml" in caught.value.remedy


def test_lanes_are_not_chosen_where_a_file_is_at_fault(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.write_lane("lane20_x", "stf")
    inputs = read_inputs(bench.experiment)
    assert [lane.name for lane in inputs.choose_lanes(["lane20"])] == ["lane01_x"]
    assert "lanes/lane20_x.yaml:4:5: unknown stage 'stf'" in bench.list_texts()[0]


@pytest.mark.parametrize("text", [",", "", " , ", " "])
def test_an_option_that_names_no_lane_is_refused(text: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_names(text)
    assert caught.value.message == f"--only '{text}' names no lane"
    assert caught.value.remedy == "name lanes, e.g. lane01,lane04; or leave --only out"


def test_names_of_an_option() -> None:
    assert parse_names(None) == []
    assert parse_names("lane01, lane04_x,") == ["lane01", "lane04_x"]
    assert match_names(KNOWN, ["lane04", "lane01_x", "lane04_x"]) == ["lane04_x", "lane01_x"]


@pytest.mark.parametrize(
    ("wanted", "closest"),
    [
        ("lan04", "lane04_x"), ("lane4", "lane04_x"), ("4", "lane04_x"), ("LANE04", "lane04_x"),
        ("lane004", "lane04_x"), ("lane04_y", "lane04_x"), ("l14", "lane14_x"), ("lane1", "lane01_x"),
    ],
)  # fmt: skip
def test_the_closest_lane_is_named(wanted: str, closest: str) -> None:
    with pytest.raises(InputError) as caught:
        match_names(KNOWN, [wanted])
    assert caught.value.message == f"unknown lane '{wanted}' (did you mean '{closest}'?)"


def test_a_full_name_is_closer_to_one_spelt_alike_than_to_one_of_its_number() -> None:
    with pytest.raises(InputError) as caught:
        match_names(["lane04_fp8", "lane14_gptq_w4a16"], ["lane04_gptq_w4a16"])
    assert caught.value.message == "unknown lane 'lane04_gptq_w4a16' (did you mean 'lane14_gptq_w4a16'?)"


def test_no_lane_is_close_to_another_word() -> None:
    known = [f"{name}_of_many_words" for name in KNOWN]
    for word in ("everything", "lane99"):
        with pytest.raises(InputError) as caught:
            match_names(known, [word])
        assert caught.value.message == f"unknown lane '{word}'"
        assert caught.value.remedy.startswith("known lanes: lane01_x_of_many_words, ")
