"""Answers to be judged."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from evaluator_testing import write_rows

from evaluator.quality.outputs import write_items
from lanekit.results.collect import ITEMS_NAME
from lanekit.spec.benchmark import Benchmark, Rubric

KOREAN_ANSWER = "강이 있는 작은 마을입니다."


def judge_rubric(benchmarks: dict[str, Benchmark]) -> Rubric:
    rubric = benchmarks["komt_bench"].rubric
    assert rubric
    return rubric


def answer_row(index: int, turn: int, identity: str, answer: str, task: str = "") -> dict[str, Any]:
    """A row of items.parquet as `evaluate` writes it for a benchmark that is judged later."""
    return {
        "benchmark": "komt_bench",
        "index": index,
        "id": identity,
        "turn": turn,
        "part": "",
        "task": task,
        "question": f"질문 {turn}",
        "prompt_tokens": 8,
        "new_tokens": 8,
        "finished": True,
        "response": answer,
        "parsed": answer or None,
        "gold": "참고",
        "value": None,
        "exact": None,
        "context_tokens": None,
        "kept_tokens": None,
        "answer_lost": None,
        "note": "",
    }


def write_conversations(suite: Path, n_items: int) -> None:
    """A set whose odd items have a reference, in two categories."""
    rows = [
        {
            "question_id": 100 + i,
            "category": ("writing", "math")[i % 2],
            "turns": [f"{i}번 마을은?", f"{i}번 마을의 강은?"],
            "reference": [f"{i}번", None] if i % 2 else None,
        }
        for i in range(n_items)
    ]
    write_rows(suite / "komt_bench.jsonl", rows)


def write_answers(folder: Path, n_items: int, answer: Callable[[int, int], str] | None = None) -> None:
    """An `evaluate` artifact with the answers to `write_conversations`, and rows of another benchmark."""
    rows = []
    for i in range(n_items):
        for turn in (1, 2):
            text = answer(i, turn) if answer else f"{i}번 {KOREAN_ANSWER} {turn}"
            rows.append(answer_row(i, turn, str(100 + i), text, ("writing", "math")[i % 2]))
    other = {**answer_row(0, 1, "q1", "A"), "benchmark": "kmmlu_pro", "value": 1.0, "exact": True}
    write_items(folder / ITEMS_NAME, [other, *rows])
