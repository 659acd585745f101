"""Golden cases of normalization and F1."""

from __future__ import annotations

import pytest

from evaluator.f1 import compute_f1, is_refusal, normalize_answer, score_answer


@pytest.mark.parametrize(
    ("text", "normalized"),
    [
        ("서울", "서울"),
        ("서울은", "서울"),
        ("서울이", "서울"),
        ("서울을", "서울"),
        ("서울의", "서울"),
        ("서울에서", "서울"),
        ("서울로", "서울"),
        ("서울까지", "서울"),
        ("서울부터", "서울"),
        ("서울에서부터", "서울"),
        ("서울까지만", "서울"),
        ("서울입니다.", "서울"),
        ("서울이다", "서울"),
        ("서울이었습니다", "서울"),
        ("'서울'", "서울"),
        ("“서울”", "서울"),
        ("《서울》", "서울"),
        ("서울 특별시", "서울특별시"),
        ("서울의 강은 한강이다.", "서울강은한강"),
        ("사과", "사과"),  # the stem would keep one character
        ("사과는", "사과"),
        ("강은", "강은"),
        ("3,000원입니다", "3000원"),
        ("3.5", "3.5"),
        ("3.5.", "3.5"),
        ("ＫＯＲＥＡ", "korea"),
        ("Seoul", "seoul"),
        ("1990-2000", "19902000"),
        ("", ""),
        ("...", ""),
        ("입니다", "입니다"),
    ],
)
def test_normalization(text: str, normalized: str) -> None:
    assert normalize_answer(text) == normalized


@pytest.mark.parametrize(
    ("prediction", "gold", "f1", "exact"),
    [
        ("서울", "서울", 1.0, True),
        ("서울입니다.", "서울", 1.0, True),
        ("서울 특별시", "서울특별시", 1.0, True),
        ("이순신 장군은", "이순신장군", 1.0, True),
        ("서울", "부산", 0.0, False),
        ("한강", "한라", 0.5, False),
        ("서울특별시", "서울", 2 * 2 / 7, False),
        ("", "서울", 0.0, False),
        ("...", "서울", 0.0, False),
        ("", "", 1.0, True),
        ("서울", "", 0.0, False),
        ("답할 수 없습니다.", "", 1.0, True),
        ("답할 수 없음", "답할 수 없음", 1.0, True),
        ("문서에서 답을 찾을 수 없습니다.", "답할 수 없음", 1.0, True),
        ("알 수 없습니다", "답할 수 없음", 1.0, True),
        ("", "답할 수 없음", 0.0, False),
        ("서울", "답할 수 없음", 0.0, False),  # no partial credit
        ("답답할 수", "답할 수 없음", 0.0, False),
        ("답할 수 없음", "답십리", 0.0, False),
    ],
)
def test_scores(prediction: str, gold: str, f1: float, exact: bool) -> None:
    score = score_answer(prediction, gold)
    assert score.f1 == pytest.approx(f1)
    assert score.exact is exact


@pytest.mark.parametrize(
    ("prediction", "gold", "expected"),
    [
        ("가가가", "가", 2 * 1 / 4),  # sets would say 1
        ("가", "가가가", 2 * 1 / 4),
        ("가나가나", "나가나가", 1.0),
        ("가가나", "가나나", 2 * 2 / 6),
        ("가", "", 0.0),
        ("", "", 1.0),
    ],
)
def test_f1_counts_repeats(prediction: str, gold: str, expected: float) -> None:
    assert compute_f1(prediction, gold) == pytest.approx(expected)
    assert compute_f1(gold, prediction) == pytest.approx(expected)


@pytest.mark.parametrize(
    "text", ["답할 수 없음", "답할 수 없습니다.", "알 수 없다", "주어진 문서로는 답할 수 없습니다"]
)
def test_refusals(text: str) -> None:
    assert is_refusal(text)


@pytest.mark.parametrize("text", ["", "서울", "볼 수 없는 섬", "답할 수 없음은 서울", "없음"])
def test_other_texts_are_no_refusals(text: str) -> None:
    assert not is_refusal(text)
