"""The rules by which the cross-check explains a difference; lm_eval itself is not needed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from benchmarks.crosscheck.agreement import compare_benchmark, count_unexplained
from benchmarks.crosscheck.causes import explain_answer, explain_verdict
from benchmarks.crosscheck.harness import Answer


@pytest.mark.parametrize(
    ("reply", "ours", "theirs", "cause"),
    [
        ("정답: E", None, "E", "no such option"),
        ("정답: D 하나로", None, "D", "runs on"),
        ("감자정답: D", None, "D", "within another word"),
        ("(B)", "B", None, "alone"),
        ("정답은 B입니다", "B", None, "form"),
        ("정답: D", None, "D", ""),
        ("정답: D", "D", None, ""),
        ("정답: D", "A", "D", ""),
        ("보기 중 B 항목", "B", None, ""),
    ],
)
def test_an_answer_is_explained_by_a_rule_or_not(
    reply: str, ours: str | None, theirs: str | None, cause: str
) -> None:
    mine, other = (Answer((1,), reply, parsed, "A", False, n_options=4) for parsed in (ours, theirs))
    found = explain_answer(mine, other)
    assert cause in found if cause else found == ""


@pytest.mark.parametrize(
    ("reply", "gold", "cause"),
    [
        ("서울입니다", "서울", "particles"),
        ("３개", "3개", "letters"),
        ("주어진 문서에서 답을 찾을 수 없습니다", "답할 수 없음", "no answer"),
        ("부산", "서울", ""),
        ("서울과 부산", "서울", ""),
    ],
)
def test_a_verdict_is_explained_by_a_rule_or_not(reply: str, gold: str, cause: str) -> None:
    """A right answer that we call wrong is not excused by forms, particles or refusals."""
    answer = Answer((1,), reply, reply, gold, True)
    found = explain_verdict(answer)
    assert cause in found if cause else found == ""
    assert explain_verdict(replace(answer, correct=False)) == ""


@pytest.mark.parametrize(
    ("reply", "gold", "is_excused"),
    [
        ("5", "-5", True), ("12", "1/2", True), ("1030", "10:30", True), ("50", "50%", True),
        ("C", "C#", True),
        ("12", "1 2", True), ("314", "3.14", True), ("서울.", "서울", False), ("-5", "-5", False),
        ("부산 -5", "서울 5", False), ("서울 시", "서울시", False),
    ],
)  # fmt: skip
def test_a_mark_that_the_harness_drops_explains_our_stricter_verdict(
    reply: str, gold: str, is_excused: bool
) -> None:
    found = explain_verdict(Answer((1,), reply, reply, gold, False))
    assert ("a mark" in found) == is_excused


def test_the_first_thing_that_differs_is_told() -> None:
    ours = [Answer((1, 2), "정답: A", "A", "A", True, n_options=4)] * 4
    theirs = [
        ours[0],
        replace(ours[0], token_ids=(1, 3), reply="정답: B"),
        replace(ours[0], reply="정답: B", parsed="B", correct=False),
        replace(ours[0], gold="B", correct=False),
    ]
    found = compare_benchmark("kmmlu_pro", ours, theirs, lambda a, b: "a tie" * (a.token_ids == b.token_ids))
    assert [(each.index, each.what, each.cause) for each in found.differences] == [
        (1, "prompt", ""), (2, "reply", "a tie"), (3, "gold", ""),
    ]  # fmt: skip
    assert (found.prompts_equal, found.replies_equal, found.right_ours, found.right_theirs) == (
        3,
        2,
        1.0,
        0.5,
    )
    assert count_unexplained({"kmmlu_pro": found}) == 2
    with pytest.raises(ValueError, match="4 items here, 3 there"):
        compare_benchmark("kmmlu_pro", ours, theirs[:3], lambda a, b: "")
