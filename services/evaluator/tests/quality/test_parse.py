"""The table of answer forms, answer_forms.tsv: what is read, and what is not."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluator.quality.parse import cut_reply, parse_choice, strip_thinking
from lanekit.spec.benchmark import Benchmark

ESCAPES = {"n": "\n", "t": "\t", "\\": "\\", "u200b": "\u200b"}
WORDS = (
    "정답 답 은 는 이 가 입니다 Answer answer is the The option 또는 아니 "
    "\\boxed{ } ( ) ** : = - , . \n A B C D E a ③ 3"
)


def read_table() -> list[tuple[str, int, str | None, str]]:
    """Return reply, number of options, expected letter and reason; `-` is unparsed."""
    path = Path(__file__).parents[1] / "answer_forms.tsv"
    head, *lines = path.read_text(encoding="utf-8").removesuffix("\n").split("\n")
    assert head == "reply\tn_options\texpected\twhy"
    rows = []
    for line in lines:
        reply, n_options, expected, why = line.split("\t")
        plain = re.sub(r"\\(u200b|[nt\\])", lambda found: ESCAPES[found[1]], reply)
        rows.append((plain, int(n_options), None if expected == "-" else expected, why))
    return rows


TABLE = read_table()


@pytest.mark.parametrize(("reply", "n_options", "expected", "why"), TABLE)
def test_form(reply: str, n_options: int, expected: str | None, why: str) -> None:
    assert parse_choice(reply, n_options) == expected, why


def test_table_is_large_and_even() -> None:
    korean = [row for row in TABLE if re.search("[가-힣]", row[0])]
    english = [row for row in TABLE if re.search("[A-Za-z]{2}", row[0]) and row not in korean]
    assert len(TABLE) >= 150
    assert len({(reply, n_options) for reply, n_options, _, _ in TABLE}) == len(TABLE)
    assert sum(expected is None for _, _, expected, _ in TABLE) >= 50
    for rows in (korean, english):
        assert sum(expected is None for _, _, expected, _ in rows) >= 50
        assert sum(expected is not None for _, _, expected, _ in rows) >= 50
    assert {n_options for _, n_options, _, _ in TABLE} == {4, 5}
    assert {expected for _, _, expected, _ in TABLE} == {None, *"ABCDE"}
    assert all(why for _, _, _, why in TABLE)


@pytest.mark.parametrize("letter", "ABCDE")
@pytest.mark.parametrize(
    "form", ["정답: {}", "{}", "The answer is ({}).", "\\boxed{{{}}}", "{}가 정답입니다."]
)
def test_every_letter(form: str, letter: str) -> None:
    assert parse_choice(form.format(letter), 5) == letter
    assert parse_choice(form.format(letter), 4) == (letter if letter != "E" else None)


@given(st.lists(st.sampled_from(WORDS.split(" ")), max_size=14), st.booleans(), st.sampled_from([4, 5]))
def test_an_answer_is_a_letter_of_the_reply(words: list[str], spaced: bool, n_options: int) -> None:
    reply = (" " if spaced else "").join(words)
    letter = parse_choice(reply, n_options)
    assert letter is None or letter in "ABCDE"[:n_options]
    assert letter is None or letter in reply.upper()
    assert parse_choice(f"{reply}\n\n정답: B", n_options) == "B"


@pytest.mark.parametrize(
    "reply",
    ["정답" + "\n" * 20_000, "정답" + "*" * 20_000, "정답은" + "이" * 20_000, "정답 " + "은 " * 9_000,
     "정답" + " -" * 9_000, "정답: A" + ", B" * 9_000, "B, A, " * 6_000 + "A가 정답입니다.",
     "\\boxed{" * 4_000],
)  # fmt: skip
def test_a_broken_models_reply_is_read_in_time(reply: str) -> None:
    started = time.process_time()
    assert parse_choice(reply, 5) is None
    assert time.process_time() - started < 2


LETTERS = ("A", "B", "C", "A, B")
NAMES = ("B형 간염", "D", "서울", "C형 간염")


@pytest.mark.parametrize(
    ("reply", "options", "expected", "without"),
    [
        ("정답: D. A, B", LETTERS, "D", None),
        ("정답: D (A, B 모두)", LETTERS, "D", None),
        ("정답: D (A, B 모두)입니다.", LETTERS, "D", None),
        ("D. A, B", LETTERS, "D", None),
        ("정답: C. D", ("가", "나", "D", "라"), "C", None),
        ("정답:A.B형 간염", NAMES, "A", None),
        ("정답: C 서울", NAMES, "C", None),
        ("정답: **C** 서울입니다.", NAMES, "C", None),
        ("정답: B. D\n\nA는 마을이다.", NAMES, "B", None),
        ("정답: D. C형 간염, A. B형 간염", NAMES, None, None),
        ("정답: A: 3, B: 5", ("3", "5", "7", "9"), None, None),
        ("정답: A, B", ("B", "A", "C", "D"), None, None),
        ("정답: A B", ("B", "A", "C", "D"), None, None),
        ("정답: C 서울이 아닙니다", NAMES, None, None),
        ("정답: C 부산", NAMES, None, None),
        ("정답: C 서울숲", NAMES, None, None),
        ("A dog is an animal.", ("dog", "cat", "cow", "hen"), None, None),
        ("정답: E. 귤", (*NAMES, "귤")[:4], None, None),
        ("정답: D. A, B, C", LETTERS, None, None),
        ("정답: C 서울, 수도이므로", NAMES, "C", None),
        ("정답: C: 서울, C: 서울", NAMES, "C", "C"),
        ("정답: (A) 가,B) 나", ("가", "나", "다", "라"), None, None),
    ],
)
def test_the_options_own_text_follows(
    reply: str, options: tuple[str, ...], expected: str | None, without: str | None
) -> None:
    """Letters in an option's text are no second answer; without the options they cannot be told from one."""
    assert parse_choice(reply, 4, options) == expected
    assert parse_choice(reply, 4) == without


@pytest.mark.parametrize(
    ("form", "n_near", "n_far"),
    [
        ("정답은 다음과 같습니다: A\n{}\nB. 서울", 1900, 2000),
        ("정답: A. {} B도 정답", 380, 400),
        ("B, {}A가 정답입니다.", 37, 38),
    ],
    ids=["a list", "the rest of the line", "what is joined before"],
)
def test_another_letter_counts_where_it_is_near(form: str, n_near: int, n_far: int) -> None:
    """The bounds keep a broken model's endless reply from taking minutes."""
    assert parse_choice(form.format("." * n_near), 4) is None
    assert parse_choice(form.format("." * n_far), 4) == "A"


@pytest.mark.slow
def test_many_statements_are_read_in_time() -> None:
    started = time.process_time()
    for piece in (
        "정답 A는 ",
        "정답은 다음과 같습니다: A\n",
        "옳은 것은 A입니다. ",
        "정답은 A가 아니라 ",
        "정답: A: 3, ",
    ):
        parse_choice(piece * 5_000, 4, ("3", "나", "다", "라"))
    assert parse_choice("정답: A\n" + "정답 B는 " * 9_000, 4) is None
    assert parse_choice("정답 A는 " * 9_000 + "정답: B", 4) == "B"
    assert time.process_time() - started < 4


def test_open_reasoning_holds_no_answer() -> None:
    assert parse_choice("정답: A", 4, thinking_opened=True) is None
    assert parse_choice("A인가?\n정답: A\n</think>\n\n정답: B", 4, thinking_opened=True) == "B"
    assert strip_thinking("<think>\n\n</think>\n\n답") == "답"
    assert strip_thinking("<think>끝없이") == ""
    assert strip_thinking("답 </think>") == "답 </think>"
    assert strip_thinking("<think>가</think> 나</think>다") == "나</think>다"
    assert strip_thinking("\n</think>\n답\n") == "답\n"


@pytest.mark.parametrize(
    ("text", "stop", "thinking", "expected"),
    [
        ("정답: A\n\n설명", ("\n\n",), False, "정답: A"),
        ("가나다라", ("라", "나"), False, "가"),
        ("가나", (), False, "가나"),
        ("가나", ("다",), False, "가나"),
        ("나", ("나",), False, ""),
        ("생각\n\n더\n</think>\n정답: A\n\n설명", ("\n\n",), True, "생각\n\n더\n</think>\n정답: A"),
        ("생각\n\n더", ("\n\n",), True, "생각\n\n더"),
        ("가나다나", ("나",), False, "가"),
        ("생각</think>가\n나</think>다", ("\n",), True, "생각</think>가"),
        ("</think>가\n나", ("\n",), True, "</think>가"),
    ],
)
def test_stop_texts_cut(text: str, stop: tuple[str, ...], thinking: bool, expected: str) -> None:
    assert cut_reply(text, stop, thinking_opened=thinking) == expected
    if not thinking:
        assert cut_reply(text, stop) == expected


def test_shipped_few_shots_reply_in_the_form_asked_for(benchmarks: dict[str, Benchmark]) -> None:
    choices = [benchmark for benchmark in benchmarks.values() if benchmark.metric == "accuracy"]
    assert len(choices) == 2
    for benchmark in choices:
        example = re.search('"(정답: [A-E])"', benchmark.prompt)
        replies = [shot.reply for shot in benchmark.few_shots]
        for reply in [example[1] if example else "", *replies]:
            assert parse_choice(cut_reply(reply, benchmark.stop), 4)
