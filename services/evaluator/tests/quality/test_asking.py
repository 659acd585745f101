"""Stop texts and conversations for real: the shipped tiny model with the transformers engine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from evaluator.engines import load_engine
from evaluator.engines.base import Engine
from evaluator.quality.asking import Asker, count_turns, summarize_time
from evaluator.quality.chat import ChatTokenizer
from evaluator.quality.grade import Graded
from evaluator.quality.parse import cut_reply
from evaluator.quality.prompts import render_items
from lanekit.progress import ignore_progress
from lanekit.spec.benchmark import Benchmark
from lanekit.spec.evaluation import EngineParams
from lanekit.spec.rows import ChatItem, Item

pytestmark = pytest.mark.slow

FIXTURE = Path(__file__).parents[4] / "scripts" / "tiny" / "fixture"
TURNS = ["고미러 마을을 소개하는 짧은 글을 써 주세요.", "한 문장 더해 주세요."]


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    params = EngineParams(engine="transformers", max_model_len=256, batch_size=4, device="cpu")
    engine = load_engine(FIXTURE, params)
    yield engine
    engine.close()


def make_chats(*conversations: list[str]) -> list[Item]:
    """Return conversations of any number of turns; a set's rows have two, the asking does not rely on it."""
    return [
        ChatItem(str(number), tuple(turns), ("",) * len(turns), "")
        for number, turns in enumerate(conversations)
    ]


def ask(
    engine: Engine,
    benchmark: Benchmark,
    items: list[Item],
    max_model_len: int = 256,
    progress: Any = ignore_progress,
) -> list[Graded]:
    chat = ChatTokenizer(FIXTURE)
    total = sum(map(count_turns, items))
    prompts = render_items(benchmark, items, chat, max_model_len)
    return Asker(chat, max_model_len, progress, total).ask(engine, benchmark, items, prompts)[0]


def test_second_turn_is_asked_with_the_first_reply(engine: Engine, benchmarks: dict[str, Benchmark]) -> None:
    benchmark = benchmarks["komt_bench"].model_copy(update={"max_new_tokens": 16})
    items = make_chats(TURNS, ["마을의 강은?"], [*TURNS, "끝으로?"])
    steps: list[tuple[int, int]] = []
    rows = ask(
        engine, benchmark, items, progress=lambda step, total, _message="": steps.append((step, total))
    )
    assert [(row.index, row.turn) for row in rows] == [(0, 1), (0, 2), (1, 1), (2, 1), (2, 2), (2, 3)]
    assert steps[0] == (0, 6) and steps[-1] == (6, 6) and steps == sorted(steps)
    chat = ChatTokenizer(FIXTURE)
    roles = ("user", "assistant") * 3
    for number in (2, 3):
        spoken: list[str] = []
        for row in rows[3 : 2 + number]:
            spoken += [row.question, row.parsed or ""]
        messages = [
            {"role": r, "content": c}
            for r, c in zip(roles, [*spoken, items[2].turns[number - 1]], strict=False)
        ]  # type: ignore[union-attr]
        prompt = chat.encode_chat(messages)
        wanted = engine.generate([prompt], 16)[0]
        found = rows[2 + number]
        assert rows[3].parsed
        assert found.prompt_tokens == len(prompt) > rows[3].prompt_tokens
        assert found.response == chat.decode_replies([wanted.token_ids])[0]
        assert (found.new_tokens, found.finished) == (wanted.n_generated, wanted.finished)


def test_a_long_conversation_gets_the_room_that_is_left(
    engine: Engine, benchmarks: dict[str, Benchmark]
) -> None:
    benchmark = benchmarks["komt_bench"].model_copy(update={"max_new_tokens": 16})
    (free,) = ask(engine, benchmark, make_chats(TURNS[:1]))
    assert free.new_tokens > 3
    room = free.prompt_tokens + 3
    rows = ask(engine, benchmark, make_chats(TURNS, ["강은?"]), max_model_len=room)
    assert [(row.index, row.turn) for row in rows] == [(0, 1), (0, 2), (1, 1)]
    assert (rows[0].new_tokens, rows[0].finished, rows[0].note) == (3, False, "")
    assert free.response.startswith(rows[0].response)
    assert (rows[1].response, rows[1].parsed, rows[1].new_tokens, rows[1].finished) == ("", None, 0, False)
    assert (
        rows[1].note
        == f"not asked: the conversation has {rows[1].prompt_tokens} tokens, max_model_len is {room}"
    )
    assert rows[2].new_tokens > 0
    timing = summarize_time(rows, 2.0)
    assert (timing["items"], timing["replies"], timing["items_per_s"], timing["not_asked"]) == (2, 3, 1.0, 1)


def test_stop_texts_end_replies(engine: Engine, benchmarks: dict[str, Benchmark]) -> None:
    """Early, each reply by itself; and the text cut is the same as that of the whole reply."""
    chat = ChatTokenizer(FIXTURE)
    prompts = [
        chat.encode_chat([{"role": "user", "content": f"{name} 마을을 소개하세요."}])
        for name in ("고미러", "거다호", "하나모")
    ]
    whole = engine.generate(prompts, 24)
    texts = chat.decode_replies([output.token_ids for output in whole])
    stop = (texts[0][2:5], "나오지 않는 글")
    assert len(stop[0]) == 3
    stopped = engine.generate(prompts, 24, stop=stop)
    cut = chat.decode_replies([output.token_ids for output in stopped])
    assert stopped[0].by_text and stopped[0].finished
    assert len(stopped[0].token_ids) == stopped[0].n_generated < len(whole[0].token_ids)
    for output, reply, free, text in zip(stopped, cut, whole, texts, strict=True):
        assert cut_reply(reply, stop) == cut_reply(text, stop)
        assert output.by_text == any(mark in text for mark in stop)
        if not output.by_text:
            assert output == free
    # No text is looked for in the prompt, and none where the length is fixed.
    assert engine.generate(prompts, 24, stop=("마을을 소개",))[0].by_text == ("마을을 소개" in texts[0])
    fixed = engine.generate(prompts, 12, stop=stop, ignore_eos=True)
    assert [len(output.token_ids) for output in fixed] == [12] * 3


def test_a_benchmarks_stop_texts_are_used(engine: Engine, benchmarks: dict[str, Benchmark]) -> None:
    benchmark = benchmarks["komt_bench"].model_copy(update={"max_new_tokens": 16})
    (free,) = ask(engine, benchmark, make_chats(TURNS[:1]))
    mark = free.response[1:3]
    (row,) = ask(engine, benchmark.model_copy(update={"stop": (mark,)}), make_chats(TURNS[:1]))
    assert row.response == free.response[: free.response.index(mark)]
    assert row.finished and 0 < row.new_tokens < free.new_tokens
