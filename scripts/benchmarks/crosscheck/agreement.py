"""Item by item: what the `evaluate` stage and another tool made of the same items."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.crosscheck.causes import explain_answer, explain_verdict
from benchmarks.crosscheck.harness import Answer

Explain = Callable[[Answer, Answer], str]


@dataclass(frozen=True)
class Difference:
    """The first thing that is not alike about an item; what follows from it is not told again.

    `cause` is empty where none is known.
    """

    benchmark: str
    index: int
    what: str
    ours: str
    theirs: str
    cause: str


@dataclass(frozen=True)
class Agreement:
    """One benchmark's comparison: counts of items, and the share that each side calls right, from 0 to 1."""

    benchmark: str
    n_items: int
    right_ours: float
    right_theirs: float
    prompts_equal: int
    replies_equal: int
    answers_equal: int
    verdicts_equal: int
    differences: tuple[Difference, ...]


def compare_benchmark(
    benchmark: str, ours: Sequence[Answer], theirs: Sequence[Answer], explain_reply: Explain
) -> Agreement:
    """Compare two tools' answers to the same items, in the same order.

    Args:
        explain_reply: names the cause of two replies to one prompt, or returns "".

    Raises:
        ValueError: they are not as many.
    """
    if len(ours) != len(theirs):
        raise ValueError(f"{benchmark}: {len(ours)} items here, {len(theirs)} there")
    pairs = list(zip(ours, theirs, strict=True))
    found = [find_difference(benchmark, i, a, b, explain_reply) for i, (a, b) in enumerate(pairs)]
    return Agreement(
        benchmark=benchmark,
        n_items=len(pairs),
        right_ours=sum(a.correct for a, _ in pairs) / len(pairs),
        right_theirs=sum(b.correct for _, b in pairs) / len(pairs),
        prompts_equal=sum(a.token_ids == b.token_ids for a, b in pairs),
        replies_equal=sum(a.reply == b.reply for a, b in pairs),
        answers_equal=sum(a.parsed == b.parsed for a, b in pairs),
        verdicts_equal=sum(a.correct == b.correct for a, b in pairs),
        differences=tuple(difference for difference in found if difference),
    )


def find_difference(
    benchmark: str, index: int, ours: Answer, theirs: Answer, explain_reply: Explain
) -> Difference | None:
    """Return the first of prompt, reply, answer, gold and verdict that is not alike, None where all are."""

    def differ(what: str, a: Any, b: Any, cause: str = "") -> Difference:
        return Difference(benchmark, index, what, str(a), str(b), cause)

    if ours.token_ids != theirs.token_ids:
        return differ("prompt", *show_split(ours.token_ids, theirs.token_ids))
    if ours.reply != theirs.reply:
        return differ("reply", ours.reply, theirs.reply, explain_reply(ours, theirs))
    if ours.parsed != theirs.parsed:
        return differ(
            f"answer read in {ours.reply!r}", ours.parsed, theirs.parsed, explain_answer(ours, theirs)
        )
    if ours.gold != theirs.gold:
        return differ("gold", ours.gold, theirs.gold)
    if ours.correct != theirs.correct:
        cause = explain_verdict(ours)
        return differ(f"verdict on {ours.reply!r}, gold {ours.gold!r}", ours.correct, theirs.correct, cause)
    return None


def show_split(ours: Sequence[int], theirs: Sequence[int]) -> tuple[str, str]:
    """Return both token lists from where they part, and where that is."""
    pairs = zip(ours, theirs, strict=False)
    at = next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(ours), len(theirs)))
    return tuple(f"{len(ids)} tokens, from {at}: {list(ids[at : at + 4])}" for ids in (ours, theirs))  # type: ignore[return-value]


def count_unexplained(found: Mapping[str, Agreement]) -> int:
    """Return how many differences have no known cause."""
    return sum(not difference.cause for each in found.values() for difference in each.differences)
