"""Slow hosts, Kendall's tau and its interval, and the distance that orders: against hand and simulation."""

from __future__ import annotations

import math
from datetime import datetime, timedelta, timezone
from typing import Any

import numpy as np
import pytest
from scipy import stats

from lanekit.results.ledger import Entry
from ranker.statistics.agreement import (
    Point,
    choose_device,
    collect_points,
    find_tau_interval,
    judge_hosts,
    measure_agreement,
    show_minutes,
    weigh_distance,
)

START = datetime(2026, 11, 28, tzinfo=timezone.utc)


def run(
    package: str, score: float = 0.6, minutes: float | None = 9.8, after: int = 0, **fields: Any
) -> Entry:
    at = START + timedelta(hours=after)
    given = {"local_score": 0.5, "local_ratio": 0.8, "device": "L4"}
    return Entry(at, f"lane_{package}", package * 64, score, minutes, **{**given, **fields})


def judge(*entries: Entry) -> list[str]:
    return [host.state for host in judge_hosts(entries)]


def test_the_published_runs_fall_into_their_two_states() -> None:
    minutes = [9 + 48 / 60, 9 + 41 / 60, 13 + 2 / 60, 10.5, 12 + 39 / 60, 12 + 20 / 60, 13 + 20 / 60]
    entries = [run(package, minutes=m) for package, m in zip("abcdefg", minutes, strict=True)]
    assert judge(*entries) == ["usual", "usual", "slow", "usual", "slow", "slow", "slow"]
    assert judge_hosts(entries)[2].reason == "13:02 against 9:41 of lane_b"
    assert judge(entries[3], entries[5]) == ["usual", "slow"], "the closest pair across the states"


@pytest.mark.parametrize(
    ("minutes", "ratio", "state"),
    [
        (11.27, 0.80, "usual"),  # 1.15 × 9.8 = 11.27
        (11.28, 0.80, "slow"),
        (12.30, 0.8799, "usual"),  # a tenth slower here: up to 1.15 × 1.1 × 9.8 = 12.39
        (12.40, 0.8799, "slow"),
        (11.28, 0.7273, "slow"),  # faster here: nothing is allowed for it
        (13.00, 0.8801, "unknown"),  # not of like speed
        (13.00, None, "unknown"),
    ],
)
def test_only_runs_of_like_speed_are_compared(minutes: float, ratio: float | None, state: str) -> None:
    assert judge(run("b", minutes=minutes, local_ratio=ratio), run("a"))[0] == state


def test_the_same_package_compares_whatever_is_known_of_it() -> None:
    unknown: dict[str, Any] = {"local_ratio": None, "local_score": None, "device": ""}
    assert judge(run("a", minutes=12.5, **unknown), run("a", after=1, **unknown)) == ["slow", "usual"]
    assert judge(run("a", device="L4"), run("b", device="H100", minutes=13)) == ["unknown", "unknown"]
    assert judge(run("a", minutes=None), run("a", after=1)) == ["unknown", "unknown"]


def test_what_a_person_wrote_counts() -> None:
    assert judge(run("a", host="slow"), run("b", minutes=13, host="usual")) == ["slow", "usual"]


def test_points_are_packages_without_slow_runs_with_the_newest_local_score() -> None:
    entries = [
        run("a", 0.60, local_score=0.50), run("a", 0.62, after=2, local_score=0.52),
        run("a", 0.50, 13, after=3), run("b", 0.58, after=1, local_score=0.48),
        run("c", 0.4, local_score=None),
    ]  # fmt: skip
    points = collect_points(entries, judge_hosts(entries))
    assert [(p.lane, p.local, p.n_runs) for p in points] == [("lane_a", 0.52, 2), ("lane_b", 0.48, 1)]
    assert [p.server for p in points] == pytest.approx([0.61, 0.58])


def test_the_device_of_most_packages_is_chosen() -> None:
    entries = [run("a", device="H100"), run("a", device="H100", after=1), run("b"), run("c")]
    assert choose_device(entries) == "L4" and choose_device([]) == ""


def make_points(local: list[float], server: list[float]) -> list[Point]:
    return [Point("l", str(n), x, y, 1) for n, (x, y) in enumerate(zip(local, server, strict=True))]


def test_tau_counts_the_pairs() -> None:
    found = measure_agreement(make_points([1, 2, 3, 4], [1, 3, 2, 4]))
    assert found.tau == pytest.approx(4 / 6) and found.same_order == pytest.approx(5 / 6)
    assert found.interval is None, "four points have no interval"
    tied = measure_agreement(make_points([1, 1, 2], [1, 2, 3]))
    assert tied.same_order == 1.0 and tied.tau == pytest.approx(2 / math.sqrt(2 * 3))


def test_nothing_is_said_of_too_few_or_equal_points() -> None:
    assert measure_agreement([]).tau is None
    assert measure_agreement(make_points([1], [1])).tau is None
    equal = measure_agreement(make_points([1, 1, 1], [1, 2, 3]))
    assert (equal.tau, equal.worth, equal.same_order) == (None, None, None)
    assert measure_agreement(make_points([1, 2], [1, 2])).worth is None


def test_points_that_all_agree_have_an_interval_that_is_not_a_point() -> None:
    found = measure_agreement(make_points([1, 2, 3, 4, 5], [1, 2, 3, 4, 5.5]))
    assert found.tau == pytest.approx(1) and found.interval is not None
    assert 0 < found.interval.low < 0.9 < found.interval.high < 1
    longer = find_tau_interval(1.0, 20)
    assert longer is not None and longer.low > found.interval.low


def test_the_interval_is_fiellers() -> None:
    found = find_tau_interval(0.5, 14)  # tanh(0.549306 ± 1.959964 · √0.0437)
    assert found is not None and (found.low, found.high) == pytest.approx((0.138693, 0.743844), abs=1e-4)


@pytest.mark.parametrize(("n_points", "rho"), [(6, 0.0), (8, 0.6), (12, 0.8)])
def test_the_interval_holds_the_true_tau(n_points: int, rho: float) -> None:
    rng = np.random.default_rng(7)
    true, held, trials = 2 / math.pi * math.asin(rho), 0, 400
    for _ in range(trials):
        x = rng.standard_normal(n_points)
        y = rho * x + math.sqrt(1 - rho**2) * rng.standard_normal(n_points)
        found = find_tau_interval(float(stats.kendalltau(x, y).statistic), n_points)
        assert found is not None
        held += found.low <= true <= found.high
    assert 0.89 <= held / trials <= 0.99


def test_the_distance_is_that_of_the_formula() -> None:
    local, server = np.array([0.0, 1.0, 2.0, 3.0]), np.array([0.1, 0.9, 2.1, 2.9])
    slope, residual, worth = weigh_distance(local, server)
    assert slope == pytest.approx(0.96) and residual == pytest.approx(math.sqrt(0.032 / 2))
    t = 2.919986
    assert worth == pytest.approx(
        math.sqrt(2) * t * residual / math.sqrt(0.96**2 - t**2 * 0.016 / 5), rel=1e-5
    )
    assert worth is not None and slope is not None and residual is not None
    edge = t * residual * math.sqrt(2 + worth**2 / 5)
    assert slope * worth == pytest.approx(edge, rel=1e-5), "there the difference foreseen is its own bound"


@pytest.mark.parametrize("server", [[3.0, 2.0, 1.0, 0.0], [0.0, 5.0, -5.0, 1.0]])
def test_no_distance_is_enough_without_a_slope(server: list[float]) -> None:
    assert weigh_distance(np.arange(4.0), np.array(server))[2] is None


@pytest.mark.slow
def test_two_of_that_distance_stand_in_order_in_nineteen_of_twenty_cases() -> None:
    rng = np.random.default_rng(11)
    local, noise, trials, right = np.linspace(0, 1, 10), 0.1, 2000, 0
    for _ in range(trials):
        worth = weigh_distance(local, local + noise * rng.standard_normal(10))[2]
        assert worth is not None
        right += worth + noise * math.sqrt(2) * rng.standard_normal() > 0
    assert 0.935 <= right / trials <= 0.985


def test_minutes_are_shown_as_on_a_clock() -> None:
    assert [show_minutes(m) for m in (9.8, 9.9999, None)] == ["9:48", "10:00", ""]
