"""What a benchmark's row must hold: the one check, for preparing, evaluating, judging and the few-shots.

A row that passes here can be asked: a bad set is refused when it is prepared, not hours later.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from lanekit.errors import InputError
from lanekit.files.json_lines import RowFault
from lanekit.spec.benchmark import CHAT_TURNS, CHOICE_LETTERS, OPTION_COUNTS, REQUIRED_COLUMNS

_PLACES = ("{context}", "{question}")
ID_COLUMNS = ("id", "question_id")
MAX_SOLUTION = 20  # characters: Python refuses to read a number of thousands
MAX_NAMED = 5  # bad rows in one message


@dataclass(frozen=True)
class ChoiceItem:
    """A multiple-choice question; `gold` is a letter, A to E."""

    id: str
    question: str
    options: tuple[str, ...]
    gold: str


@dataclass(frozen=True)
class DocumentItem:
    """A question on documents, with its own prompt template; an empty `gold` means unanswerable."""

    id: str
    titles: str
    context: str
    question: str
    template: str
    gold: str
    task: str


@dataclass(frozen=True)
class ChatItem:
    """A conversation's user turns, for a judge; `references` has a text for each, "" where there is none."""

    id: str
    turns: tuple[str, ...]
    references: tuple[str, ...]
    task: str


Item = ChoiceItem | DocumentItem | ChatItem


def parse_row(name: str, row: Mapping[str, Any], where: str) -> Item:
    """Check one row of the benchmark `name` and return its item.

    Args:
        where: "file:line", for errors.

    Raises:
        InputError: names the place, the column and the value.
    """
    for column in REQUIRED_COLUMNS[name]:
        if column not in row:
            raise _fault(where, column, "the column is missing", f"it has {', '.join(row) or 'none'}")
    own = [str(row[column]) for column in ID_COLUMNS if row.get(column) is not None]
    return ROW_PARSERS[name](row, (own or [where.rsplit(":", 1)[-1].strip()])[0], where)


@dataclass
class BadRows:
    """Rows of benchmark sets that cannot be used: how many, and the first of them."""

    count: int = 0
    named: list[InputError] = field(default_factory=list)

    def add(self, error: InputError) -> None:
        """Count a row; `error` names its place."""
        self.count += 1
        if len(self.named) < MAX_NAMED:
            self.named.append(error)

    def make_error(self) -> InputError | None:
        """Return one error for all of them, None where there are none."""
        if self.count <= 1:
            return self.named[0] if self.named else None
        lines = [fault.message for fault in self.named]
        if self.count > len(lines):
            lines.append(f"and {self.count - len(lines)} more rows")
        return InputError(
            f"{self.count} rows of the benchmark sets cannot be used:\n  " + "\n  ".join(lines),
            remedy="; ".join(dict.fromkeys(fault.remedy for fault in self.named)),
        )


def check_rows(
    name: str, rows: Iterable[tuple[str, dict[str, Any] | RowFault]], bad: BadRows
) -> Iterator[tuple[str, dict[str, Any], Item]]:
    """Yield the good rows of the benchmark `name`, each with its place and item; the others go to `bad`."""
    for where, row in rows:
        try:
            if isinstance(row, RowFault):
                raise row.as_error(where)
            item = parse_row(name, row, where)
        except InputError as error:
            bad.add(error)
            continue
        yield where, row, item


def has_own_id(row: Mapping[str, Any]) -> bool:
    """Whether a row says which it is; where it does not, its place stands for that."""
    return any(row.get(column) is not None for column in ID_COLUMNS)


def _parse_chat(row: Mapping[str, Any], identity: str, where: str) -> ChatItem:
    turns, references = row["turns"], row["reference"]
    are_texts = isinstance(turns, list) and all(isinstance(t, str) and t.strip() for t in turns)
    if not are_texts or len(turns) != CHAT_TURNS:
        raise _fault(where, "turns", f"must be a list of {CHAT_TURNS} texts", f"found {_show(turns)}")
    known = [references] if references is None or isinstance(references, str) else references
    if not isinstance(known, list) or not all(r is None or isinstance(r, str) for r in known):
        wanted = "must be null or a list of texts, one a turn"
        raise _fault(where, "reference", wanted, f"found {_show(references)}")
    padded = [*(reference or "" for reference in known), *[""] * len(turns)][: len(turns)]
    return ChatItem(identity, tuple(turns), tuple(padded), task=str(row.get("category") or ""))


def _parse_choice(row: Mapping[str, Any], identity: str, where: str) -> ChoiceItem:
    options, solution = row["options"], row["solution"]
    question = _take_text(row, "question", where)
    if not isinstance(options, list) or len(options) not in OPTION_COUNTS:
        limits = f"must be a list of {' or '.join(map(str, OPTION_COUNTS))} texts"
        raise _fault(where, "options", limits, f"found {_show(options)}")
    for option in options:
        if not isinstance(option, str) or not option.strip():
            raise _fault(where, "options", "an option is empty or no text", f"found {_show(option)}")
    return ChoiceItem(identity, question, tuple(options), _read_solution(solution, len(options), where))


def _read_solution(solution: Any, n_options: int, where: str) -> str:
    """Return the gold letter of a 1-based solution, which is text: "1" is A."""
    if not isinstance(solution, str) or not solution.strip().isdecimal() or len(solution) > MAX_SOLUTION:
        found = f"found {_show(solution)}"
        raise _fault(where, "solution", 'must be a 1-based number as text, like "1" for A', found)
    number = int(solution)
    if not 1 <= number <= n_options:
        raise _fault(where, "solution", f"must lie between 1 and {n_options} (options)", f"found {number}")
    return CHOICE_LETTERS[number - 1]


def parse_document(row: Mapping[str, Any], identity: str, where: str) -> DocumentItem:
    """Check a document row and return its item; see `parse_row`."""
    template = _take_text(row, "prompt", where)
    missing = [place for place in _PLACES if place not in template]
    if missing:
        raise _fault(where, "prompt", f"the template lacks {', '.join(missing)}", f"found {_show(template)}")
    gold = row["answer"]
    if not isinstance(gold, str):
        raise _fault(where, "answer", "must be a text", f"found {_show(gold)}")
    return DocumentItem(
        id=identity,
        titles=_join_texts(row, "titles", ", ", where),
        context=_join_texts(row, "context", "\n\n", where),
        question=_take_text(row, "question", where),
        template=template,
        gold=gold,
        task="" if row["task"] is None else str(row["task"]),
    )


def _take_text(row: Mapping[str, Any], column: str, where: str) -> str:
    value = row[column]
    if not isinstance(value, str) or not value.strip():
        raise _fault(where, column, "must be a text that is not empty", f"found {_show(value)}")
    return value


def _join_texts(row: Mapping[str, Any], column: str, separator: str, where: str) -> str:
    """Return a text column; a list of texts is joined."""
    value = row[column]
    if isinstance(value, str):
        return value
    if isinstance(value, list) and all(isinstance(part, str) for part in value):
        return separator.join(value)
    raise _fault(where, column, "must be a text or a list of texts", f"found {_show(value)}")


def _show(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 60 else text[:57] + "…"


def _fault(where: str, column: str, wanted: str, found: str) -> InputError:
    return InputError(
        f"{where}: column '{column}': {wanted}; {found}",
        remedy="correct the data, or give another source or revision in the experiment file",
    )


ROW_PARSERS: dict[str, Callable[[Mapping[str, Any], str, str], Item]] = {
    "kmmlu_pro": _parse_choice,
    "kmmlu_redux": _parse_choice,
    "ko_longrag": parse_document,
    "komt_bench": _parse_chat,
}
