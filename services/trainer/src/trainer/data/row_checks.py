"""What a benchmark row must hold, so that a bad set is refused when it is prepared, not when it is asked."""

from __future__ import annotations

from typing import Any

from lanekit.errors import InputError
from lanekit.spec.benchmark import CHOICE_LETTERS

MIN_OPTIONS = 2
RAG_PLACES = ("{context}", "{question}")
_MAX_SHOWN = 60


def check_row(name: str, row: dict[str, Any], where: str) -> None:
    """Refuse a row whose values the evaluation could not use; its columns are there.

    Raises:
        InputError: names the place, the column and the value.
    """
    find = {"ko_longrag": _find_document_fault, "komt_bench": _find_chat_fault}.get(name, _find_choice_fault)
    column, wanted = find(row)
    if column:
        raise InputError(
            f"{where}: column '{column}': {wanted}; found {_show(row[column])}",
            remedy="correct the data, or give another source or revision in the experiment file",
        )


def _find_choice_fault(row: dict[str, Any]) -> tuple[str, str]:
    options, solution = row["options"], row["solution"]
    if not _is_text(row["question"]):
        return "question", "must be a text that is not empty"
    limits = f"{MIN_OPTIONS} to {len(CHOICE_LETTERS)}"
    if not isinstance(options, list) or not MIN_OPTIONS <= len(options) <= len(CHOICE_LETTERS):
        return "options", f"must be a list of {limits} texts"
    if not all(map(_is_text, options)):
        return "options", "an option is empty or no text"
    if not isinstance(solution, str) or not solution.strip().isdecimal():
        return "solution", 'must be a 1-based number as text, like "1" for the first option'
    if not 1 <= int(solution) <= len(options):
        return "solution", f"must lie between 1 and {len(options)}, the number of options"
    return "", ""


def _find_document_fault(row: dict[str, Any]) -> tuple[str, str]:
    for column in ("context", "titles"):
        value = row[column]
        if not isinstance(value, str) and not (
            isinstance(value, list) and all(isinstance(part, str) for part in value)
        ):
            return column, "must be a text or a list of texts"
    for column in ("question", "prompt"):
        if not _is_text(row[column]):
            return column, "must be a text that is not empty"
    if not isinstance(row["answer"], str):
        return "answer", "must be a text"
    missing = [place for place in RAG_PLACES if place not in row["prompt"]]
    if missing:
        return "prompt", f"the template lacks {', '.join(missing)}"
    return "", ""


def _find_chat_fault(row: dict[str, Any]) -> tuple[str, str]:
    turns = row["turns"]
    if not isinstance(turns, list) or not turns or not all(map(_is_text, turns)):
        return "turns", "must be a list of texts, one a turn"
    return "", ""


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _show(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _MAX_SHOWN else text[: _MAX_SHOWN - 1] + "…"
