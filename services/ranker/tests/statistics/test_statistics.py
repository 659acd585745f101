"""Intervals, paired tests, Holm, ties and the front, against scipy, by hand and by simulation."""

from __future__ import annotations

import math
import resource
import time
from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats

from lanekit.results.ranking import Interval, RankedLane, Ranking
from lanekit.results.schema import BenchmarkResult, LaneRecord
from lanekit.results.speed import SpeedForm
from ranker.report.notes import collect_warnings
from ranker.report.points import find_tied_runs
from ranker.scoring.score import TIE_RULE, rank_lanes
from ranker.statistics.items import ItemValues, LaneItems, find_unlike_values
from ranker.statistics.lanes import SITTING_NOTE, TIED_RULE, Resampling, add_statistics, find_ties

QUICK = Resampling(resamples=2000)
Values = dict[str, dict[str, list[float]]]  # lane: benchmark: values


def compute_statistics(
    make_record: Callable[..., LaneRecord],
    values: Values,
    seconds: dict[str, list[float]] | None = None,
    method: Resampling = QUICK,
) -> Ranking:
    """Rank lanes with these values by item; `seconds` are the repeats, the baseline's 0.1 s/token."""
    records, items = [], {}
    for lane, benchmarks in values.items():
        repeats = (seconds or {}).get(lane, [0.1, 0.1, 0.1])
        record = make_record(lane, seconds=float(np.median(repeats)))
        assert record.speed
        record.speed.s_per_token_all = repeats
        record.benchmarks = {
            name: BenchmarkResult(metric="accuracy", version=1, value=float(np.mean(v)), n_items=len(v))
            for name, v in benchmarks.items()
        }
        records.append(record)
        items[lane] = {name: make_items(v) for name, v in benchmarks.items()}
    ranking = rank_lanes(records, {"a": 0.5, "b": 0.5})
    add_statistics(ranking, items, 0.5, method)
    return ranking


def make_items(values: list[float]) -> ItemValues:
    keys = tuple((f"id{i}", i) for i in range(len(values)))
    return ItemValues(keys, np.array(values, dtype=float), tuple("same" for _ in keys))


def draw_right(n_items: int, share: float, seed: int) -> list[float]:
    return [float(x < share) for x in np.random.default_rng(seed).random(n_items)]


def test_statistics_of_a_benchmark_by_hand(make_record: Callable[..., LaneRecord]) -> None:
    base, lane = [1.0] * 6 + [0.0] * 4, [1.0] * 3 + [0.0] * 6 + [1.0]
    ranking = compute_statistics(
        make_record, {"baseline": {"a": base, "b": base}, "lane": {"a": lane, "b": base}}
    )
    found = ranking.lanes[1].benchmark_statistics["a"]
    assert found.recovery == pytest.approx(0.4 / 0.6)
    assert found.difference == pytest.approx(-0.2)
    assert (found.n_better, found.n_worse) == (1, 3)
    assert found.p_value == found.p_adjusted == pytest.approx(2 * (1 + 4) / 2**4)
    assert found.interval and found.interval.low < 0.4 < found.interval.high
    assert found.recovery_interval and found.recovery_interval.low < 0.66 < found.recovery_interval.high
    same = ranking.lanes[1].benchmark_statistics["b"]
    assert same.recovery_interval and (same.recovery_interval.low, same.recovery_interval.high) == (1, 1)
    assert (same.p_value, same.difference) == (1.0, 0.0)
    head = ranking.lanes[0].benchmark_statistics["a"]
    assert head.interval and head.recovery is head.p_value is None


def test_recovery_over_a_baseline_of_zero_has_no_value(make_record: Callable[..., LaneRecord]) -> None:
    values = {
        "baseline": {"a": [0.0] * 20, "b": [1.0, 0.0] * 10},
        "lane": {"a": [1.0, 0.0] * 10, "b": [1.0] * 20},
    }
    found = compute_statistics(make_record, values).lanes[1].benchmark_statistics["a"]
    assert found.recovery is found.recovery_interval is None
    assert found.difference == pytest.approx(0.5)


def test_a_scores_interval_holds_it_and_widens_with_the_repeats(
    make_record: Callable[..., LaneRecord],
) -> None:
    values = {
        lane: {"a": draw_right(200, 0.5, 1), "b": draw_right(200, 0.6, 2)}
        for lane in ("baseline", "calm", "rough")
    }
    seconds = {"calm": [0.05, 0.05, 0.05], "rough": [0.045, 0.05, 0.06]}
    ranking = compute_statistics(make_record, values, seconds)
    calm, rough = (next(x for x in ranking.lanes if x.record.lane == n) for n in ("calm", "rough"))
    for lane in (calm, rough):
        assert lane.score_interval and lane.score is not None
        assert lane.score_interval.low <= lane.score <= lane.score_interval.high
        assert lane.perf_norm_interval and lane.perf_norm_interval.low == lane.perf_norm_interval.high == 1
    assert calm.score_interval and calm.score_interval.low == calm.score_interval.high  # nothing moved
    assert rough.score_interval and rough.score_interval.high - rough.score_interval.low > 0.05


def test_lanes_are_tied_where_nothing_between_them_can_be_told_apart(
    make_record: Callable[..., LaneRecord],
) -> None:
    right = draw_right(400, 0.6, 1)
    values: Values = {name: {"a": right, "b": right} for name in ("baseline", "twin1", "twin2")}
    values["near"] = {"a": [0.0, 0.0, *right[2:]], "b": right}
    values["far"] = {"a": [0.0] * 200 + right[200:], "b": right}
    ranking = compute_statistics(
        make_record, values, dict.fromkeys(("twin1", "twin2", "near", "far"), [0.05] * 3)
    )
    tied = {lane.record.lane: lane.tied_with for lane in ranking.lanes}
    assert tied == {
        "baseline": [], "twin1": ["twin2", "near"], "twin2": ["twin1", "near"], "near": ["twin1", "twin2"],
        "far": [],
    }  # fmt: skip
    assert {x.record.lane for x in ranking.lanes if x.on_front} == {"twin1", "twin2"}  # equal: on it together
    assert ranking.rules == [SITTING_NOTE, TIED_RULE.format(percent="95"), TIE_RULE]


def test_ties_are_mutual_runs_even_where_being_alike_is_not_transitive() -> None:
    lanes = [RankedLane(rank=n, record=LaneRecord(lane=name)) for n, name in enumerate("ABCD", start=1)]
    ranking = Ranking(experiment="", lanes=lanes, weights_used={}, notes=[])
    noise = np.random.default_rng(3)
    shared = 0.001 * noise.standard_normal(4000)
    scores = {  # A and D are alike, A and C are, B and C are not
        "A": 0.60 + 0.02 * noise.standard_normal(4000), "B": 0.595 + shared, "C": 0.585 + 0.9 * shared,
        "D": 0.57 + 0.06 * noise.standard_normal(4000),
    }  # fmt: skip
    find_ties(ranking, scores, 0.95)
    assert [lane.tied_with for lane in lanes] == [["B"], ["A"], ["D"], ["C"]]
    assert find_tied_runs(lanes) == [(0, 1), (2, 3)]


def test_a_lane_without_an_interval_does_not_part_those_around_it() -> None:
    lanes = [RankedLane(rank=n, record=LaneRecord(lane=name)) for n, name in enumerate("AXB", start=1)]
    ranking = Ranking(experiment="", lanes=lanes, weights_used={}, notes=[])
    draws = np.random.default_rng(1).standard_normal(1000)
    find_ties(ranking, {"A": 0.5 + draws, "B": 0.49 - draws}, 0.95)
    assert [lane.tied_with for lane in lanes] == [["B"], [], ["A"]]


def test_a_lane_timed_once_has_an_interval_of_quality_alone(make_record: Callable[..., LaneRecord]) -> None:
    right = {"a": draw_right(200, 0.5, 1), "b": draw_right(200, 0.6, 2)}
    values = dict.fromkeys(("baseline", "once", "thrice"), right)
    ranking = compute_statistics(make_record, values, {"once": [0.05], "thrice": [0.05] * 3})
    by_name = {lane.record.lane: lane for lane in ranking.lanes}
    once = by_name["once"]
    assert once.rank and once.perf_norm_interval and once.score_interval is None and once.tied_with == []
    assert by_name["thrice"].score_interval
    assert "Timed once, so no interval of speed and score, and no tie: once." in ranking.notes


def test_ratings_that_one_side_lacks_are_left_out_of_both_and_warned_of(
    make_record: Callable[..., LaneRecord],
) -> None:
    base = [0.1] * 4 + np.random.default_rng(1).choice([0.2, 0.5, 0.8], 76).tolist()
    lane = [math.nan] * 4 + base[4:]  # the very same answers, the four worst not rated
    records, items = [], {}
    for name, values in (("baseline", base), ("gaps", lane), ("same", base)):
        result = BenchmarkResult(metric="judge", version=1, value=float(np.nanmean(values)), n_items=80)
        records.append(make_record(name, benchmarks={"komt": result}))
        items[name] = {"komt": make_items(values)}
    ranking = rank_lanes(records, {"komt": 1.0})
    add_statistics(ranking, items, 0.5, QUICK)
    by_name = {x.record.lane: x for x in ranking.lanes}
    found = by_name["gaps"].benchmark_statistics["komt"]
    assert (found.difference, found.recovery, found.p_value) == (0.0, pytest.approx(1.0), 1.0)
    assert (found.n_better, found.n_worse) == (0, 0)
    for interval in (found.recovery_interval, by_name["gaps"].perf_norm_interval):
        assert interval and interval.low == interval.high == pytest.approx(1.0)
    assert by_name["gaps"].perf == pytest.approx(np.nanmean(lane))  # the value on record stays
    (warning,) = [note for note in collect_warnings(ranking) if "no rating" in note]
    assert warning == (
        "Of the 80 items of komt other ones have no rating than the baseline's 0: gaps 4. Values, Perf and "
        "score are over the items rated of each; recovery, Δ, tests, intervals and ties over those rated "
        "of both."
    )


def test_a_benchmark_of_another_form_has_no_statistics(make_record: Callable[..., LaneRecord]) -> None:
    right = draw_right(100, 0.5, 1)
    records = []
    for name, version in (("baseline", 1), ("fine", 1), ("newer", 2)):
        result = BenchmarkResult(metric="accuracy", version=version, value=float(np.mean(right)), n_items=100)
        records.append(make_record(name, benchmarks={"a": result}))
    ranking = rank_lanes(records, {"a": 1.0})
    add_statistics(ranking, {r.lane: {"a": make_items(right)} for r in records}, 0.5, QUICK)
    by_name = {x.record.lane: x for x in ranking.lanes}
    assert by_name["fine"].benchmark_statistics["a"].p_value == 1.0
    assert by_name["newer"].benchmark_statistics == {} and by_name["newer"].rank is None
    otherwise = (
        "Scored otherwise than the baseline (version, metric, items or judge), and not compared: newer (a)."
    )
    assert otherwise in ranking.notes
    ranking = rank_lanes([records[0], records[2]], {"a": 1.0})  # nothing but the baseline has a score
    add_statistics(ranking, {r.lane: {"a": make_items(right)} for r in records}, 0.5, QUICK)
    assert ranking.notes == [otherwise] and ranking.lanes[0].benchmark_statistics["a"].interval


def test_a_contaminated_lane_takes_no_other_off_the_front(make_record: Callable[..., LaneRecord]) -> None:
    values = {n: {"a": draw_right(100, 0.5, 1), "b": [1.0] * 50} for n in ("baseline", "honest")}
    values["cheat"] = {"a": [1.0] * 100, "b": [1.0] * 50}
    records, items = [], {}
    for name, benchmarks in values.items():
        results = {n: BenchmarkResult(metric="accuracy", version=1, value=float(np.mean(v)), n_items=len(v))
                   for n, v in benchmarks.items()}  # fmt: skip
        counts = {"a": 100} if name == "cheat" else {}
        records.append(make_record(name, benchmarks=results, contamination=counts))
        items[name] = {n: make_items(v) for n, v in benchmarks.items()}
    ranking = rank_lanes(records, {"a": 0.5, "b": 0.5})
    add_statistics(ranking, items, 0.5, QUICK)
    on_front = {x.record.lane: x.on_front for x in ranking.lanes}
    assert ranking.lanes[1].record.lane == "cheat"
    assert (on_front["cheat"], on_front["honest"]) == (False, True)


def test_lanes_whose_items_are_unknown_are_ranked_without_statistics(
    make_record: Callable[..., LaneRecord],
) -> None:
    right = draw_right(100, 0.6, 1)
    benchmarks = {n: BenchmarkResult(metric="accuracy", version=1, value=float(np.mean(right)), n_items=100)
                  for n in "ab"}  # fmt: skip
    names = ("baseline", "a_gone", "fine")
    records = [make_record(n, benchmarks=benchmarks, contamination=None) for n in names]
    records.append(make_record("a_failed", benchmarks=benchmarks, status="failed", reason="out of memory"))
    records.append(make_record("b_partly", benchmarks={"a": benchmarks["a"]}))
    fine: LaneItems = {n: make_items(right) for n in "ab"}
    items = dict.fromkeys(("baseline", "fine", "a_failed", "b_partly"), fine)
    ranking = rank_lanes(records, {"a": 0.5, "b": 0.5})
    (unknown,) = ranking.notes
    add_statistics(ranking, items, 0.5, QUICK)
    by_name = {lane.record.lane: lane for lane in ranking.lanes}
    assert by_name["fine"].score_interval and by_name["fine"].tied_with == []
    assert by_name["a_gone"].rank and not by_name["a_gone"].benchmark_statistics
    assert not by_name["a_failed"].benchmark_statistics
    assert list(by_name["b_partly"].benchmark_statistics) == ["a"]
    assert ranking.notes == ["No per-item outputs, so no interval, test or tie: a_gone.", unknown]


def test_without_the_baselines_items_nothing_is_paired(make_record: Callable[..., LaneRecord]) -> None:
    right = draw_right(100, 0.6, 1)
    result = BenchmarkResult(metric="accuracy", version=1, value=float(np.mean(right)), n_items=100)
    records = [make_record(n, benchmarks={"a": result}) for n in ("baseline", "fine")]
    ranking = rank_lanes(records, {"a": 1.0})
    add_statistics(ranking, {"fine": {"a": make_items(right)}}, 0.5, QUICK)
    assert ranking.lanes[1].score is not None and ranking.lanes[1].score_interval is None
    assert not any(lane.benchmark_statistics for lane in ranking.lanes)
    assert ranking.notes == ["No per-item outputs, so no interval, test or tie: baseline."]


@pytest.mark.parametrize(
    ("others", "named"), [(1, "o0"), (4, "o0, o1, o2, o3"), (6, "o0, o1, o2, o3 and 2 more")]
)
def test_lanes_that_were_asked_other_items_are_named(
    make_record: Callable[..., LaneRecord], others: int, named: str
) -> None:
    right = draw_right(50, 0.6, 1)
    result = BenchmarkResult(metric="accuracy", version=1, value=float(np.mean(right)), n_items=50)
    asked = make_items(right)
    unlike = ItemValues(tuple((f"new{i}", i) for i in range(50)), asked.values, asked.digests)
    items: dict[str, LaneItems] = {n: {"a": asked, "b": asked} for n in ("baseline", "fine")}
    items |= {f"o{n}": {"a": unlike, "b": asked} for n in range(others)} | {"partly": {"b": asked}}
    ranking = rank_lanes([make_record(n, benchmarks={"a": result, "b": result}) for n in items], {"a": 1.0})
    add_statistics(ranking, items, 0.5, QUICK)
    assert ranking.notes == [f"Asked other items of a than the baseline, and not compared: {named}."]
    found = {lane.record.lane: list(lane.benchmark_statistics) for lane in ranking.lanes}
    assert found["fine"] == ["a", "b"] and found["o0"] == found["partly"] == ["b"]


def test_items_that_the_baseline_alone_lacks_are_left_out_of_both(
    make_record: Callable[..., LaneRecord],
) -> None:
    lane = np.random.default_rng(1).choice([0.2, 0.5, 0.8], 40).tolist()
    base = [math.nan] * 10 + lane[10:]
    records, items = [], {}
    for name, values in (("baseline", base), ("whole", lane)):
        result = BenchmarkResult(metric="judge", version=1, value=float(np.nanmean(values)), n_items=40)
        records.append(make_record(name, benchmarks={"komt": result}))
        items[name] = {"komt": make_items(values)}
    ranking = rank_lanes(records, {"komt": 1.0})
    add_statistics(ranking, items, 0.5, QUICK)
    whole = ranking.lanes[1]
    for interval in (whole.benchmark_statistics["komt"].recovery_interval, whole.perf_norm_interval):
        assert interval and interval.low == interval.high == 1.0


def test_a_difference_has_twelve_digits(make_record: Callable[..., LaneRecord]) -> None:
    values = {"baseline": {"a": [0.0, 0.0, 1.0]}, "lane": {"a": [1.0, 0.0, 1.0]}}
    found = compute_statistics(make_record, values).lanes[1].benchmark_statistics["a"]
    assert found.difference == 0.333333333333


def test_the_same_is_drawn_twice(make_record: Callable[..., LaneRecord]) -> None:
    values = {name: {"a": np.random.default_rng(n).random(60).tolist(), "b": [0.5] * 9}
              for n, name in enumerate(("baseline", "one", "other"))}  # fmt: skip
    few = Resampling(resamples=200)
    first, second = (compute_statistics(make_record, values, method=few) for _ in range(2))
    assert first == second
    ranked = first.lanes[1]
    assert ranked.perf_norm_interval and ranked.perf_norm is not None and abs(ranked.perf_norm - 1) > 0.01
    assert ranked.score_interval and ranked.score is not None
    assert ranked.score_interval.low == pytest.approx(ranked.perf_norm_interval.low / 2, abs=1e-6)


@pytest.mark.parametrize("kind", ["decode", "free"])
def test_lanes_of_equal_shapes_share_the_draws_of_a_fixed_form_alone(
    make_record: Callable[..., LaneRecord], kind: str
) -> None:
    repeats = [0.050, 0.055, 0.052]
    right = draw_right(50, 0.6, 1)
    result = BenchmarkResult(metric="accuracy", version=1, value=float(np.mean(right)), n_items=50)

    def rank(base_shapes: str) -> list[Interval | None]:
        records = [
            make_record(n, seconds=0.052, benchmarks={"a": result}) for n in ("baseline", "one", "other")
        ]
        for record, shapes in zip(records, (base_shapes, "w4", "w4"), strict=True):
            assert record.speed
            record.speed.shapes, record.speed.form = shapes, kind
            record.speed.s_per_token_all = repeats
            record.speed.forms = {
                kind: SpeedForm.model_validate(
                    {
                        "kind": kind, "s_per_token": 0.052, "s_per_token_all": repeats, "ratio": 0.52,
                        "baseline_s_per_token": 0.1, "baseline_s_per_token_all": [0.1] * 3, "tokens": 8,
                        "baseline_tokens": 8, "seconds": 1.0, "baseline_seconds": 1.0, "n_sequences": 1,
                    }
                )
            }  # fmt: skip
        ranking = rank_lanes(records, {"a": 1.0})
        add_statistics(
            ranking, {n: {"a": make_items(right)} for n in ("baseline", "one", "other")}, 0.5, QUICK
        )
        return [lane.score_interval for lane in ranking.lanes[1:]]

    one, other = rank("bf16")
    assert one and other and one.low < one.high
    assert (one == other) is (kind == "decode")
    assert rank("w4") == [one, other]  # the baseline is in no pool
    logs = np.log(repeats * (2 if kind == "decode" else 1))  # of the pool's pairs, or of the lane's own
    error = logs.std(ddof=1) * (np.pi / 2 / len(logs)) ** 0.5
    slowest = 0.52 * math.exp(error * float(stats.t(len(logs) - 1).ppf(0.975)))
    assert one.low == pytest.approx(1 - slowest / 2, abs=0.004)


def test_a_run_of_ties_begins_anywhere() -> None:
    lanes = [RankedLane(rank=n, record=LaneRecord(lane=name)) for n, name in enumerate("ABC", start=1)]
    ranking = Ranking(experiment="", lanes=lanes, weights_used={}, notes=[])
    noise = 0.01 * np.random.default_rng(1).standard_normal((3, 1000))
    find_ties(ranking, {"A": 0.9 + noise[0], "B": 0.5 + noise[1], "C": 0.5 + noise[2]}, 0.95)
    assert [lane.tied_with for lane in lanes] == [[], ["C"], ["B"]]


def test_values_that_the_per_item_outputs_do_not_give_are_named(
    make_record: Callable[..., LaneRecord],
) -> None:
    right = [1.0] * 60 + [0.0] * 40
    record = make_record("lane", benchmarks={
        name: BenchmarkResult(metric="accuracy", version=1, value=value, n_items=100)
        for name, value in (("fits", 0.6), ("edited", 0.7), ("unjudged", 0.6), ("lost", 0.6), ("none", None))
    })  # fmt: skip
    items: LaneItems = {name: make_items(right) for name in ("fits", "edited")}
    items["unjudged"] = make_items([math.nan] * 100)
    assert find_unlike_values(record, items) == [
        "edited: the per-item outputs give 0.6, the record says 0.7",
        "unjudged: the per-item outputs give no value, the record says 0.6",
        "lost: the per-item outputs give no value, the record says 0.6",
    ]
    assert find_unlike_values(record, None) == []


@pytest.mark.slow
def test_the_full_size_is_quick_and_small_and_the_same_twice(make_record: Callable[..., LaneRecord]) -> None:
    names = ["baseline", *(f"lane{n:02d}" for n in range(12))]
    values = {
        name: {"a": draw_right(5400, 0.4 - 0.003 * n, n), "b": np.random.default_rng(n).random(680).tolist()}
        for n, name in enumerate(names)
    }
    started, before = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    ranking = compute_statistics(make_record, values, method=Resampling())
    assert time.process_time() - started < 60
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1_000_000  # KiB
    assert all(lane.score_interval for lane in ranking.lanes[1:])
    few = Resampling(resamples=300)
    first, second = (compute_statistics(make_record, values, method=few) for _ in range(2))
    assert first == second
