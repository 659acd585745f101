"""Paired tests and Holm's adjustment, by hand, against scipy and by simulation."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from scipy import stats

from ranker.statistics import significance
from ranker.statistics.resampling import make_rng
from ranker.statistics.significance import MCNEMAR, SIGN_FLIP, adjust_holm, compare_pairs


def test_mcnemar_by_hand() -> None:
    lane, base = np.array([1, 1, 1, 0, 0, 0, 0, 1.0]), np.array([1, 1, 0, 1, 1, 1, 1, 1.0])
    name, p_value = compare_pairs(lane, base, 100, make_rng(0, "x"))
    assert name == MCNEMAR
    assert p_value == pytest.approx(2 * (1 + 5) / 2**5)  # one better of five that differ
    assert compare_pairs(base, base, 100, make_rng(0, "x")) == (MCNEMAR, 1.0)


def test_the_sign_flip_test_is_exact_where_few_items_differ() -> None:
    differences = np.array([0.3, 0.1, -0.05, 0.4, 0.25, 0.2])
    lane, base = np.append(differences + 0.5, [0.2] * 50), np.append([0.5] * 6, [0.2] * 50)
    sums = [
        sum(s * d for s, d in zip(signs, differences, strict=True))
        for signs in itertools.product((1, -1), repeat=6)
    ]
    share = np.mean([total >= differences.sum() - 1e-12 for total in sums])
    name, p_value = compare_pairs(lane, base, 10_000, make_rng(0, "x"))
    assert (name, p_value) == (SIGN_FLIP, pytest.approx(2 * share))
    assert compare_pairs(np.array([0.4, 0.2]), np.array([0.5, 0.2]), 100, make_rng(0, "x")) == (
        SIGN_FLIP,
        1.0,
    )


def test_the_sign_flip_test_is_near_the_t_test_on_many_items_and_seeded() -> None:
    rng = np.random.default_rng(8)
    base = rng.random(400)
    lane = np.clip(base + rng.normal(-0.02, 0.2, 400), 0, 1)
    _, p_value = compare_pairs(lane, base, 10_000, make_rng(42, "x"))
    assert p_value == pytest.approx(stats.ttest_rel(lane, base).pvalue, abs=0.02)
    assert compare_pairs(lane, base, 10_000, make_rng(42, "x"))[1] == p_value


def test_false_alarms_are_as_rare_as_the_test_says() -> None:
    alarms = 0
    for seed in range(400):
        rng = np.random.default_rng(seed)
        lane, base = (rng.random((2, 120)) < 0.4).astype(float)
        alarms += compare_pairs(lane, base, 100, rng)[1] < 0.05
    assert alarms / 400 <= 0.06  # an exact test keeps its level


def test_holm_by_hand() -> None:
    # sorted .01 .02 .03 .04: ×4 ×3 ×2 ×1 = .04 .06 .06 .04, never falling: .04 .06 .06 .06
    adjusted = adjust_holm({"d": 0.04, "a": 0.01, "c": 0.03, "b": 0.02})
    assert list(adjusted) == ["d", "a", "c", "b"]
    assert adjusted == {
        name: pytest.approx(p) for name, p in {"a": 0.04, "b": 0.06, "c": 0.06, "d": 0.06}.items()
    }
    assert adjust_holm({"a": 0.6, "b": 0.9}) == {"a": 1.0, "b": 1.0}
    assert adjust_holm({}) == {}


@pytest.mark.parametrize(
    ("lane", "base", "test", "p_value"),
    [
        ([1.0, 1, 1, 1, 1], [0.0] * 5, MCNEMAR, 2 / 2**5),  # all better
        ([0.0] * 5, [1.0, 1, 1, 1, 1], MCNEMAR, 2 / 2**5),
        ([1.0, 0, 1, 0], [0.0, 0, 0, 0], MCNEMAR, 1 / 2),
        ([1.0, 0.5], [1.0, 0.5], SIGN_FLIP, 1.0),
        ([1.0, 0.0], [0.0, 0.5], SIGN_FLIP, 1.0),  # one side alone is right or wrong
        ([0.0, 0.5], [1.0, 0.0], SIGN_FLIP, 1.0),
        ([2.0, 2, 2], [0.0, 0, 0], SIGN_FLIP, 1 / 4),
        ([-1.0, -1, -1], [0.0, 0, 0], SIGN_FLIP, 1 / 4),
        ([0.6, 0.7, 0.8], [0.5, 0.5, 0.5], SIGN_FLIP, 1 / 4),  # 2 of 8 ways are as far from 0
        ([0.6, 0.7], [0.5, 0.5], SIGN_FLIP, 1 / 2),
        ([0.6], [0.5], SIGN_FLIP, 1.0),
    ],
)
def test_few_items_by_hand(lane: list[float], base: list[float], test: str, p_value: float) -> None:
    rng = make_rng(0, "x")
    assert compare_pairs(np.array(lane), np.array(base), 100, rng) == (test, pytest.approx(p_value))


def test_the_flips_are_as_many_as_asked_for() -> None:
    lane = np.linspace(0.1, 0.9, 20)
    _, p_value = compare_pairs(lane, np.zeros(20), 39, make_rng(0, "x"))
    assert p_value == pytest.approx(2 / 40)  # none of the 39 is as far; the observed one counts with them


@pytest.mark.parametrize(("held", "batch"), [(60, 3), (59, 2), (20, 1), (19, 1)])
def test_no_more_flips_are_held_at_once_than_allowed(
    monkeypatch: pytest.MonkeyPatch, held: int, batch: int
) -> None:
    asked: list[int] = []
    permute = stats.permutation_test

    def watch(*args: Any, batch: int, **kwargs: Any) -> Any:
        asked.append(batch)
        return permute(*args, batch=batch, **kwargs)

    monkeypatch.setattr(stats, "permutation_test", watch)
    monkeypatch.setattr(significance, "BATCH_VALUES", held)
    compare_pairs(np.linspace(0.1, 0.9, 21), np.array([0.0] * 20 + [0.9]), 50, make_rng(0, "x"))
    assert asked == [batch]


def test_holm_goes_by_the_p_values_whatever_the_names() -> None:
    assert adjust_holm({"a": 0.5, "b": 0.01, "c": 0.02}) == {
        "a": 0.5, "b": pytest.approx(0.03), "c": pytest.approx(0.04)
    }  # fmt: skip
    assert adjust_holm({"b": 0.04, "a": 0.04}) == {"b": 0.08, "a": 0.08}
