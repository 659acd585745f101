"""The suite's prompts that are timed: how many each benchmark gives, and which."""

from __future__ import annotations

import pytest

from evaluator.speed.suite_forms import sample_items, share_items, share_proportionally


@pytest.mark.parametrize(
    ("available", "total", "shares"),
    [
        ({"a": 9, "b": 9}, 5, {"a": 3, "b": 2}),
        ({"a": 9, "b": 1, "c": 9}, 8, {"a": 4, "b": 1, "c": 3}),
        ({"a": 1, "b": 2}, 9, {"a": 1, "b": 2}),
    ],
)
def test_items_are_taken_in_turn(available: dict[str, int], total: int, shares: dict[str, int]) -> None:
    assert share_items(available, total) == shares


@pytest.mark.parametrize(
    ("available", "total", "shares"),
    [
        ({"a": 600, "b": 300, "c": 100}, 100, {"a": 60, "b": 30, "c": 10}),
        ({"a": 600, "b": 3}, 100, {"a": 99, "b": 1}),
        ({"a": 5, "b": 3}, 100, {"a": 5, "b": 3}),
        ({"a": 50, "b": 50, "c": 50}, 100, {"a": 34, "b": 33, "c": 33}),
    ],
)
def test_the_sample_has_the_suites_proportions(
    available: dict[str, int], total: int, shares: dict[str, int]
) -> None:
    assert share_proportionally(available, total) == shares


def test_the_sample_holds_short_and_long_prompts_alike() -> None:
    lengths = {"rag": [3000 - n for n in range(100)], "choice": list(range(100, 500))}
    drawn = sample_items(lengths, 50, seed=42)
    assert drawn == sample_items(lengths, 50, seed=42) != sample_items(lengths, 50, seed=43)
    assert {name: len(items) for name, items in drawn.items()} == {"rag": 10, "choice": 40}
    for name, items in drawn.items():
        assert items == sorted(set(items))
        step = len(lengths[name]) // len(items)
        strata = {sorted(lengths[name]).index(lengths[name][item]) // step for item in items}
        assert len(strata) == len(items), "one of each part"
    assert sample_items({"a": [1, 2, 3]}, 9, seed=1) == {"a": [0, 1, 2]}
