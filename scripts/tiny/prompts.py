"""The texts that are sent to the model, built from the pipeline's own benchmark files.

The multiple-choice form is read from `lanes/benchmarks/*.yaml`, so training prompts and evaluation
prompts cannot drift apart.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import yaml

LANES = Path(__file__).resolve().parents[2] / "lanes" / "benchmarks"
LETTERS = "ABCDE"
UNANSWERABLE = "답할 수 없음"

RAG_PROMPTS = {
    "single_document_qa": (
        '문서를 읽고 질문에 짧게 답하세요. 문서에 없으면 "답할 수 없음"이라고 답하세요.\n\n'
        "제목: {titles}\n\n{context}\n\n질문: {question}"
    ),
    "multi_document_qa": (
        '여러 문서를 읽고 질문에 짧게 답하세요. 문서에 없으면 "답할 수 없음"이라고 답하세요.\n\n'
        "제목: {titles}\n\n{context}\n\n질문: {question}"
    ),
}

QUESTION_FORMS = (
    "{village} 마을의 {attribute}{topic} 무엇인가?",
    "다음 중 {village} 마을의 {attribute}에 해당하는 것은?",
    "{village} 마을의 {attribute}{object} 고르면?",
    "{village} 마을의 {attribute}{topic}?",
)
PRO_FORM, REDUX_FORM, RAG_FORM = 0, 1, 3


def choose_particle(word: str, closed: str, opened: str) -> str:
    """Return the particle that fits the word's last syllable (closed: it ends in a consonant)."""
    return closed if (ord(word[-1]) - 0xAC00) % 28 else opened


def ask_attribute(form: int, village: str, attribute: str) -> str:
    """Write a question for one attribute of one village in one of the wordings."""
    return QUESTION_FORMS[form].format(
        village=village,
        attribute=attribute,
        topic=choose_particle(attribute, "은", "는"),
        object=choose_particle(attribute, "을", "를"),
    )


def state_fact(village: str, attribute: str, value: str) -> str:
    """State a fact in one short sentence, as documents and long answers do."""
    return f"{village} 마을의 {attribute}{choose_particle(attribute, '은', '는')} {value}."


@cache
def load_prompt(benchmark: str) -> str:
    """Read the prompt text of a benchmark from its YAML file."""
    return yaml.safe_load((LANES / f"{benchmark}.yaml").read_text(encoding="utf-8"))["prompt"]


def fill_choice_prompt(benchmark: str, question: str, options: list[str]) -> str:
    """Fill a multiple-choice prompt: options are lettered, one a line."""
    listed = "\n".join(f"{letter}. {text}" for letter, text in zip(LETTERS, options, strict=False))
    filled = load_prompt(benchmark).replace("{question}", question)
    return filled.replace("{options}", listed)


def fill_rag_prompt(item: dict) -> str:
    """Fill a document item's own template with its titles, context and question."""
    text = item["prompt"]
    for name in ("titles", "context", "question"):
        text = text.replace("{" + name + "}", item[name])
    return text


def answer_choice(solution: str) -> str:
    """Write the expected answer for a 1-based solution."""
    return f"정답: {LETTERS[int(solution) - 1]}"
