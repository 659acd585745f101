"""From items to prompts: user messages, chat template, and the token budget of document items. Pure; the
tokenizer comes in as an object with two methods."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from evaluator.f1 import normalize_answer
from evaluator.items import ChoiceItem, DocumentItem
from lanekit.benchmarks import Benchmark, fill_places, render_choice_prompt
from lanekit.errors import InputError


class ChatEncoder(Protocol):
    """What rendering needs of a tokenizer."""

    def encode_chat(self, message: str) -> list[int]:
        """Return the token ids of one user message in the chat template, generation prompt included."""

    def find_token_ends(self, text: str) -> list[int]:
        """Return, for each token of a plain text, the character offset at which it ends."""


@dataclass(frozen=True)
class Cut:
    """What the token budget took from an item's documents; counts are tokens of the plain context.

    `answer_lost` is True where the gold answer's text stood in the context and stands there no more.
    """

    context_tokens: int
    kept_tokens: int
    answer_lost: bool


@dataclass(frozen=True)
class Prompt:
    """One item, rendered."""

    message: str
    token_ids: list[int]
    cut: Cut | None = None


def render_choice(benchmark: Benchmark, item: ChoiceItem, encoder: ChatEncoder, room: int) -> Prompt:
    """Render a multiple-choice item.

    Args:
        room: how many prompt tokens the engine has room for.

    Raises:
        InputError: the item is longer than that.
    """
    message = render_choice_prompt(benchmark, item.question, list(item.options))
    token_ids = encoder.encode_chat(message)
    if len(token_ids) > room:
        raise _too_long(benchmark, item.id, len(token_ids), room)
    return Prompt(message, token_ids)


def render_document(benchmark: Benchmark, item: DocumentItem, encoder: ChatEncoder, room: int) -> Prompt:
    """Render a document item; its context loses trailing tokens until the whole prompt fits.

    The budget is the smaller of `benchmark.max_prompt_tokens` and `room`, counted on the rendered prompt.

    Raises:
        InputError: the item does not fit even without its context.
    """
    budget = min(benchmark.max_prompt_tokens or room, room)
    message = _fill(benchmark, item, item.context)
    token_ids = encoder.encode_chat(message)
    if len(token_ids) <= budget:
        return Prompt(message, token_ids)
    ends = encoder.find_token_ends(item.context)
    kept = len(ends)
    while len(token_ids) > budget:
        if kept == 0:
            raise _too_long(benchmark, item.id, len(token_ids), budget)
        kept = max(0, kept - (len(token_ids) - budget))
        context = item.context[: ends[kept - 1]] if kept else ""
        message = _fill(benchmark, item, context)
        token_ids = encoder.encode_chat(message)
    return Prompt(message, token_ids, Cut(len(ends), kept, _is_lost(item.gold, item.context, context)))


def _fill(benchmark: Benchmark, item: DocumentItem, context: str) -> str:
    own = fill_places(item.template, titles=item.titles, context=context, question=item.question)
    return fill_places(benchmark.prompt, prompt=own)


def _is_lost(gold: str, whole: str, kept: str) -> bool:
    wanted = normalize_answer(gold)
    return bool(wanted) and wanted in normalize_answer(whole) and wanted not in normalize_answer(kept)


def _too_long(benchmark: Benchmark, item: str, length: int, budget: int) -> InputError:
    return InputError(
        f"{benchmark.name}, item {item}: the prompt has {length} tokens where {budget} fit",
        remedy="raise evaluation.max_model_len in the experiment file, or max_prompt_tokens in "
        f"benchmarks/{benchmark.name}.yaml",
    )
