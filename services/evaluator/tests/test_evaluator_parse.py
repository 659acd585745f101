"""The golden table of answer forms: what is read, and what is not."""

from __future__ import annotations

import pytest

from evaluator.parse import parse_choice, strip_thinking

READ_AS_C = [
    "정답: C",
    "정답:C",
    "정답 : C",
    "정답：C",
    "정답은 C입니다",
    "정답은 C입니다.",
    "정답은 C이다.",
    "정답은 C 입니다.",
    "정답은 **C**입니다.",
    "정답은 (C)입니다",
    "정답은 'C'입니다.",
    "정답은 “C”입니다",
    "정답은 C번입니다.",
    "정답은 C.",
    "정답은 C",
    "정답이 C입니다",
    "답: C",
    "답은 C입니다",
    "답 C",
    "Answer: C",
    "answer: c",
    "Answer: (C)",
    "The answer is C.",
    "the answer is (C).",
    "Final answer: C",
    "ANSWER: C",
    "**정답: C**",
    "**정답:** C",
    "**정답**: C",
    "정답: **C**",
    "[정답] C",
    "### 정답: C",
    "정답: C. 서울",
    "정답: C) 서울",
    "정답: C, 서울",
    "정답: C (서울)",
    "정답: C - 서울",
    "정답: C: 서울",
    "정답: (C) 서울입니다",
    "정답:\nC",
    "정답:\n\n**C**",
    "정답 = C",
    "정답 → C",
    "정답: Ｃ",
    "정답: 「C」",
    "정답: `C`",
    "따라서 정답은 C입니다.",
    "최종 정답: C",
    "최종정답: C",
    "A는 틀리고 B도 틀리다. 정답: C",
    "정답: A\n다시 보니 정답: C",
    "정답: C\n이 답은 서울이 수도이기 때문입니다.",
    "C",
    "(C)",
    "C.",
    "C)",
    "[C]",
    "**C**",
    '"C"',
    "c",
    "C. 서울",
    "C) 서울",
    "(C) 서울",
    "C: 서울",
    "C - 서울",
    "C입니다",
    "C입니다.",
    "C 입니다.",
    "C번",
    "C번입니다",
    "C이다",
    "C예요",
    "C\n\n설명: A는 아니다.",
    "\n\n C \n",
    "<think>A일까 B일까</think>C",
    "<think>\n정답: A\n</think>\n\n정답: C",
    "<think>\n\n</think>\n\n정답: C",
    "정답: C. 비타민 A",
    "정답: C형 아님. 정답: C",
    "정답: C입니다. A는 오답입니다.",
    "정답: C[|endofturn|]",
    "정답은 C라고 생각합니다.",
    "정답은 C인 것 같습니다.",
    "Ⓒ",
    "C, 서울",
    "정답: C!",
    "정답: C~",
    "정답: A가 아닙니다. 정답은 C입니다.",
    "정답은 C예요!",
    "C. 비타민 A.",
    "정답:C.서울",
]

UNPARSED = [
    "",
    "   ",
    "ABC",
    "A와 B 모두",
    "A도시",
    "Apple",
    "정답은 없습니다",
    "정답: A, B",
    "A 또는 B",
    "정답: A 또는 B",
    "정답: A와 B",
    "정답은 A, B입니다",
    "정답: A/B",
    "정답: A 및 C",
    "정답: (A), (B)",
    "정답: A or B",
    "정답: AB",
    "정답: ABC",
    "정답은 Apple입니다",
    "정답: 3",
    "정답: ③",
    "③",
    "3",
    "3번",
    "정답은 3번입니다",
    "정답: 가",
    "모르겠습니다.",
    "A는 사과입니다",
    "A가 맞습니다",
    "저는 A라고 봅니다",
    "A B C D",
    "A, B",
    "A.B",
    "A. 사과 B. 배",
    "A. 사과\nB. 배\nC. 포도",
    "정답은 A가 아닙니다",
    "정답은 A가 아니라 B입니다",
    "정답: A도시",
    "정답: A 도시",
    "A 도시",
    "오답: A",
    "대답: A",
    "응답: A",
    "a dog",
    "Answer: a dog",
    "The answer is based on A",
    "답안지 A",
    "정답: A\n정답: B 또는 C",
    "정답: B\n정답은 A가 아닙니다.",
    "<think>정답: A",
    "<think>정답: A</think>",
    "<think>A</think>모름",
    '정답: "A"처럼 답하세요',
    '"정답: A"처럼 알파벳 하나로 답하세요.',
    "비타민 A",
    "A+",
    "A형",
    "Answer",
    "정답:",
    "정답: F",
    "F",
    "정답: A. B",
    "정답: A) B)",
    "정답: A (또는 B)",
    "정답: A아니면 B",
    "정답: ⑴",
    "정답: A1",
    "1A",
    "정답은 A일 수도 있습니다",
    "정답은 A?",
    "AA",
    "(A) 또는 (B)",
    "정답: (A) 또는 (B)",
    "정답: (A) 아님",
    "A+B",
    "정답: A,B",
    "정답은 A와 C입니다",
]


@pytest.mark.parametrize("reply", READ_AS_C)
def test_form_is_read(reply: str) -> None:
    assert parse_choice(reply, 5) == "C"


@pytest.mark.parametrize("reply", UNPARSED)
def test_form_is_unparsed(reply: str) -> None:
    assert parse_choice(reply, 5) is None


def test_table_is_large_enough() -> None:
    assert len(set(READ_AS_C)) + len(set(UNPARSED)) >= 150


@pytest.mark.parametrize("letter", "ABCDE")
def test_every_letter(letter: str) -> None:
    assert parse_choice(f"정답: {letter}", 5) == letter
    assert parse_choice(letter, 5) == letter


def test_letter_beyond_the_options_is_no_answer() -> None:
    assert parse_choice("정답: E", 5) == "E"
    assert parse_choice("정답: E", 4) is None
    assert parse_choice("E", 4) is None
    assert parse_choice("정답: C", 2) is None


def test_last_statement_wins_even_where_it_is_ambiguous() -> None:
    assert parse_choice("정답: A\n정답: B", 4) == "B"
    assert parse_choice("정답: A\n정답: B 또는 C", 4) is None
    assert parse_choice("정답: A\n정답: E", 4) is None


def test_open_reasoning_holds_no_answer() -> None:
    assert parse_choice("정답: A", 4, thinking_opened=True) is None
    assert parse_choice("A인가?\n정답: A\n</think>\n\n정답: B", 4, thinking_opened=True) == "B"
    assert strip_thinking("<think>\n\n</think>\n\n답") == "답"
    assert strip_thinking("<think>끝없이") == ""
    assert strip_thinking("답 </think>") == "답 </think>"
