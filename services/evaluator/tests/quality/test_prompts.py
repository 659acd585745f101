"""Rows, prompts and cuts, without a model: a tokenizer of one token a character stands in."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from evaluator_testing import choice_row, document_row, write_rows
from hypothesis import given
from hypothesis import strategies as st

from evaluator.engines.batches import plan_batches
from evaluator.quality.items import load_items
from evaluator.quality.prompts import Message, Prompt, render_items, render_turns
from lanekit.errors import InputError
from lanekit.spec.benchmark import Benchmark, Shot
from lanekit.spec.experiment_file import load_benchmark
from lanekit.spec.rows import ChatItem, ChoiceItem, DocumentItem, Item, parse_row

OVERHEAD = 5
MARKS = {"user": 1, "assistant": 2}


@dataclass(frozen=True)
class Characters:
    """Each token is `width` characters, the last one what is left."""

    text: str
    width: int

    def __len__(self) -> int:
        return -(-len(self.text) // self.width)

    def find_end(self, n_tokens: int) -> int:
        return min(len(self.text), n_tokens * self.width)


@dataclass(frozen=True)
class CharacterEncoder:
    """One token for `width` characters, one for each turn's role, and four at the end."""

    width: int = 1

    def encode_chats(self, conversations: Sequence[Sequence[Message]]) -> list[list[int]]:
        encoded = []
        for messages in conversations:
            ids: list[int] = []
            for message in messages:
                content = message["content"]
                ids += [MARKS[message["role"]], *(ord(c) for c in content[:: self.width])]
            encoded.append([*ids, *[0] * (OVERHEAD - 1)])
        return encoded

    def tokenize_texts(self, texts: Sequence[str]) -> list[Characters]:
        return [Characters(text, self.width) for text in texts]


def render(benchmark: Benchmark, item: Item, room: int) -> Prompt:
    """Render one item where the engine has `room` tokens for its prompt."""
    return render_items(benchmark, [item], CharacterEncoder(), room + benchmark.max_new_tokens)[0]


def read_turns(prompt: Prompt) -> list[tuple[int, str]]:
    """Return role and text of each turn that a CharacterEncoder encoded."""
    turns: list[tuple[int, str]] = []
    for token in prompt.token_ids[: -(OVERHEAD - 1)]:
        if token in MARKS.values():
            turns.append((token, ""))
        else:
            turns[-1] = (turns[-1][0], turns[-1][1] + chr(token))
    return turns


def parse_document(benchmarks: dict[str, Benchmark], **changes: Any) -> DocumentItem:
    item = parse_row("ko_longrag", document_row(**changes), "x.jsonl:1")
    assert isinstance(item, DocumentItem)
    return item


def parse_choice_row(benchmarks: dict[str, Benchmark], **changes: Any) -> ChoiceItem:
    item = parse_row("kmmlu_pro", choice_row(**changes), "x.jsonl:1")
    assert isinstance(item, ChoiceItem)
    return item


@pytest.mark.parametrize(("solution", "letter"), [("1", "A"), ("4", "D"), ("5", "E"), (" 2 ", "B")])
def test_solution_counts_from_one(benchmarks: dict[str, Benchmark], solution: str, letter: str) -> None:
    assert parse_choice_row(benchmarks, n_options=5, solution=solution).gold == letter


@pytest.mark.parametrize("n_options", [4, 5])
def test_choice_message(benchmarks: dict[str, Benchmark], n_options: int) -> None:
    item = parse_choice_row(benchmarks, n_options=n_options)
    message = render(benchmarks["kmmlu_pro"], item, 1000).message
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
        ({"options": ["a", "b", "c"], "solution": "1"}, "options"),
        ({"options": ["a", "b", "c", "d", "e", "f"]}, "options"),
        ({"options": ["a", "b", "c", ""]}, "options"),
        ({"options": "a,b"}, "options"),
        ({"question": " "}, "question"),
    ],
)
def test_bad_choice_row(benchmarks: dict[str, Benchmark], changes: dict[str, Any], column: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_row("kmmlu_pro", choice_row(**changes), "kmmlu_pro.jsonl:7")
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
    with pytest.raises(InputError, match=r"kmmlu_pro\.jsonl:1: not valid JSON: .*column \d+"):
        load_items(tmp_path, benchmarks["kmmlu_pro"])
    path.write_text("[1]\n", encoding="utf-8")
    with pytest.raises(InputError, match="a JSON array"):
        load_items(tmp_path, benchmarks["kmmlu_pro"])
    path.write_bytes('{"question": "안녕"}\n'.encode("cp949"))
    with pytest.raises(InputError, match="not UTF-8"):
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
    prompt = render(benchmarks["ko_longrag"], item, 1000)
    assert "중괄호 {question} 그대로" in prompt.message
    assert "제목: 가, 나" in prompt.message
    assert prompt.cut is None


def test_cut_takes_the_end_of_the_context_alone(benchmarks: dict[str, Benchmark]) -> None:
    benchmark = benchmarks["ko_longrag"].model_copy(update={"max_prompt_tokens": 200})
    item = parse_document(benchmarks, sentences=40)
    prompt = render(benchmark, item, 1000)
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
        cut = render(benchmark, item, 1000).cut
        assert cut is not None
        assert not cut.answer_lost


@pytest.mark.parametrize(
    ("said", "answer", "lost"),
    [
        ("12번 마을. ", "2", True),
        ("2.5 마을. ", "2", True),
        ("제2번 마을. ", "2", False),
        ("carbon 마을. ", "Car", True),
        ("카car는 마을. ", "Car", False),
        ("1,500원 마을. ", "500원", True),
        ("500 원 마을. ", "500원", False),
        ("작은강 마을. ", "강 마을", False),
    ],
)
def test_a_numbers_part_is_no_mention_of_the_answer(
    benchmarks: dict[str, Benchmark], said: str, answer: str, lost: bool
) -> None:
    benchmark = benchmarks["ko_longrag"].model_copy(update={"max_prompt_tokens": 200})
    item = parse_document(benchmarks, context=said * 40 + f"끝에 {answer}", answer=answer)
    cut = render(benchmark, item, 1000).cut
    assert cut is not None
    assert cut.answer_lost == lost


def test_the_engines_room_is_a_budget_too(benchmarks: dict[str, Benchmark]) -> None:
    item = parse_document(benchmarks, sentences=40)
    assert len(render(benchmarks["ko_longrag"], item, 150).token_ids) == 150


def test_what_cannot_fit_is_refused(benchmarks: dict[str, Benchmark]) -> None:
    item = parse_document(benchmarks)
    with pytest.raises(
        InputError, match="item d1: the prompt has 53 tokens without its documents where 20 fit"
    ):
        render(benchmarks["ko_longrag"], item, 20)
    assert len(render(benchmarks["ko_longrag"], item, 53).token_ids) == 53
    with pytest.raises(InputError, match="where 20 fit") as caught:
        render(benchmarks["kmmlu_pro"], parse_choice_row(benchmarks), 20)
    assert "evaluation.max_model_len" in caught.value.remedy


@pytest.mark.parametrize(("thinking", "name"), [(True, "thinking_max_new_tokens"), (False, "max_new_tokens")])
def test_a_reply_without_room_for_a_prompt_is_refused(
    benchmarks: dict[str, Benchmark], thinking: bool, name: str
) -> None:
    benchmark = benchmarks["kmmlu_pro"]
    length = benchmark.count_new_tokens(thinking=thinking)
    with pytest.raises(InputError, match=f"replies of up to {length} tokens leave no room") as caught:
        render_items(benchmark, [], CharacterEncoder(), length, thinking=thinking)
    assert f"lower {name} in benchmarks/kmmlu_pro.yaml" in caught.value.remedy
    assert "raise evaluation.max_model_len" in caught.value.remedy


def test_thinking_takes_its_room_from_the_documents(benchmarks: dict[str, Benchmark]) -> None:
    benchmark = benchmarks["ko_longrag"].model_copy(update={"thinking_max_new_tokens": 500})
    item = parse_document(benchmarks, sentences=40)
    prompts = [
        render_items(benchmark, [item], CharacterEncoder(), 700, thinking=thinking)[0]
        for thinking in (True, False)
    ]
    assert [len(prompt.token_ids) for prompt in prompts] == [200, 652]


texts = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=60)


@given(
    context=st.lists(texts, max_size=8),
    question=texts.filter(str.strip),
    titles=st.lists(texts, max_size=3),
    prefix=texts.map(lambda text: text.replace("{", "")),
    budget=st.integers(1, 500),
    width=st.integers(1, 7),
    few_shot=st.booleans(),
)
def test_the_budget_cuts_documents_never_the_question(
    context: list[str],
    question: str,
    titles: list[str],
    prefix: str,
    budget: int,
    width: int,
    few_shot: bool,
) -> None:
    """For any item: the budget holds and all but the context's end is there; else it is refused."""
    shot = Shot(fields=document_row(1, titles=["가"]), reply="2호 강")
    benchmark = Benchmark.model_validate(
        {
            "name": "ko_longrag", "version": 1, "parser": "free_text", "metric": "f1", "max_new_tokens": 8,
            "prompt": "{prompt}", "max_prompt_tokens": budget, "few_shots": (shot,) if few_shot else (),
        }
    )  # fmt: skip
    template = f"{prefix}<{{titles}}>[{{context}}]({{question}})"
    row = document_row(1, context=context, question=question, titles=titles, prompt=template)
    item = parse_row(benchmark.name, row, "x.jsonl:1")
    assert isinstance(item, DocumentItem)
    encoder = CharacterEncoder(width)
    bare = f"{prefix}<{item.titles}>[]({question})"
    shots = render_items(benchmark.model_copy(update={"max_prompt_tokens": None}), [item], encoder, 10_000)
    least = len(shots[0].token_ids) - len(shots[0].message[::width]) + len(bare[::width])
    if least > budget:
        with pytest.raises(InputError, match=f"{least} tokens without its documents where {budget} fit"):
            render_items(benchmark, [item], encoder, 10_000)
        return
    prompt = render_items(benchmark, [item], encoder, 10_000)[0]
    assert len(prompt.token_ids) <= budget
    assert prompt.message.startswith(f"{prefix}<{item.titles}>[")
    assert prompt.message.endswith(f"]({question})")
    kept = prompt.message.removeprefix(f"{prefix}<{item.titles}>[").removesuffix(f"]({question})")
    assert item.context.startswith(kept)
    assert (prompt.cut is None) == (kept == item.context)
    if prompt.cut:
        assert prompt.cut.kept_tokens < prompt.cut.context_tokens
        assert len(prompt.token_ids) > budget - 2  # no more is cut than must be


def test_many_documents_keep_their_order(benchmarks: dict[str, Benchmark]) -> None:
    benchmark = benchmarks["ko_longrag"].model_copy(update={"max_prompt_tokens": 200})
    items = [
        parse_row(benchmark.name, document_row(i, 40 if i % 3 else 2, question=f"{i}번?"), "x:1")
        for i in range(150)
    ]
    prompts = render_items(benchmark, items, CharacterEncoder(), 1000)
    assert [f"질문: {i}번?" in prompt.message for i, prompt in enumerate(prompts)] == [True] * 150
    assert [prompt.cut is None for prompt in prompts] == [i % 3 == 0 for i in range(150)]


VARIANT = """
name: kmmlu_pro
version: 9
parser: choice_letter
metric: accuracy
max_new_tokens: 24
prompt: "{question}\\n{options}\\n답:"
stop: ["\\n\\n"]
few_shots:
  - {fields: {question: "가?", options: [하나, 둘, 셋, 넷]}, reply: "정답: B"}
  - {fields: {question: "나?", options: [하나, 둘, 셋, 넷, 다섯], solution: "5"}, reply: "정답: E"}
"""


def test_few_shots_are_turns_before_the_question(benchmarks: dict[str, Benchmark], tmp_path: Path) -> None:
    path = tmp_path / "kmmlu_pro.yaml"
    path.write_text(VARIANT, encoding="utf-8")
    benchmark = load_benchmark(path)
    assert benchmark.stop == ("\n\n",)
    item = parse_choice_row(benchmarks, n_options=4)
    prompt = render(benchmark, item, 1000)
    assert read_turns(prompt) == [
        (MARKS["user"], "가?\nA. 하나\nB. 둘\nC. 셋\nD. 넷\n답:"),
        (MARKS["assistant"], "정답: B"),
        (MARKS["user"], "나?\nA. 하나\nB. 둘\nC. 셋\nD. 넷\nE. 다섯\n답:"),
        (MARKS["assistant"], "정답: E"),
        (MARKS["user"], f"{item.question}\nA. 사과\nB. 배\nC. 포도\nD. 감\n답:"),
    ]
    with pytest.raises(InputError, match="where 60 fit"):
        render(benchmark, item, 60)


def test_conversation_goes_on_with_the_models_own_replies(benchmarks: dict[str, Benchmark]) -> None:
    benchmark = benchmarks["komt_bench"]
    rows: list[dict[str, Any]] = [
        {"turns": ["하나?", "둘?"], "reference": None},
        {"turns": ["셋?", "넷?"], "reference": ["셋", None]},
    ]
    items = [parse_row(benchmark.name, row, f"komt.jsonl:{i}") for i, row in enumerate(rows)]
    chats = [item for item in items if isinstance(item, ChatItem)]
    assert [item.references for item in chats] == [("", ""), ("셋", "")]
    first = render_items(benchmark, items, CharacterEncoder(), 1)
    assert [read_turns(prompt) for prompt in first] == [[(1, "하나?")], [(1, "셋?")]]
    second = render_turns(benchmark, chats, [["1"], ["3"]], CharacterEncoder())
    assert read_turns(second[0]) == [(1, "하나?"), (2, "1"), (1, "둘?")]
    assert read_turns(second[1]) == [(1, "셋?"), (2, "3"), (1, "넷?")]
    assert second[1].message == "넷?"


@pytest.mark.parametrize(
    ("row", "column"),
    [
        ({"turns": [], "reference": None}, "turns"),
        ({"turns": "둘?", "reference": None}, "turns"),
        ({"turns": ["하나?", " "], "reference": None}, "turns"),
        ({"turns": ["하나?"], "reference": None}, "turns"),
        ({"turns": ["하나?", "둘?", "셋?"], "reference": None}, "turns"),
        ({"turns": ["하나?", "둘?"], "reference": 3}, "reference"),
        ({"turns": ["하나?", "둘?"]}, "reference"),
    ],
)
def test_bad_chat_row(benchmarks: dict[str, Benchmark], row: dict[str, Any], column: str) -> None:
    with pytest.raises(InputError, match=f"column '{column}'"):
        parse_row("komt_bench", row, "komt_bench.jsonl:1")


def test_the_first_items_are_read(benchmarks: dict[str, Benchmark], tmp_path: Path) -> None:
    path = tmp_path / "kmmlu_pro.jsonl"
    lines = [json.dumps(choice_row(i), ensure_ascii=False) for i in range(1, 6)]
    path.write_text("\n".join([*lines[:2], "", *lines[2:], "no JSON"]), encoding="utf-8")
    found = load_items(tmp_path, benchmarks["kmmlu_pro"], 3)
    assert [item.id for item in found] == ["q1", "q2", "q3"]
    with pytest.raises(InputError, match=r"kmmlu_pro\.jsonl:7"):
        load_items(tmp_path, benchmarks["kmmlu_pro"], 6)


def test_batches_are_sorted_and_bounded() -> None:
    assert plan_batches([3, 9, 5, 9], 2) == [[1, 3], [2, 0]]
    assert plan_batches([10, 10, 1], 8, max_tokens=20) == [[0, 1], [2]]
    assert plan_batches([50, 1], 8, max_tokens=20) == [[0], [1]]
    assert plan_batches([], 8) == []
