"""The chat template and decoding, with real tokenizers: the shipped tiny model's and the tests' own."""

from __future__ import annotations

from pathlib import Path

import pytest

from evaluator.quality.chat import ChatTokenizer
from evaluator.quality.items import load_items
from evaluator.quality.prompts import render_items
from lanekit.spec.benchmark import Benchmark

pytestmark = pytest.mark.slow  # imports torch

FIXTURE = Path(__file__).parents[4] / "scripts" / "tiny" / "fixture"
TURNS = [
    {"role": "user", "content": "마을의 강은?"},
    {"role": "assistant", "content": "2호 강"},
    {"role": "user", "content": "다시?"},
]


@pytest.mark.parametrize("thinking", [False, True])
def test_tokens_are_those_of_the_library(tiny_model: Path, thinking: bool) -> None:
    for folder in (FIXTURE, tiny_model):
        chat = ChatTokenizer(folder, enable_thinking=thinking)
        whole = chat.tokenizer.apply_chat_template(
            TURNS, add_generation_prompt=True, enable_thinking=thinking
        )
        one = chat.tokenizer.apply_chat_template(
            TURNS[:1], add_generation_prompt=True, enable_thinking=thinking
        )
        assert chat.encode_chats([TURNS, TURNS[:1]]) == [whole, one]
        assert chat.encode_chat(TURNS) == whole
        assert chat.render_chat(TURNS).endswith("<think>\n" if thinking else "</think>\n\n")
        assert chat.encode_chats([]) == chat.tokenize_texts([]) == []


def test_a_text_is_cut_at_its_tokens_ends(tiny_model: Path) -> None:
    chat = ChatTokenizer(tiny_model)
    texts = ["1번 마을의 강은 2호 강이다. 饕餮", "가"]
    for text, tokens in zip(texts, chat.tokenize_texts(texts), strict=True):
        encoded = chat.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        assert len(tokens) == len(encoded["input_ids"])
        ends = [tokens.find_end(n) for n in range(1, len(tokens) + 1)]
        assert ends == [end for _, end in encoded["offset_mapping"]]
        assert ends[-1] == len(text)


def test_marks_of_reasoning_outlive_decoding(tiny_model: Path) -> None:
    """The tests' tokenizer holds them for special tokens, which decoding leaves out."""
    chat = ChatTokenizer(tiny_model, enable_thinking=True)
    texts = ["가\n</think>\n\n정답: B", "<think>\n가\n</think>나</think>", "정답: A", ""]
    replies = [chat.tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]
    assert "</think>" not in chat.tokenizer.decode(replies[0], skip_special_tokens=True)
    assert chat.decode_replies([[*ids, chat.tokenizer.eos_token_id] for ids in replies]) == texts


def test_the_budget_holds_with_a_real_tokenizer(benchmarks: dict[str, Benchmark], suite: Path) -> None:
    """Korean characters of several byte tokens, and merges over the context's border."""
    chat = ChatTokenizer(FIXTURE)
    items = load_items(suite, benchmarks["ko_longrag"])
    for budget in range(90, 130):
        benchmark = benchmarks["ko_longrag"].model_copy(update={"max_prompt_tokens": budget})
        for prompt in render_items(benchmark, items, chat, 2048):
            assert len(prompt.token_ids) <= budget
            assert prompt.token_ids == chat.encode_chat([{"role": "user", "content": prompt.message}])
            assert prompt.message.startswith("문서를 읽고 답하세요.\n\n제목: 첫째 문서, 둘째 문서\n\n")
            assert prompt.message.endswith("\n\n질문: 1번 마을의 강은?")
