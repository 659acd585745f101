"""Which lanes an experiment runs, what is wrong with the names of them, and the most calibration rows."""

from __future__ import annotations

from pathlib import Path

import pytest
from preflight_bench import Bench

from lanekit.commands.preflight import Inputs, read_inputs
from lanekit.errors import InputError
from lanekit.spec.experiment_file import load_experiment_lanes
from lanekit.spec.lane_file import Lane

NAMES = ("lane01_x", "lane02_y", "lane13_z")


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """Three lanes, the second of which needs no data."""
    bench = Bench(tmp_path)
    bench.write_lane("lane02_y", "fp8: {scheme: FP8_DYNAMIC}")
    bench.write_lane("lane13_z", "gptq: {scheme: W8A8, calibration_rows: 24}")
    return bench


def select(bench: Bench, *names: str) -> None:
    bench.change(lambda settings: settings.update(lanes=list(names)))


def name_all(lanes: list[Lane]) -> list[str]:
    return [lane.name for lane in lanes]


def choose(inputs: Inputs, *names: str, **options: bool) -> list[str]:
    return name_all(inputs.choose_lanes(list(names), **options))


def test_every_lane_runs_where_the_experiment_names_none(bench: Bench) -> None:
    inputs = read_inputs(bench.experiment)
    assert choose(inputs) == list(NAMES) == choose(inputs, every=True)
    assert inputs.experiment.lanes is None


def test_the_named_lanes_run_in_the_order_of_the_files(bench: Bench) -> None:
    select(bench, "lane13", "lane01_x")
    inputs = read_inputs(bench.experiment)
    assert choose(inputs) == ["lane01_x", "lane13_z"]
    assert inputs.experiment.lanes == ("lane01_x", "lane13_z")
    assert name_all(load_experiment_lanes(bench.experiment)[1]) == ["lane01_x", "lane13_z"]
    assert name_all(inputs.choose_lanes([], 1)) == ["lane01_x"]
    assert bench.list_texts() == []


def test_the_others_are_there_by_name_and_all_at_once(bench: Bench) -> None:
    select(bench, "lane01")
    inputs = read_inputs(bench.experiment)
    assert choose(inputs, "lane13", "lane02_y") == ["lane13_z", "lane02_y"]
    assert choose(inputs, every=True) == list(NAMES)
    with pytest.raises(
        InputError, match="--all-lanes runs every lane, and lanes are named as well"
    ) as caught:
        choose(inputs, "lane02", every=True)
    assert caught.value.remedy == "leave one of them out"


def test_what_is_wrong_with_the_names_comes_at_once_with_its_place(bench: Bench) -> None:
    select(bench, "lane01", "lane77", "lane02_y", "lane01_x", "lane13_zz")
    line = bench.experiment.read_text(encoding="utf-8").splitlines().index("lanes:") + 2
    known = "; known lanes: lane01_x, lane02_y, lane13_z"
    assert bench.list_texts() == [
        f"lanes/experiment.yaml:{line + 1}:3: unknown lane 'lane77'{known}",
        f"lanes/experiment.yaml:{line + 3}:3: 'lane01_x' names lane01_x a second time (first as 'lane01'): "
        "take it out",
        f"lanes/experiment.yaml:{line + 4}:3: unknown lane 'lane13_zz' (did you mean 'lane13_z'?){known}",
    ]
    assert all(finding.remedy for finding in bench.collect())


@pytest.mark.parametrize(
    ("value", "expected"), [([], "'lanes' names no lane"), ("lane01", "lanes: "), ([3], "lanes.0: ")]
)
def test_a_selection_that_is_no_list_of_names_is_refused(bench: Bench, value: object, expected: str) -> None:
    bench.change(lambda settings: settings.update(lanes=value))
    with pytest.raises(InputError, match=r"experiment\.yaml:") as caught:
        load_experiment_lanes(bench.experiment)
    assert expected in caught.value.message


def test_a_lane_that_cannot_be_read_is_not_called_unknown(bench: Bench) -> None:
    bench.write_lane("lane02_y", "stf")
    select(bench, "lane02")
    (text,) = bench.list_texts()
    assert text.startswith("lanes/lane02_y.yaml:4:5: unknown stage 'stf'")


def test_a_bundles_one_lane_is_enough_for_it(bench: Bench) -> None:
    select(bench, "lane01", "lane02")
    (bench.lanes / "lane02_y.yaml").unlink()
    inputs = read_inputs(bench.experiment, has_all_lanes=False)
    assert inputs.problems == [] and choose(inputs, "lane01") == ["lane01_x"]
    assert "unknown lane 'lane02'" in read_inputs(bench.experiment).problems[0].message


@pytest.mark.parametrize(("most", "expected"), [(None, 24), (23, 23), (24, 24), (500, 24)])
def test_no_stage_gets_more_calibration_rows_than_the_limit(
    bench: Bench, most: int | None, expected: int
) -> None:
    if most:
        bench.change(lambda settings: settings.update(limit_calibration_rows=most))
    for lanes in (load_experiment_lanes(bench.experiment)[1], read_inputs(bench.experiment).lanes):
        assert [getattr(lane.stages[0].params, "calibration_rows", 0) for lane in lanes][2] == expected
