"""The normal form, mark by mark: what stays of each in its place. Exact values."""

from __future__ import annotations

import pytest

from evaluator.quality.normal_form import (
    clean_text,
    join_words,
    list_forms,
    normalize_answer,
    normalize_words,
)

NUMBERS = [
    ("12,345명", "12345명"),
    ("약 12,345명", "약 12345명"),
    ("약 1,234,567명", "약 1234567명"),
    ("12,345", "12345"),
    ("1234,567", "1234 567"),  # no comma of thousands: what stands before it goes on
    ("1.234,567", "1.234 567"),
    ("1,23,456,789", "1 23 456 789"),
    ("1 2,345", "1 2345"),
    ("1, 2,345", "1 2345"),
    ("1½", "1 1/2"),
    ("10²", "10^2"),
    (".5", "0.5"),
    ("3.5도", "3.5도"),
    ("v.5", "v5"),
    ("...5", "5"),
    ("…5", "5"),
    ("3·1운동", "3.1운동"),
    ("3·일", "3일"),
    ("삼·1", "삼1"),
    ("이·삼", "이삼"),
    ("24/7", "24/7"),
    ("남/3", "남3"),
    ("3/월", "3월"),
    ("3*5", "3*5"),
    ("10 : 30", "10:30"),
    ("5′", "5′"),
    ("5″", "5′′"),
    ("가′", "가"),
    ("50 퍼센트", "50%"),
    ("5‰", "5‰"),
]
SIGNS_AND_RANGES = [
    ("-5", "-5"),
    ("(-5)", "-5"),
    ("-.5도", "-0.5도"),
    ("약 -.5", "약 -0.5"),
    ("-.가", "가"),
    ("-a5", "a5"),
    ("5월-6월", "5월-6월"),
    ("코로나-19", "코로나19"),
    ("b-2", "b2"),
    ("2b-3", "2b3"),
    ("10 - 20", "10-20"),
    ("10%-20%", "10%-20%"),
    ("10%~20%", "10%-20%"),
    ("10 ~ 20", "10-20"),
    ("-10~-15도", "-10--15도"),
    ("3~-5도", "3--5도"),
    ("3~a5", "3a5"),
    ("3~-가", "3가"),
    ("~5", "5"),
    ("(~5)", "5"),
    ("물결~", "물결"),
    ("서울~부산", "서울부산"),
]
LISTS = [
    ("1, 2", "1 2"),
    ("1,-2", "1 -2"),
    ("1,.5", "1 0.5"),
    ("서울,부산", "서울부산"),
    ("서울, 부산", "서울 부산"),
    ("3,가", "3가"),
    ("가,3", "가3"),
]
NAMES = [
    ("C#", "c#"),
    ("#1", "1"),
    ("R&D", "r&d"),
    ("R & D", "r & d"),
    ("R  & D", "r d"),  # one space at most on either side
    ("R &  D", "r d"),
    ("& 서울", "서울"),
    ("서울 &", "서울"),
    ("+ & 가", "+ 가"),
    ("가 & +", "가 +"),
    ("user@mail", "user@mail"),
    ("@서울", "서울"),
    ("서울@", "서울"),
    ("서울@ 부산", "서울 부산"),
]
MARKS_ALONE = [
    ("##", "##"),
    ("-", "-"),
    ("# *", "#*"),
    ("?", "?"),
    (".,!'\"_", ""),
    ("()", ""),
    ("“”", ""),
    ("", ""),
]


@pytest.mark.parametrize(("text", "cleaned"), [*NUMBERS, *SIGNS_AND_RANGES, *LISTS, *NAMES, *MARKS_ALONE])
def test_what_stays_of_a_mark_is_told_by_its_place(text: str, cleaned: str) -> None:
    assert clean_text(text) == cleaned


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("2024-01-01", "2024년1월1일"),
        ("2024. 12. 31.", "2024년12월31일"),
        ("2024/5/1 일", "2024년5월1일"),
        ("2024년 05월 01일", "2024년5월1일"),
        ("2024-13-01", "2024-13-01"),
        ("2024-12-32", "2024-12-32"),
        ("2024-00-10", "2024-00-10"),
        ("2024-10-00", "2024-10-00"),
        ("2024.5-1", "2024.5-1"),
        ("05월 03일", "5월 3일"),
        ("10월", "10월"),
    ],
)
def test_a_whole_date_has_one_form_where_its_month_and_day_exist(text: str, cleaned: str) -> None:
    assert clean_text(text) == cleaned


@pytest.mark.parametrize(("n_before", "mark"), [(19, "-"), (20, "")])
def test_a_range_is_known_by_a_number_in_the_20_characters_before_it(n_before: int, mark: str) -> None:
    word = "1" + "가" * n_before
    assert clean_text(f"{word}-2") == f"{word}{mark}2"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("서울은 부산을", ["서울", "부산"]),
        ("서울은,부산을", ["서울은부산"]),
        ("world은", ["world"]),  # how a Latin letter is read is not known: either particle may follow
        ("KBS를", ["kbs"]),
        ("1990은", ["1990"]),
        ("한국TV를", ["한국tv"]),
        ("TV가을", ["tv가을"]),  # 을 stands behind no open syllable: it is a part of the word
        ("여름가을", ["여름가을"]),
        ("아힣를", ["아힣를"]),
        ("부산으로", ["부산"]),
        ("서울으로", ["서울으로"]),  # ㄹ takes 로
        ("제주으로", ["제주으로"]),
        ("서울에서만", ["서울"]),
        ("집에만", ["집에만"]),  # the stem would keep one character
        ("서울까지의", ["서울"]),
        ("서울에서부터이다", ["서울"]),
    ],
)
def test_endings_go_where_they_can_be_nothing_else(text: str, words: list[str]) -> None:
    assert normalize_words(text) == words


@pytest.mark.parametrize(
    ("text", "forms"),
    [
        ("서울", ("서울",)),
        ("서울은", ("서울은", "서울")),
        ("서울은 1, 2", ("서울은1 2", "서울1 2")),
        ("", ("",)),
    ],
)
def test_forms_are_with_and_without_endings_each_once(text: str, forms: tuple[str, ...]) -> None:
    assert list_forms(text) == forms
    assert normalize_answer(text) == forms[-1]


@pytest.mark.parametrize(
    ("words", "joined"),
    [
        ([], ""),
        (["서울"], "서울"),
        (["서울", "특별시"], "서울특별시"),
        (["1", "2", "3"], "1 2 3"),
        (["1", "-2"], "1 -2"),
        (["1", "번"], "1번"),
        (["제", "1"], "제1"),
        (["1", "x"], "1x"),
    ],
)
def test_words_are_joined_but_where_two_numbers_would_become_one(words: list[str], joined: str) -> None:
    assert join_words(words) == joined
