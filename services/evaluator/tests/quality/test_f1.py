"""Golden cases of the normal form and F1."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluator.quality.f1 import compute_f1, is_refusal, is_unanswerable, score_answer
from evaluator.quality.normal_form import list_forms, normalize_answer


@pytest.mark.parametrize(
    ("text", "normalized"),
    [
        ("서울", "서울"),
        ("서울은", "서울"),
        ("서울이", "서울이"),  # a name may end so: 고양이, 전문의, 세종로
        ("서울을", "서울"),
        ("서울의", "서울의"),  # a name may end so: 고양이, 전문의, 세종로
        ("서울에서", "서울"),
        ("서울로", "서울로"),  # a name may end so: 고양이, 전문의, 세종로
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
        ("서울의 강은 한강이다.", "서울의강은한강"),
        ("사과", "사과"),  # the stem would keep one character
        ("사과는", "사과"),
        ("강은", "강은"),
        ("3,000원입니다", "3000원"),
        ("3.5", "3.5"),
        ("3.5.", "3.5"),
        ("ＫＯＲＥＡ", "korea"),
        ("Seoul", "seoul"),
        ("1990-2000", "1990-2000"),
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
        ("", "", 0.0, False),  # saying nothing is no refusal
        ("...", "", 0.0, False),
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


DIFFERENT = {
    "signs": [("5", "-5"), ("5", "−5"), ("0.5", "-0.5"), ("-3~5", "3~5"), ("5", "±5")],
    "fractions": [("12", "1/2"), ("12", "½"), ("11/2", "1½"), ("2024", "20/24")],
    "decimals": [("314", "3.14"), ("20", "2.0"), ("5", ".5"), ("3 5", "3.5"), ("31", "3·1"),
        ("123", "1.2.3")],
    "powers": [("102", "10²"), ("102", "10^2")],
    "times and ratios": [("1030", "10:30"), ("53", "5:3")],
    "ranges": [("1020", "10-20"), ("1020", "10~20"), ("10월12월", "10월~12월"), ("10/20", "10-20")],
    "lists": [("12", "1, 2"), ("12", "1 2"), ("12", "1,2"), ("1234", "1, 234")],
    "units": [("50", "50%"), ("5", "5‰"), ("5%", "5‰"), ("37", "37°"), ("5′", "5″"), ("5", "$5"),
        ("13", "13만"),
              ("12", "12도"), ("3000", "3000원")],
    "names": [("C", "C#"), ("C", "C++"), ("RD", "R&D")],
    "nouns that end like a particle": [
        ("고양", "고양이"), ("호랑", "호랑이"), ("테헤란", "테헤란로"), ("대학", "대학로"),
        ("을지", "을지로"),
        ("세종", "세종로"), ("경기", "경기도"), ("정치", "정치가"), ("국문", "국문과"), ("영일", "영일만"),
        ("김하", "김하은"), ("오키나", "오키나와"), ("우크라", "우크라이나"), ("전문", "전문의"),
        ("산마", "산마을"),
    ],
}  # fmt: skip


@pytest.mark.parametrize(("first", "second"), [pair for pairs in DIFFERENT.values() for pair in pairs])
def test_different_answers_are_different(first: str, second: str) -> None:
    for prediction, gold in ((first, second), (second, first)):
        score = score_answer(prediction, gold)
        assert not score.exact
        assert score.f1 < 1


@pytest.mark.parametrize(
    ("prediction", "gold"),
    [
        ("−5", "-5"), ("－5", "-5"), ("(-5)", "-5"), ("½", "1/2"), ("１/２", "1/2"), (".5", "0.5"),
        ("10²", "10^2"),
        ("10 : 30", "10:30"), ("1990 – 2000", "1990~2000"), ("1990년~2000년", "1990년-2000년"),
        ("10 ~ 20", "10-20"), ("1, 2", "1,2"), ("1,234.5", "1234.5"), ("2,000,000명", "2000000명"),
        ("50 %", "50%"), ("50퍼센트입니다.", "50%"), ("㎡", "m2"), ("5·18", "5.18"), ("R & D", "R&D"),
        ("C#입니다", "C#"),
        ("2024-05-01", "2024년 5월 1일"), ("2024. 5. 1.", "2024년 5월 1일"), ("2024/05/01", "2024.5.1"),
        ("2024년 05월 01일", "2024년 5월 1일"), ("05월 03일", "5월 3일"),
        ("K-POP", "KPOP"), ("코로나-19", "코로나19"), ("U.S.A.", "USA"), ("**서울**", "서울"),
        ("- 서울", "서울"),
        ("고양이는", "고양이"), ("고양이입니다", "고양이"), ("고양이를", "고양이"), ("세종로는", "세종로"),
        ("을지로에서만", "을지로"), ("서울은", "서울에서"), ("부산으로", "부산"), ("C언어를", "C언어"),
        ("서울에도", "서울"), ("김하은은", "김하은"), ("경기도에서", "경기도"), ("-", "–"), ("%", "%"),
    ],
)  # fmt: skip
def test_one_answer_in_two_forms_is_one(prediction: str, gold: str) -> None:
    assert score_answer(prediction, gold).exact
    assert score_answer(gold, prediction).exact


@pytest.mark.parametrize("gold", ["-", "–", "%", "#", "°", "/", "+", "?"])
def test_a_mark_alone_is_an_answer(gold: str) -> None:
    assert not is_unanswerable(gold)
    assert score_answer(gold, gold).exact
    assert score_answer("답할 수 없음", gold).f1 == 0


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
    "text",
    [
        "답할 수 없음",
        "답할 수 없습니다.",
        "알 수 없다",
        "주어진 문서로는 답할 수 없습니다",
        "죄송하지만 답변할 수 없습니다.",
        "제공된 문서에는 해당 정보가 없습니다.",
        "관련 정보가 없습니다.",
        "정보가 부족하여 답변할 수 없습니다.",
        "제시된 문서에서는 확인할 수 없습니다",
        "질문에 대한 답을 찾을 수 없습니다.",
        "문서에 언급되어 있지 않습니다.",
        "답변할 수 없는 질문입니다",
        "답변 불가",
        "Unanswerable",
        "The answer cannot be found in the documents.",
        "주어진 문서에는 이순신의 생일에 대한 정보가 포함되어 있지 않습니다.",
        "문서에 해당 정보가 나와 있지 않습니다.",
        "문서에 나와 있지 않습니다.",
        "해당 문서에 정보가 존재하지 않습니다.",
        "주어진 문서에는 이순신의 생일에 대한 정보가 없습니다.",
        "주어진 맥락에서 답을 찾을 수 없습니다.",
        "주어진 텍스트에서 답을 찾을 수 없습니다.",
        "해당 질문에 대한 답변은 제공된 문서에서 찾을 수 없습니다.",
        "답변이 불가능합니다.",
        "모릅니다.",
        "모르겠습니다.",
        "답: 답변할 수 없습니다.",
        "정답： 답할 수 없음",
        "Answer: unanswerable",
        "주어진 문서에서 답을 찾을 수 없습니다. 문서에는 다른 인물에 대한 정보만 있습니다.",
        "문서에서 확인할 수 없습니다\n문서에는 강만 나옵니다",
        "죄송합니다. 문서에서 찾을 수 없습니다. 다른 인물만 나옵니다.",
        "질문에 대한 답은 찾을 수 없습니다. 문서에는 다른 인물만 나옵니다.",
    ],
)
def test_refusals(text: str) -> None:
    assert is_refusal(text)
    assert is_unanswerable(text)


@pytest.mark.parametrize(
    "text",
    [
        "서울",
        "볼 수 없는 섬",
        "알 수 없는 사람",
        "답할 수 없음은 서울",
        "없음",
        "문제 없음",
        "서울에는 없습니다",
        "아무도 답할 수 없었다",
        "알 수 없다고 말한 사람은 홍길동",
        "정보공개법",
        "찾을 수 없는 섬",
        "문서 12호",
        "모릅니다 마을",
        "답: 서울",
        "답: 찾을 수 없는 섬",
        "학교가 존재하지 않습니다",
        "문서에 학교가 존재하지 않습니다",
        "포함되어 있지 않습니다",
        "불가능합니다",
        "나와 있지 않은 섬",
        "문서에서 찾을 수 없습니다. 그러나 정답은 서울입니다.",
        "문서에 따르면 서울입니다. 다른 정보는 찾을 수 없습니다.",
        "서울\n답할 수 없습니다",
    ],
)
def test_other_texts_are_no_refusals(text: str) -> None:
    assert not is_refusal(text)
    assert not is_unanswerable(text)


def test_an_empty_gold_answer_is_unanswerable() -> None:
    assert is_unanswerable("")
    assert is_unanswerable(" . ")
    assert not is_refusal("")


answers = st.text(st.sampled_from("가나다라서울은는이에서부터입니다 .,35'aA-~/:%#"), max_size=20)


@given(answers, answers)
def test_f1_is_symmetric_and_bounded(first: str, second: str) -> None:
    f1 = compute_f1(first, second)
    assert 0 <= f1 <= 1
    assert f1 == compute_f1(second, first)
    assert (f1 == 1) == (sorted(first) == sorted(second))
    assert (f1 == 0) == (not set(first) & set(second) and bool(first or second))


@given(answers, answers)
def test_score_depends_on_the_forms_alone(prediction: str, gold: str) -> None:
    score = score_answer(prediction, gold)
    assert 0 <= score.f1 <= 1
    assert score.exact <= (score.f1 == 1)
    assert score_answer(f" «{prediction}» ", f"{gold} !") == score
    if normalize_answer(gold):
        assert score_answer(gold, gold).exact
        assert score.exact == bool(
            normalize_answer(prediction) and set(list_forms(prediction)) & set(list_forms(gold))
        )


@given(answers)
def test_a_normal_form_stays_itself_and_parts_numbers_alone(text: str) -> None:
    for form in list_forms(text):
        assert not re.search(r"(?<!\d)\s|\s(?![\d.-])", form)
        assert form == form.strip().lower()


@given(st.lists(st.sampled_from(["서울", "한강", "부산"]), min_size=1, max_size=4))
def test_spacing_and_particles_do_not_count(words: list[str]) -> None:
    plain = "".join(words)
    assert normalize_answer(" ".join(words)) == plain
    assert normalize_answer("에서 ".join(words) + "입니다.") == plain


def test_a_long_text_is_cleaned_in_time_that_grows_with_its_length() -> None:
    """The documents of an item are searched for the gold answer: 40,000 characters, marks and numbers."""
    text = "2024-05-01, 서울(한국)의 인구는 9,411,260명이다. 10~20% - 3.5/2: 'R&D' #1 & 「강」 " * 600
    started = time.process_time()
    normalize_answer(text)
    assert time.process_time() - started < 2


@pytest.mark.parametrize("text", [mark * 20000 for mark in ("&", " & ", "1", "1,000", "-", "1 ", "1-", ".")])
def test_no_text_makes_cleaning_slow(text: str) -> None:
    started = time.process_time()
    normalize_answer(text)
    assert time.process_time() - started < 2
