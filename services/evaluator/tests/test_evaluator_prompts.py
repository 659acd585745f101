"""Rows, prompts and cuts, without a model: a tokenizer of one token a character stands in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from evaluator_testing import choice_row, document_row, write_rows

from evaluator.engines.batches import plan_batches
from evaluator.items import ChoiceItem, DocumentItem, load_items, parse_row
from evaluator.prompts import render_choice, render_document
from lanekit.benchmarks import Benchmark
from lanekit.errors import InputError

OVERHEAD = 5


class CharacterEncoder:
    """One token a character, and five for the template."""

    def encode_chat(self, message: str) -> list[int]:
        return [0] * OVERHEAD + [ord(c) for c in message]

    def find_token_ends(self, text: str) -> list[int]:
        return list(range(1, len(text) + 1))


def parse_document(benchmarks: dict[str, Benchmark], **changes: Any) -> DocumentItem:
    item = parse_row(benchmarks["ko_longrag"], document_row(**changes), "x.jsonl:1")
    assert isinstance(item, DocumentItem)
    return item


def parse_choice_row(benchmarks: dict[str, Benchmark], **changes: Any) -> ChoiceItem:
    item = parse_row(benchmarks["kmmlu_pro"], choice_row(**changes), "x.jsonl:1")
    assert isinstance(item, ChoiceItem)
    return item


@pytest.mark.parametrize(("solution", "letter"), [("1", "A"), ("4", "D"), ("5", "E"), (" 2 ", "B")])
def test_solution_counts_from_one(benchmarks: dict[str, Benchmark], solution: str, letter: str) -> None:
    assert parse_choice_row(benchmarks, n_options=5, solution=solution).gold == letter


@pytest.mark.parametrize("n_options", [4, 5])
def test_choice_message(benchmarks: dict[str, Benchmark], n_options: int) -> None:
    item = parse_choice_row(benchmarks, n_options=n_options)
    message = render_choice(benchmarks["kmmlu_pro"], item, CharacterEncoder(), 1000).message
    assert "A. 사과\nB. 배\nC. 포도\nD. 감" in message
    assert ("E. 귤" in message) is (n_options == 5)
    assert item.question in message
    assert "{" not in message


@pytest.mark.parametrize(
    ("changes", "column"),
    [
        ({"solution": "0"}, "solution"),
        ({"solution": "5"}, "solution"),
        ({"solution": 1}, "solution"),
        ({"solution": "A"}, "solution"),
        ({"solution": ""}, "solution"),
        ({"solution": None}, "solution"),
        ({"options": []}, "options"),
        ({"options": ["하나"]}, "options"),
        ({"options": ["a", "b", "c", "d", "e", "f"]}, "options"),
        ({"options": ["a", ""]}, "options"),
        ({"options": "a,b"}, "options"),
        ({"question": " "}, "question"),
    ],
)
def test_bad_choice_row(benchmarks: dict[str, Benchmark], changes: dict[str, Any], column: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_row(benchmarks["kmmlu_pro"], choice_row(**changes), "kmmlu_pro.jsonl:7")
    assert f"kmmlu_pro.jsonl:7: column '{column}'" in caught.value.message
    assert caught.value.remedy


@pytest.mark.parametrize("column", ["question", "options", "solution"])
def test_missing_column(benchmarks: dict[str, Benchmark], tmp_path: Path, column: str) -> None:
    bad = choice_row()
    del bad[column]
    write_rows(tmp_path / "kmmlu_pro.jsonl", [choice_row(), bad])
    with pytest.raises(InputError, match=rf"kmmlu_pro\.jsonl:2: column '{column}': the column is missing"):
        load_items(tmp_path, benchmarks["kmmlu_pro"])


def test_bad_files(benchmarks: dict[str, Benchmark], tmp_path: Path) -> None:
    path = tmp_path / "kmmlu_pro.jsonl"
    with pytest.raises(InputError, match="no rows for the benchmark"):
        load_items(tmp_path, benchmarks["kmmlu_pro"])
    path.write_text("\n", encoding="utf-8")
    with pytest.raises(InputError, match="the file has no rows"):
        load_items(tmp_path, benchmarks["kmmlu_pro"])
    path.write_text('{"question": \n', encoding="utf-8")
    with pytest.raises(InputError, match=r"kmmlu_pro\.jsonl:1:\d+: not JSON"):
        load_items(tmp_path, benchmarks["kmmlu_pro"])
    path.write_text("[1]\n", encoding="utf-8")
    with pytest.raises(InputError, match="must be a JSON object"):
        load_items(tmp_path, benchmarks["kmmlu_pro"])


@pytest.mark.parametrize(
    ("changes", "column"),
    [({"prompt": "{context}"}, "prompt"), ({"answer": 3}, "answer"), ({"context": 3}, "context")],
)
def test_bad_document_row(benchmarks: dict[str, Benchmark], changes: dict[str, Any], column: str) -> None:
    with pytest.raises(InputError, match=f"column '{column}'"):
        parse_document(benchmarks, **changes)


def test_document_is_filled_literally(benchmarks: dict[str, Benchmark]) -> None:
    item = parse_document(benchmarks, context="중괄호 {question} 그대로", titles=["가", "나"])
    prompt = render_document(benchmarks["ko_longrag"], item, CharacterEncoder(), 1000)
    assert "중괄호 {question} 그대로" in prompt.message
    assert "제목: 가, 나" in prompt.message
    assert prompt.cut is None


def test_cut_takes_the_end_of_the_context_alone(benchmarks: dict[str, Benchmark]) -> None:
    benchmark = benchmarks["ko_longrag"].model_copy(update={"max_prompt_tokens": 200})
    item = parse_document(benchmarks, sentences=40)
    prompt = render_document(benchmark, item, CharacterEncoder(), 1000)
    assert len(prompt.token_ids) == 200
    assert prompt.cut is not None
    assert prompt.cut.context_tokens == len(item.context)
    assert item.context[: prompt.cut.kept_tokens] + "\n\n질문: 1번 마을의 강은?" in prompt.message
    assert item.context[: prompt.cut.kept_tokens + 1] not in prompt.message
    assert prompt.cut.answer_lost


def test_cut_knows_that_the_answer_stayed(benchmarks: dict[str, Benchmark]) -> None:
    benchmark = benchmarks["ko_longrag"].model_copy(update={"max_prompt_tokens": 200})
    for answer in ("0호 강", "문서에 없는 말", "답할 수 없음"):
        item = parse_document(benchmarks, sentences=40, answer=answer)
        cut = render_document(benchmark, item, CharacterEncoder(), 1000).cut
        assert cut is not None
        assert not cut.answer_lost


def test_the_engines_room_is_a_budget_too(benchmarks: dict[str, Benchmark]) -> None:
    item = parse_document(benchmarks, sentences=40)
    assert len(render_document(benchmarks["ko_longrag"], item, CharacterEncoder(), 150).token_ids) == 150


def test_what_cannot_fit_is_refused(benchmarks: dict[str, Benchmark]) -> None:
    with pytest.raises(InputError, match="item d1: the prompt has"):
        render_document(benchmarks["ko_longrag"], parse_document(benchmarks), CharacterEncoder(), 20)
    with pytest.raises(InputError, match="max_model_len"):
        render_choice(benchmarks["kmmlu_pro"], parse_choice_row(benchmarks), CharacterEncoder(), 20)


def test_batches_are_sorted_and_bounded() -> None:
    assert plan_batches([3, 9, 5, 9], 2) == [[1, 3], [2, 0]]
    assert plan_batches([10, 10, 1], 8, max_tokens=20) == [[0, 1], [2]]
    assert plan_batches([50, 1], 8, max_tokens=20) == [[0], [1]]
    assert plan_batches([], 8) == []
