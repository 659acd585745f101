"""Benchmarks as versioned data: one YAML each in lanes/benchmarks/."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, PositiveInt, model_validator

from lanekit.spec.numbers import PlacedError, PlainNumbers

CHOICE_LETTERS = "ABCDE"
CHAT_TURNS = 2  # KoMT-Bench asks twice, and its judge rates both replies
OPTION_COUNTS = (4, 5)  # the published sets have no others


class Shot(BaseModel):
    """One worked example, sent as a user's and an assistant's turn before the question.

    `fields` are the item's columns, as the set has them; `reply` is the answer in the form asked for.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    fields: dict[str, Any]
    reply: str


class Rubric(PlainNumbers):
    """What a judge is told; the places {question_1}, {answer_1}, {question_2}, {answer_2}, {reference_1} and
    {reference_2} are filled literally.

    `first_turn` and `second_turn` are user messages; the `*_with_reference` ones serve items that have a
    reference, in the categories of `reference_categories` alone (empty: in all). `rating_pattern` has one
    group, the number, from `lowest` to `highest`. An answer that is not Korean gets the square root of its
    rating, but for the items of `korean_exempt`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    system: str
    first_turn: str
    first_turn_with_reference: str
    second_turn: str
    second_turn_with_reference: str
    reference_categories: tuple[str, ...] = ()
    rating_pattern: str
    lowest: int = 1
    highest: int = 10
    korean_exempt: tuple[str, ...] = ()


class Benchmark(PlainNumbers):
    """How one set is asked and judged; a change of any field but the token limits needs a new `version`.

    `prompt` holds places in braces that the evaluator fills literally. `max_prompt_tokens` bounds the
    rendered prompt of a retrieval item by cutting its documents, never its question. A reply ends before the
    first of the `stop` texts. `thinking_max_new_tokens` takes the place of `max_new_tokens` where thinking is
    on: the reasoning comes out of the same budget.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Literal["kmmlu_pro", "kmmlu_redux", "ko_longrag", "komt_bench"]
    version: PositiveInt
    parser: Literal["choice_letter", "free_text"]
    metric: Literal["accuracy", "f1", "judge"]
    max_new_tokens: PositiveInt
    thinking_max_new_tokens: PositiveInt = 4096
    max_prompt_tokens: PositiveInt | None = None
    prompt: str
    few_shots: tuple[Shot, ...] = ()
    stop: tuple[str, ...] = ()
    rubric: Rubric | None = None

    @model_validator(mode="after")
    def check_places(self) -> Benchmark:
        """Refuse a prompt without the places its metric needs, and parts that do not fit the metric."""
        needs = _NEEDS[self.metric]
        missing = [place for place in needs.places if place not in self.prompt]
        if missing:
            raise PlacedError(f"the prompt lacks the place {', '.join(missing)}", "prompt")
        if self.parser != needs.parser:
            message = f"the metric '{self.metric}' goes with the parser '{needs.parser}'"
            raise PlacedError(message, "parser")
        if self.rubric is not None and self.metric != "judge":
            raise PlacedError("a rubric belongs to the metric 'judge' alone", "rubric")
        if self.few_shots and not needs.shot_fields:
            message = f"the metric '{self.metric}' takes no few-shots"
            raise PlacedError(message, "few_shots")
        for index, text in enumerate(self.stop):
            if not text:
                raise PlacedError("a stop text is empty", "stop", index)
        for index, shot in enumerate(self.few_shots):
            _check_shot(shot, needs.shot_fields, index)
        return self

    def count_new_tokens(self, *, thinking: bool) -> int:
        """Return the most tokens that a reply may have."""
        return self.thinking_max_new_tokens if thinking else self.max_new_tokens


@dataclass(frozen=True)
class _Needs:
    parser: str
    places: tuple[str, ...]
    shot_fields: tuple[str, ...]


# What each metric needs of a benchmark file.
_NEEDS = {
    "accuracy": _Needs("choice_letter", ("{question}", "{options}"), ("question", "options")),
    "f1": _Needs("free_text", ("{prompt}",), ("titles", "context", "question", "prompt")),
    "judge": _Needs("free_text", ("{turn}",), ()),
}


def _check_shot(shot: Shot, fields: tuple[str, ...], index: int) -> None:
    """Refuse a few-shot that cannot be rendered: it needs these fields, as texts."""
    place = ("few_shots", index)
    missing = [name for name in fields if name not in shot.fields]
    if missing:
        raise PlacedError(f"the few-shot lacks {', '.join(missing)}", *place, "fields")
    for name in fields:
        value = shot.fields[name]
        texts = value if name in ("options", "titles") else [value]
        if not isinstance(texts, list) or not all(isinstance(text, str) and text.strip() for text in texts):
            kind = "a list of texts" if name in ("options", "titles") else "a text"
            raise PlacedError(f"the few-shot's {name} must be {kind}", *place, "fields", name)
    n_options = len(shot.fields.get("options", CHOICE_LETTERS))
    if n_options not in OPTION_COUNTS:
        message = f"a few-shot has {' or '.join(map(str, OPTION_COUNTS))} options, not {n_options}"
        raise PlacedError(message, *place, "fields", "options")
    if not shot.reply.strip():
        raise PlacedError("the few-shot's reply is empty", *place, "reply")


# Columns each set must have (facts of the published data cards).
REQUIRED_COLUMNS: dict[str, tuple[str, ...]] = {
    "manta": ("conversations", "complexity"),
    "general": ("messages",),
    "kmmlu_pro": ("question", "options", "solution"),
    "kmmlu_redux": ("question", "options", "solution"),
    "ko_longrag": ("id", "titles", "context", "question", "answer", "prompt", "task"),
    "komt_bench": ("turns", "reference"),
}


def fill_places(template: str, **values: str) -> str:
    """Replace each `{name}` of `values` once, literally; other braces stay, values are not re-read."""
    parts = [template]
    for name, value in values.items():
        place = "{" + name + "}"
        next_parts: list[str] = []
        for index, part in enumerate(parts):
            if index % 2:  # an already filled value
                next_parts.append(part)
                continue
            pieces = part.split(place)
            for number, piece in enumerate(pieces):
                if number:
                    next_parts.append(value)
                next_parts.append(piece)
        parts = next_parts
    return "".join(parts)


def render_choice_prompt(benchmark: Benchmark, question: str, options: list[str]) -> str:
    """Return the user message of a multiple-choice item, options lettered from A."""
    return fill_places(benchmark.prompt, question=question, options=list_options(options))


def list_options(options: Sequence[str]) -> str:
    """Return the options lettered from A, one a line."""
    return "\n".join(f"{CHOICE_LETTERS[i]}. {text}" for i, text in enumerate(options))
