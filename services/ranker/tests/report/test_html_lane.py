"""A lane's part of the page: its stages, quality, flips, speed, kernels, and the way to its items."""

from __future__ import annotations

import re
from collections.abc import Callable
from html import unescape

import pytest

from lanekit.results.ranking import BenchmarkStatistics, Interval, Ranking
from lanekit.results.schema import LaneRecord, LaneStage
from lanekit.results.speed import ModelCost, SpeedForm
from ranker.report.html_lane import NAMED_ITEMS, draw_lane, draw_lanes
from ranker.report.notes import collect_remarks
from ranker.scoring.score import rank_lanes

WEIGHTS = {"kmmlu_pro": 0.5, "kmmlu_redux": 0.5}
LANE, ODD = "lane01_w4", "lane 02 <&>"
NASTY = '"><script>alert(1)</script>'


@pytest.fixture
def ranking(make_record: Callable[..., LaneRecord]) -> Ranking:
    """A baseline, a lane with all that there is to show, one with an odd name, and one that failed."""
    lane = make_record(
        LANE, pro=0.44, seconds=0.05, model="models/gptq-0123", evaluation="results/evaluate-4567",
        stages=["models/sft-89ab", "models/gptq-0123"],
        recipe=[
            LaneStage(name="sft", parameters={"rows": 512, "targets": ["q_proj", "v_proj"], "pack": False}),
            LaneStage(name="gptq", parameters={"scheme": "W4A16", "note": NASTY}),
        ],
        stage_seconds={"sft": 90.0, "gptq": 12.25, "evaluate": 30.5},
    )  # fmt: skip
    assert lane.speed
    forms = {
        "decode_b8": SpeedForm(
            kind="decode", s_per_token=0.05, s_per_token_all=[0.05], baseline_s_per_token=0.1,
            baseline_s_per_token_all=[0.1], ratio=0.5, ratio_low=0.48, ratio_high=0.52, n_sequences=8,
            tokens=256, baseline_tokens=256, seconds=1.0, baseline_seconds=2.0,
        )
    }  # fmt: skip
    lane.speed.cost = ModelCost(weight_bytes_per_step=9, kernels={"qkv_proj: Marlin": 30, "lm_head: BF16": 1})
    failed = LaneRecord(lane="lane03_bad", status="failed", reason="stage sft: no memory", log_tail=["last"])
    base, odd = make_record("baseline"), make_record(ODD, pro=0.2, model=NASTY)
    for record in (base, lane, odd):
        assert record.speed
        record.speed.form, record.speed.forms = "decode_b8", forms
        record.speed.baseline_cost = ModelCost(
            weight_bytes_per_step=20, kernels={"qkv_proj: BF16": 30, "lm_head: BF16": 1}
        )
    found = rank_lanes([base, lane, odd, failed], WEIGHTS)
    mine = next(x for x in found.lanes if x.record.lane == LANE)
    mine.has_items, mine.speed_norm_interval = True, Interval(low=0.48, high=0.52)
    mine.pooled_with, mine.pooled_ratios = [ODD], {"decode_b8": 0.49}
    mine.benchmark_statistics = {
        "kmmlu_pro": BenchmarkStatistics(
            recovery=1.1, difference=0.04, p_value=0.1, test="exact McNemar", n_better=2, n_worse=1,
            better_items=["pro-7", NASTY], worse_items=["pro-9"],
        ),
        "kmmlu_redux": BenchmarkStatistics(
            recovery=1.0, difference=0.0, p_value=1.0, test="exact McNemar", n_better=0, n_worse=60,
            worse_items=[f"redux-{n:03d}" for n in range(60)],
        ),
    }  # fmt: skip
    next(x for x in found.lanes if x.record.lane == ODD).has_items = True
    return found


@pytest.fixture
def part(ranking: Ranking) -> str:
    """The part of the lane with all that there is to show."""
    place = [x.record.lane for x in ranking.lanes].index(LANE)
    return draw_lane(ranking, place, list(WEIGHTS))


def read(part: str) -> str:
    """Return a part's text."""
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", part.replace("<wbr>", ""))).split())


def test_stages_have_all_parameters_their_place_and_seconds(part: str) -> None:
    stages = re.findall(r"<li>(.*?)</li>", part)
    assert [read(stage) for stage in stages] == [
        'sft 90.0 s · models/sft-89ab rows: 512 targets: ["q_proj", "v_proj"] pack: false',
        f"gptq 12.2 s · models/gptq-0123 scheme: W4A16 note: {NASTY}",
    ]
    assert "Beside them: evaluate 30.5 s; 133 s in all." in part


def test_a_record_without_a_recipe_still_has_places_and_seconds(ranking: Ranking) -> None:
    lane = next(x for x in ranking.lanes if x.record.lane == LANE)
    lane.record.recipe = []
    part = draw_lane(ranking, ranking.lanes.index(lane), list(WEIGHTS))
    assert "<li>models/sft-89ab</li>" in part
    assert "sft 90.0 s · gptq 12.2 s · evaluate 30.5 s; 133 s in all." in part


def test_what_a_stage_did_not_do_as_asked_is_told_on_page_and_in_the_summary(ranking: Ranking) -> None:
    lanes = {lane.record.lane: lane for lane in ranking.lanes}
    assert not any("did less" in note for note in collect_remarks(ranking))
    lanes[LANE].record.notes = ["sft did less", "post_sft changed nothing"]
    lanes["lane03_bad"].record.notes = ["sft did less"]
    part = draw_lane(ranking, ranking.lanes.index(lanes[LANE]), list(WEIGHTS))
    assert "not as asked 비고 sft did less; post_sft changed nothing" in read(part)
    remarks = collect_remarks(ranking)
    assert f"`{LANE}`, `lane03_bad`: sft did less" in remarks
    assert f"`{LANE}`: post_sft changed nothing" in remarks


def test_quality_stands_beside_the_baselines(part: str) -> None:
    row = re.search(r"<tr><td>kmmlu_pro</td>(.*?)</tr>", part)
    assert row
    assert re.findall(r"<td[^>]*>([^<]*)", row[1]) == [
        "0.4400", "0.4000", "110.0 %", "+0.0400", "2 / 1", "0.10", "–", "100",
    ]  # fmt: skip


def test_flips_are_counted_and_named_each_way(part: str) -> None:
    flips = re.findall(r'<(?:details|div) class="flips">.*?</(?:details|div)>', part)
    assert [read(flip) for flip in flips[:2]] == [
        "right → wrong 정답 → 오답 1 pro-9",
        f"wrong → right 오답 → 정답 2 pro-7 {NASTY}",
    ]
    assert read(flips[2]).startswith("right → wrong 정답 → 오답 60 redux-000 redux-001")
    assert flips[2].count("<code>") == NAMED_ITEMS and "… and 20 more" in flips[2]
    assert flips[3].startswith("<div") and read(flips[3]).endswith("0")


def test_graded_values_are_worse_or_better_and_what_is_not_compared_is_left_out(ranking: Ranking) -> None:
    lane = next(x for x in ranking.lanes if x.record.lane == LANE)
    lane.record.benchmarks["kmmlu_pro"].metric = "f1"
    lane.benchmark_statistics["kmmlu_redux"] = BenchmarkStatistics()
    part = draw_lane(ranking, ranking.lanes.index(lane), list(WEIGHTS))
    assert part.count('class="flips"') == 2
    assert "worse" in part and "right →" not in part


def test_forms_and_kernels_stand_beside_the_baselines(part: str) -> None:
    text = read(part)
    assert (
        "decode_b8 · score 디코드 50.000 ± 0 % 100.000 ± 0 % +50.0 % [+48.0 %, +52.0 %]; pooled +51.0 %"
    ) in text
    rows = re.findall(r"<tr><td>([^<]*: [^<]*)</td><td[^>]*>([^<]*)</td><td[^>]*>([^<]*)</td></tr>", part)
    assert rows == [
        ("lm_head: BF16", "1", "1"), ("qkv_proj: BF16", "–", "30"), ("qkv_proj: Marlin", "30", "–"),
    ]  # fmt: skip


def test_items_are_linked_from_both_places_that_hold_them(ranking: Ranking, part: str) -> None:
    assert re.findall(r'href="(\./[^"]*)"', part) == [
        f"./{LANE}/items.parquet", f"./lanes/{LANE}/items.parquet",
    ]  # fmt: skip
    assert "compare_lanes.py baseline lane01_w4" in read(part)
    odd = next(n for n, x in enumerate(ranking.lanes) if x.record.lane == ODD)
    assert 'href="./lane%2002%20%3C%26%3E/items.parquet"' in draw_lane(ranking, odd, list(WEIGHTS))
    assert "items.parquet" not in draw_lane(ranking, 0, list(WEIGHTS))  # the ranking has none of it


def test_a_failed_lane_says_why(ranking: Ranking) -> None:
    part = draw_lane(ranking, len(ranking.lanes) - 1, list(WEIGHTS))
    assert "stage sft: no memory" in part and "<pre>last</pre>" in part
    assert "<table" not in part and "Stages" not in part


def test_facts_and_ways_between_the_lanes(ranking: Ranking, part: str) -> None:
    text = read(part)
    for expected in (
        "rank 순위 1", "speed gain 속도 향상 +50.0 % (cpu) [48.0, 52.0]",
        "one speed with 같은 형상 lane 02 <&>", "items in its text 오염 문항 none",
        "model 모델 models/gptq-0123", "evaluation 평가 results/evaluate-4567",
    ):  # fmt: skip
        assert expected in text, expected
    assert "judgement" not in text
    assert re.findall(r"<nav>.*?</nav>", part)[0].count("<a ") == 3
    parts = draw_lanes(ranking, list(WEIGHTS))
    targets = set(re.findall(r'href="#([^"]+)"', parts)) - {"ranking"}
    assert targets <= set(re.findall(r' id="([^"]+)"', parts)) and len(targets) == 4


def test_nothing_of_a_record_becomes_markup(ranking: Ranking) -> None:
    parts = draw_lanes(ranking, list(WEIGHTS))
    assert "<script" not in parts and "&lt;script&gt;" in parts
    assert parts == draw_lanes(ranking, list(WEIGHTS))
