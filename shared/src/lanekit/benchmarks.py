"""Benchmarks as versioned data: one YAML each in lanes/benchmarks/."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, PositiveInt, model_validator

CHOICE_LETTERS = "ABCDE"


class Benchmark(BaseModel):
    """How one set is asked and judged.

    `prompt` holds places in braces that the evaluator fills literally. `max_prompt_tokens` bounds the
    rendered prompt of a retrieval item by cutting its documents, never its question.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Literal["kmmlu_pro", "kmmlu_redux", "ko_longrag", "komt_bench"]
    version: PositiveInt
    parser: Literal["choice_letter", "free_text"]
    metric: Literal["accuracy", "f1", "judge"]
    max_new_tokens: PositiveInt
    max_prompt_tokens: PositiveInt | None = None
    prompt: str

    @model_validator(mode="after")
    def check_places(self) -> Benchmark:
        """Refuse a prompt without the places its metric needs."""
        needed = {
            "accuracy": ("{question}", "{options}"),
            "f1": ("{prompt}",),
            "judge": ("{turn}",),
        }[self.metric]
        missing = [place for place in needed if place not in self.prompt]
        if missing:
            raise ValueError(f"the prompt lacks the place {', '.join(missing)}")
        return self


# Columns each set must have (facts of the published data cards).
REQUIRED_COLUMNS: dict[str, tuple[str, ...]] = {
    "manta": ("conversations", "complexity"),
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
    lines = [f"{CHOICE_LETTERS[i]}. {text}" for i, text in enumerate(options)]
    return fill_places(benchmark.prompt, question=question, options="\n".join(lines))
