"""The tables on what bounds each form."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from lanekit.results.ranking import RankedLane, Ranking
from lanekit.results.schema import LaneRecord
from lanekit.results.speed import Bound, FormBound, ModelCost
from ranker.report.tables_bound import name_verdict, tabulate_bounds, tabulate_lane_bounds
from ranker.report.tables_speed import tabulate_costs

Maker = Callable[..., LaneRecord]


def make_bound(share: float | None, verdict: Bound = "", host: float | None = None) -> FormBound:
    return FormBound(
        seconds=0.00225, read_bytes=1, operations=1, host_share=host, memory_share=share,
        compute_share=None if share is None else 0.013, verdict=verdict,
    )  # fmt: skip


@pytest.fixture
def lane(make_record: Maker) -> RankedLane:
    record = make_record("a")
    assert record.speed
    record.speed.cost = ModelCost(
        weight_bytes_per_step=971_000_000, kv_bytes_per_context_token=61_440, roofline_ratio=0.34,
        roofline_form="decode_b1", compute_dtype="int8", peak_operations_per_s=1979e12,
        prefill_tokens_per_s=260_126.4,
        bounds={"decode_b1": make_bound(0.34, "host", 0.65), "prefill": make_bound(0.01)},
    )  # fmt: skip
    record.speed.baseline_cost = ModelCost(
        weight_bytes_per_step=1, bounds={"decode_b1": make_bound(0.7, "memory bandwidth", 0.1)}
    )
    return RankedLane(rank=1, record=record)


def make_ranking(*lanes: RankedLane) -> Ranking:
    return Ranking(experiment="", lanes=list(lanes), weights_used={}, notes=[])


def test_each_form_has_its_verdict_and_what_it_rests_on(lane: RankedLane) -> None:
    table = tabulate_bounds(make_ranking(lane))
    assert table and [head.name for head in table.heads] == [
        "lane", "decode_b1", "prefill", "prefill, tokens/s", "of the peak",
    ]  # fmt: skip
    _, decode, prefill, rate, peak = table.rows[0].cells
    assert (decode.value, decode.below) == ("host", "host 65 %, memory 34 %, compute 1 %, 2.25 ms")
    assert (prefill.value, prefill.below) == ("none alone", "memory 1 %, compute 1 %, 2.25 ms")
    assert (rate.value, peak.value, peak.below) == ("260,126", "1 %", "int8, 1,979 T/s")


def test_a_lanes_own_table_stands_beside_the_baselines(lane: RankedLane) -> None:
    table = tabulate_lane_bounds(lane)
    assert table and [[cell.value for cell in row.cells] for row in table.rows] == [
        ["decode_b1", "host", "memory bandwidth"], ["prefill", "none alone", "–"],
    ]  # fmt: skip


def test_the_verdict_stands_beside_the_roofline(lane: RankedLane) -> None:
    table = tabulate_costs(make_ranking(lane))
    assert table
    values = [(cell.value, cell.below) for cell in table.rows[0].cells[1:5]]
    assert values == [("971", ""), ("61,440", ""), ("34 %", "decode_b1"), ("host", "")]


def test_of_a_device_that_is_not_known_there_is_no_table(lane: RankedLane) -> None:
    speed = lane.record.speed
    assert speed and speed.cost
    speed.cost.bounds = {"decode_b1": make_bound(None)}
    assert tabulate_bounds(make_ranking(lane)) is None and tabulate_lane_bounds(lane) is None
    assert name_verdict(speed.cost.bounds, "decode_b1") == name_verdict({}, "") == "–"
    speed.cost = None
    assert tabulate_bounds(make_ranking(lane)) is None and tabulate_lane_bounds(lane) is None
