"""The page's charts: a name at every point, intervals, the front, and letters that need no scaling."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from lanekit.results.ranking import Interval, Ranking
from lanekit.results.schema import LaneRecord
from ranker.report.html_charts import draw_charts, draw_scatter, draw_scores
from ranker.report.html_parts import anchor_lane
from ranker.scoring.score import rank_lanes

WEIGHTS = {"kmmlu_pro": 0.5, "kmmlu_redux": 0.5}


@pytest.fixture
def ranking(make_record: Callable[..., LaneRecord]) -> Ranking:
    """Three lanes beside the baseline: two at one place, one apart that is large and on the front."""
    records = [
        make_record("baseline", seconds=0.1, size_bytes=2_000_000_000),
        make_record("near_a", seconds=0.05, pro=0.36, title="가까운 레인 A"),
        make_record("near_b", seconds=0.0501, pro=0.36),
        make_record("apart", seconds=0.08, pro=0.44, size_bytes=2_000_000_000),
    ]
    found = rank_lanes(records, WEIGHTS)
    for lane in found.lanes[1:]:
        assert lane.perf_norm and lane.speed_norm and lane.score
        lane.on_front = lane.record.lane == "apart"
        lane.perf_norm_interval = Interval(low=lane.perf_norm - 0.02, high=lane.perf_norm + 0.02)
        lane.speed_norm_interval = Interval(low=lane.speed_norm - 0.01, high=lane.speed_norm + 0.03)
        lane.score_interval = Interval(low=lane.score - 0.05, high=lane.score + 0.05)
    return found


def find_point(chart: str, lane: str) -> str:
    """Return a lane's link out of the scatter."""
    found = re.search(rf'<a class="point[^"]*" href="#{anchor_lane(lane)}".*?</a>', chart)
    assert found, lane
    return found[0]


def test_every_point_leads_to_its_lane_and_holds_its_name_and_numbers(ranking: Ranking) -> None:
    point = find_point(draw_scatter(ranking), "near_a")
    for expected in (
        "near_<wbr>a", "가까운 레인 A", "score 0.7300 [0.680,\u00a00.780]",
        "quality 0.9600 [0.940,\u00a00.980]",
        "speed gain +50.0 % (cpu) [49.0,\u00a053.0]", "971 MB",
    ):  # fmt: skip
        assert expected in point, expected


def test_a_point_names_those_that_may_lie_under_it(ranking: Ranking) -> None:
    chart = draw_scatter(ranking)
    assert "beside it: 2. near_b" in find_point(chart, "near_a")
    assert "beside it: 1. near_a" in find_point(chart, "near_b")
    assert "beside it" not in find_point(chart, "apart")
    assert re.findall(r"<text x=[^>]*>([^<]*)</text>", chart) == ["1–2", "3"]


def test_points_stand_by_speed_and_quality_and_grow_with_size(ranking: Ranking) -> None:
    chart = draw_scatter(ranking)
    places = {
        lane: [float(x) for x in re.findall(r"(?:left|bottom|size): ([\d.]+)", find_point(chart, lane))]
        for lane in ("baseline", "near_a", "apart")
    }
    assert places["baseline"][0] < places["apart"][0] < places["near_a"][0]  # speed
    assert places["near_a"][1] < places["baseline"][1] < places["apart"][1]  # quality
    assert places["near_a"][2] < places["apart"][2] == 20.0
    kinds = {lane: find_point(chart, lane).split('"')[1] for lane in places}
    assert kinds == {"baseline": "point base", "near_a": "point", "apart": "point front"}


def test_both_intervals_are_drawn_and_the_front_joined(ranking: Ranking) -> None:
    chart = draw_scatter(ranking)
    spans = [
        {key: float(x) for key, x in re.findall(r'([xy][12])="([\d.]+)%"', line)}
        for line in re.findall(r'<line class="span"[^>]*>', chart)
    ]
    assert sum(s["x1"] == s["x2"] and s["y1"] > s["y2"] for s in spans) == 3  # quality, upright
    assert sum(s["y1"] == s["y2"] and s["x1"] < s["x2"] for s in spans) == 3  # speed, level
    assert chart.count('<line class="front"') == 1  # the baseline is worse than `apart` in both


def test_a_lane_too_slow_to_show_has_no_interval_of_speed(ranking: Ranking) -> None:
    ranking.lanes[1].speed_norm = -2.5
    chart = draw_scatter(ranking)
    assert 'class="point off"' in chart
    assert chart.count('<line class="span"') == 5


def test_scores_have_bars_whiskers_ties_and_the_baselines_line(ranking: Ranking) -> None:
    first, second = ranking.lanes[1:3]
    first.tied_with, second.tied_with = [second.record.lane], [first.record.lane]
    chart = draw_scores(ranking)
    assert re.findall(r'href="#(lane-\w+)">(\d)', chart) == [
        ("lane-near_a", "1"), ("lane-near_b", "2"), ("lane-apart", "3"),
    ]  # fmt: skip
    widths = [float(x) for x in re.findall(r"<b style=[^>]*width: ([\d.]+)%", chart)]
    assert widths == sorted(widths, reverse=True) and 50 < widths[0] < 100
    assert chart.count('class="span"') == chart.count('class="ref"') == 3
    assert chart.count('class="tie"') == 1 and "--first: 1; --last: 2; --column: 0" in chart
    assert "baseline 0.500" in chart


def test_charts_are_labelled_and_scale_no_letters(ranking: Ranking) -> None:
    charts = draw_charts(ranking)
    assert re.findall(r'aria-labelledby="([^"]+)"', charts) == ["bars-caption", "scatter-caption"]
    assert "viewBox" not in charts
    assert charts.count('lang="ko"') >= 6


def test_ids_of_lanes_are_safe_and_differ() -> None:
    names = ["a b", "a_b", "a.b", "a.20.b", 'a"b', "레인", "a<b", "lane-a", "a"]
    anchors = [anchor_lane(name) for name in names]
    assert len(set(anchors)) == len(names)
    assert all(re.fullmatch(r"lane-[A-Za-z0-9_.-]+", anchor) for anchor in anchors)
    assert anchor_lane("lane01_gptq_w4a16") == "lane-lane01_gptq_w4a16"
