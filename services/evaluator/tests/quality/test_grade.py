"""From replies to rows and results, without a model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from evaluator_testing import choice_row, document_row

from evaluator.quality.grade import Graded, Reply, grade_reply, summarize_benchmark
from evaluator.quality.prompts import Cut, Prompt
from lanekit.spec.benchmark import Benchmark
from lanekit.spec.rows import parse_row

CHAT_ROW = {
    "question_id": 81,
    "category": "writing",
    "turns": ["첫 질문", "다음 질문"],
    "reference": ["답", None],
}


@pytest.fixture
def grade(benchmarks: dict[str, Benchmark]) -> Any:
    def run(name: str, row: dict[str, Any], text: str, cut: Cut | None = None, **changes: Any) -> Graded:
        benchmark = benchmarks[name].model_copy(update={"stop": changes.pop("stop", ())})
        item = parse_row(benchmark.name, row, "x.jsonl:1")
        reply = Reply(text, new_tokens=5, finished=True)
        return grade_reply(benchmark, item, Prompt("…", [0] * 7, cut), reply, **{"index": 0, **changes})

    return run


@pytest.mark.parametrize(
    ("text", "parsed", "value"),
    [("정답: B", "B", 1.0), ("정답: A", "A", 0.0), ("모름", None, 0.0), ("정답: E", None, 0.0)],
)
def test_choice(grade: Any, text: str, parsed: str | None, value: float) -> None:
    row = grade("kmmlu_pro", choice_row(1), text)
    assert (row.parsed, row.value, row.exact, row.gold) == (parsed, value, value == 1.0, "B")
    assert row.question == "1번 마을의 특산물은 무엇인가?\nA. 사과\nB. 배\nC. 포도\nD. 감"
    assert (row.prompt_tokens, row.new_tokens, row.finished) == (7, 5, True)
    assert (row.part, row.context_tokens, row.answer_lost) == ("", None, None)


def test_what_follows_a_stop_text_does_not_count(grade: Any) -> None:
    row = grade("kmmlu_pro", choice_row(1), "정답: B\n\n정답: C", stop=("\n\n",))
    assert (row.parsed, row.response) == ("B", "정답: B")
    assert grade("ko_longrag", document_row(1), "2호 강\n(제 생각)", stop=("\n",)).exact


def test_only_what_follows_the_reasoning_counts(grade: Any) -> None:
    text = "정답: C?\n\n아니다.\n</think>\n\n정답: B"
    row = grade("kmmlu_pro", choice_row(1), text, thinking=True, stop=("\n\n정답: D", "아니라"))
    assert (row.parsed, row.response) == ("B", text)
    endless = grade("kmmlu_pro", choice_row(1), "정답: B\n\n정답: B", thinking=True)
    assert (endless.parsed, endless.value) == (None, 0.0)
    silent = grade("ko_longrag", document_row(3, answer=""), "답할 수 없음", thinking=True)
    assert (silent.parsed, silent.value) == (None, 0.0)  # an open reasoning is no refusal


def test_document(grade: Any) -> None:
    row = grade("ko_longrag", document_row(1), "2호 강.", Cut(90, 40, answer_lost=True))
    assert (row.value, row.exact, row.part, row.task) == (1.0, True, "answerable", "single_document_qa")
    assert (row.context_tokens, row.kept_tokens, row.answer_lost) == (90, 40, True)
    assert grade("ko_longrag", document_row(3), "3호 강").part == "unanswerable"
    assert grade("ko_longrag", document_row(1), "").parsed is None


def test_conversation_has_no_value_yet(grade: Any, benchmarks: dict[str, Benchmark]) -> None:
    first = grade("komt_bench", CHAT_ROW, "첫 답")
    second = grade("komt_bench", CHAT_ROW, " 다음 답 ", turn=2)
    assert (first.question, first.gold, first.task, first.turn) == ("첫 질문", "답", "writing", 1)
    assert (second.question, second.gold, second.parsed, second.value) == ("다음 질문", "", "다음 답", None)
    result = summarize_benchmark(benchmarks["komt_bench"], [first, second])
    assert (result.value, result.n_items, result.note) == (None, 1, "no judge is configured")


def summarize(
    benchmark: Benchmark, grade: Any, cases: Sequence[tuple[dict[str, Any], str, Cut | None]]
) -> Any:
    rows = [grade(benchmark.name, row, text, cut) for row, text, cut in cases]
    return summarize_benchmark(benchmark, rows)


def test_parts_of_a_document_benchmark(grade: Any, benchmarks: dict[str, Benchmark]) -> None:
    multi = {"task": "multi_document_qa"}
    result = summarize(
        benchmarks["ko_longrag"],
        grade,
        [
            (document_row(1), "2호 강", None),
            (document_row(2, **multi), "", Cut(90, 40, answer_lost=True)),
            (document_row(4, **multi), "2호 강", Cut(90, 80, answer_lost=False)),
            (document_row(3), "답할 수 없습니다.", None),
            (document_row(6, **multi), "3호 강", Cut(90, 40, answer_lost=False)),
        ],
    )
    assert (result.value, result.exact_match) == (3 / 5, 3 / 5)
    assert (result.n_items, result.n_unparsed, result.n_cut, result.n_gold_lost) == (5, 1, 3, 1)
    assert result.note == "3 of 5 contexts were cut, at least 1 lost the gold answer"
    assert {name: (part.n_items, part.value) for name, part in result.parts.items()} == {
        "answerable": (3, 2 / 3),
        "unanswerable": (2, 1 / 2),
        "single_document_qa": (2, 1.0),
        "multi_document_qa": (3, 1 / 3),
    }


def test_a_choice_benchmark_has_no_parts(grade: Any, benchmarks: dict[str, Benchmark]) -> None:
    cases = [(choice_row(1), "정답: B", None), (choice_row(1), "?", None)]
    result = summarize(benchmarks["kmmlu_pro"], grade, cases)
    assert (result.value, result.n_unparsed, result.parts, result.exact_match) == (0.5, 1, {}, None)
    assert (result.version, result.metric) == (benchmarks["kmmlu_pro"].version, "accuracy")


def test_unparsed_replies_cut_at_the_limit_are_told(grade: Any, benchmarks: dict[str, Benchmark]) -> None:
    cases = [("정답: B", False), ("모름", True), ("이 문제는", False), ("이 문제에서", False)]
    rows = [replace(grade("kmmlu_pro", choice_row(1), text), finished=finished) for text, finished in cases]
    result = summarize_benchmark(benchmarks["kmmlu_pro"], rows)
    assert result.note == "2 of 3 unparsed replies were cut at max_new_tokens"
    assert summarize_benchmark(benchmarks["kmmlu_pro"], rows[:2]).note == ""


def test_the_items_options_help_to_read_the_reply(grade: Any) -> None:
    assert grade("kmmlu_pro", choice_row(1), "정답: B 배").parsed == "B"
    assert grade("kmmlu_pro", choice_row(1), "정답: B 감").parsed is None


def test_a_smaller_budget_than_the_benchmarks_is_told(grade: Any, benchmarks: dict[str, Benchmark]) -> None:
    benchmark = benchmarks["ko_longrag"]
    rows = [grade("ko_longrag", document_row(1), "", Cut(90, 40, answer_lost=True))]
    told = "; max_model_len had room for 976 of the 3072 prompt tokens"
    assert summarize_benchmark(benchmark, rows, room=976).note.endswith(told)
    for result in (summarize_benchmark(benchmark, rows, room=3072), summarize_benchmark(benchmark, rows)):
        assert result.note == "1 of 1 contexts were cut, at least 1 lost the gold answer"
    whole = [grade("ko_longrag", document_row(1), "")]
    assert summarize_benchmark(benchmark, whole, room=976).note == ""
