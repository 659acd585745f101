"""From answers to what a judge is asked, and from its words to ratings and a result. Pure.

The form is MT-Bench's single-answer grading (Zheng et al. 2023, arXiv 2306.05685) as KoMT-Bench uses it: one
request an item and turn, the rating in double brackets at the end, the square root of it where the answer is
not Korean. An item's value is the mean of its turns' ratings over the highest rating, the benchmark's that of
its items.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from evaluator.quality.korean import is_korean
from evaluator.quality.parse import strip_thinking
from lanekit.errors import InputError
from lanekit.results.schema import BenchmarkResult, PartResult
from lanekit.spec.benchmark import CHAT_TURNS, Benchmark, Rubric
from lanekit.spec.rows import ChatItem

NOTE_CHARACTERS = 2000
NO_ANSWER = "(the assistant gave no answer)"
NO_REFERENCE = "(none is given)"
# What may follow a rating on its line: marks, the scale, how a Korean sentence ends, a remark in parentheses.
_MARKS = r"[\s*_`~\"'”’」』.!。．…,;|}\]>$]+|</?\w+>"
_SCALE = r"(?:/|／|out of|점?\s*만점에)\s*{highest}(?:\.0)?(?!\d|\.\d)|\d+점\s*만점"
_KOREAN_END = (
    r"점?\s*(?:을|으로|이라고|정도)?\s*"
    r"(?:입니다|이다|이에요|예요|임|만점|(?:부여|드리|드립|드려|주겠|줍|준다|주었|평가|매기|매겨|매깁|채점|판단|책정)[가-힣\s]*)?"
)
_REMARK = r"[(（][^()（）\[\]\n]*[)）]"

Messages = list[dict[str, str]]


@dataclass(frozen=True)
class Question:
    """One answer to grade: the row that holds it, and what the judge is sent."""

    row: Mapping[str, Any]
    answer: str
    messages: Messages

    @property
    def label(self) -> str:
        """Item and turn, for people."""
        return f"item {self.row['id']}, turn {self.row['turn']}"


@dataclass(frozen=True)
class Verdict:
    """One answer, graded: the judge's own `rating`, and `points` after the penalty; None without a rating."""

    question: Question
    words: str
    rating: float | None
    points: float | None

    @property
    def is_penalized(self) -> bool:
        """Whether the answer should have been Korean and was not."""
        return self.rating is not None and self.points != self.rating


def pair_answers(
    rubric: Rubric, items: Sequence[ChatItem], rows: Iterable[Mapping[str, Any]], where: Path
) -> list[Question]:
    """Return what is to be asked, in the items' order, the turns of each after one another.

    Raises:
        InputError: the answers are not those of these items, or one is missing; `where` names their file.
    """
    found = {(int(row["index"]), int(row["turn"])): row for row in rows}
    wanted = {(index, turn) for index in range(len(items)) for turn in range(1, CHAT_TURNS + 1)}
    remedy = "evaluate the model again, with the same benchmark sets and the same limit_items"
    if set(found) != wanted:
        index, turn = min(set(found) ^ wanted)
        what = (
            "has no answer to"
            if (index, turn) in wanted
            else "has an answer that the set has no question for:"
        )
        raise InputError(f"{where}: it {what} item number {index}, turn {turn}", remedy=remedy)
    questions = []
    for index, item in enumerate(items):
        turns = [found[index, turn] for turn in (1, 2)]
        if any(row["id"] != item.id for row in turns):
            raise InputError(f"{where}: the answer to item {item.id} is another item's", remedy=remedy)
        answers = [row["parsed"] or "" for row in turns]
        questions += [
            Question(row, answers[i], render_messages(rubric, item, answers, i + 1))
            for i, row in enumerate(turns)
        ]
    return questions


def render_messages(rubric: Rubric, item: ChatItem, answers: Sequence[str], turn: int) -> Messages:
    """Return the judge's messages on one turn.

    The reference's form is for a turn that has a reference, in the rubric's `reference_categories` alone.
    """
    shown = not rubric.reference_categories or item.task in rubric.reference_categories
    has_reference = shown and bool(item.references[turn - 1].strip())
    names = {1: "first_turn", 2: "second_turn"}
    template = getattr(rubric, names[turn] + ("_with_reference" if has_reference else ""))
    places = {}
    for number in range(1, CHAT_TURNS + 1):
        places[f"question_{number}"] = item.turns[number - 1]
        places[f"answer_{number}"] = answers[number - 1].strip() or NO_ANSWER
        places[f"reference_{number}"] = item.references[number - 1].strip() or NO_REFERENCE
    user = re.sub(r"\{(\w+)\}", lambda place: places.get(place[1], place[0]), template)
    system = [{"role": "system", "content": rubric.system}] if rubric.system else []
    return [*system, {"role": "user", "content": user}]


def read_rating(rubric: Rubric, words: str, finish_reason: str = "") -> float | None:
    """Return the last rating in a judge's words; None where there is none, or it is off the scale.

    What counts stands after the judge's reasoning, at the end of its line or of its sentence there, and in no
    parenthesis; two that differ, on one line or each at the end of its own, are none. Of words that were cut
    off (`finish_reason` "length") a rating counts only where they end with it.
    """
    said = strip_thinking(words)
    ratings = [m for m in re.finditer(rubric.rating_pattern, said) if not _is_in_parenthesis(said, m.start())]
    if not ratings:
        return None
    last = ratings[-1]
    if not _ends_line(rubric, said[last.end() :], is_cut=finish_reason == "length"):
        return None
    begin = said.rfind("\n", 0, last.start()) + 1
    given = {float(m[1]) for m in ratings if m.start() >= begin or _ends_line(rubric, said[m.end() :])}
    rating = float(last[1])
    return rating if len(given) == 1 and rubric.lowest <= rating <= rubric.highest else None


def _ends_line(rubric: Rubric, rest: str, *, is_cut: bool = False) -> bool:
    """Whether nothing follows a rating on its line but what may; of words that were cut, nothing at all."""
    scale = _SCALE.replace("{highest}", str(rubric.highest))
    part = re.compile(f"{scale}|{_MARKS}|{_REMARK}|{_KOREAN_END}")
    text, place = rest if is_cut else rest.split("\n", 1)[0], 0
    while found := part.match(text, place):  # part by part: one pattern for all could take for ever
        if found.end() == place:
            break
        place = found.end()
    return place == len(text)


def _is_in_parenthesis(text: str, position: int) -> bool:
    line = text[text.rfind("\n", 0, position) + 1 : position]
    return line.count("(") > line.count(")")


def grade_answer(rubric: Rubric, question: Question, words: str, finish_reason: str = "") -> Verdict:
    """Return the verdict: the square root of the rating where the answer had to be Korean and is not."""
    rating = read_rating(rubric, words, finish_reason)
    if rating is None or question.row["id"] in rubric.korean_exempt or is_korean(question.answer):
        return Verdict(question, words, rating, rating)
    return Verdict(question, words, rating, math.sqrt(rating))


def make_row(rubric: Rubric, verdict: Verdict) -> dict[str, Any]:
    """Return the answer's row with the turn's value, the rating as `parsed`, the judge's words as `note`."""
    value = None if verdict.points is None else verdict.points / rubric.highest
    return {
        **verdict.question.row,
        "parsed": None if verdict.rating is None else f"{verdict.rating:g}",
        "gold": "",
        "value": value,
        "exact": None,
        "note": _describe(verdict),
    }


def _describe(verdict: Verdict) -> str:
    words = verdict.words.strip()
    if len(words) > NOTE_CHARACTERS:  # the rating stands at the end
        half = NOTE_CHARACTERS // 2
        words = f"{words[:half]} […] {words[-half:]}"
    if verdict.rating is None:
        return f"[no rating] {words}".rstrip()
    if verdict.is_penalized:
        return f"[not Korean: √{verdict.rating:g} = {verdict.points:.2f}] {words}"
    return words


def summarize_verdicts(benchmark: Benchmark, verdicts: Sequence[Verdict], judge: str) -> BenchmarkResult:
    """Return the mean over the items whose every turn has a rating; the others are counted as unparsed.

    An answer that the judge gave no rating is not a bad answer, so it is no zero. `parts` are the turns and
    the items' categories. The note tells what is left out, and how many answers hit the token limit.
    """
    assert benchmark.rubric
    highest = benchmark.rubric.highest
    points: dict[int, list[float | None]] = {}
    categories: dict[int, str] = {}
    for verdict in verdicts:
        row = verdict.question.row
        points.setdefault(row["index"], []).append(verdict.points)
        categories[row["index"]] = row["task"]
    rated = {
        i: [p / highest for p in turns if p is not None] for i, turns in points.items() if None not in turns
    }
    parts = {
        f"turn {turn}": _average([turns[turn - 1] for turns in rated.values()])
        for turn in range(1, CHAT_TURNS + 1)
    }
    for name in dict.fromkeys(categories[index] for index in rated):
        if name:
            parts[name] = _average([fmean(rated[index]) for index in rated if categories[index] == name])
    n_left_out = len(points) - len(rated)
    notes = [f"{n_left_out} of {len(points)} items are left out: the judge gave no rating"]
    notes = [*(notes if n_left_out else []), *_note_cut(verdicts)]
    return BenchmarkResult(
        metric=benchmark.metric,
        version=benchmark.version,
        value=fmean(fmean(turns) for turns in rated.values()) if rated else None,
        n_items=len(points),
        n_unparsed=n_left_out,
        parts=parts if rated else {},
        judge=judge,
        note="; ".join(notes),
    )


def _note_cut(verdicts: Sequence[Verdict]) -> list[str]:
    """Return how many answers hit the token limit; a row with a note was not asked."""
    rows = [verdict.question.row for verdict in verdicts]
    n_cut = sum(not row["finished"] and not row["note"] for row in rows)
    return [f"{n_cut} of {len(rows)} answers were cut at max_new_tokens"] if n_cut else []


def _average(values: Sequence[float]) -> PartResult:
    return PartResult(n_items=len(values), value=fmean(values) if values else 0.0)
