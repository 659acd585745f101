"""From items to prompts: user messages, few-shots, chat template, and the token budget of document items.
Pure; the tokenizer comes in as an object with two methods."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from evaluator.quality.f1 import is_unanswerable
from evaluator.quality.normal_form import normalize_answer, normalize_words
from lanekit.errors import InputError
from lanekit.spec.benchmark import Benchmark, fill_places, render_choice_prompt
from lanekit.spec.lengths import has_room
from lanekit.spec.rows import ChatItem, ChoiceItem, DocumentItem, Item, parse_document

Message = Mapping[str, str]

_CHUNK_ITEMS = 64  # a tokenized document takes about 100 bytes a token
# A context and the text around it may share fewer tokens than they have apart: only where they exceed the
# budget by more is a cut certain.
_BORDER_TOKENS = 16
_SURELY_LONG = 2  # characters a token of the budget: longer messages are not tried whole


class TokenizedText(Protocol):
    """A plain text, tokenized by itself."""

    def __len__(self) -> int:
        """Return the number of tokens."""

    def find_end(self, n_tokens: int) -> int:
        """Return the character offset at which the first `n_tokens` (at least 1) end."""


class ChatEncoder(Protocol):
    """What rendering needs of a tokenizer."""

    def encode_chats(self, conversations: Sequence[Sequence[Message]]) -> list[list[int]]:
        """Return each conversation's token ids in the chat template, generation prompt included."""

    def tokenize_texts(self, texts: Sequence[str]) -> Sequence[TokenizedText]:
        """Tokenize plain texts."""


@dataclass(frozen=True)
class Cut:
    """What the token budget took from an item's documents; counts are tokens of the plain context.

    `answer_lost` is True where the gold answer's text stood in the context and stands there no more; what
    was lost beside another mention of the same text, or in other words, is not seen.
    """

    context_tokens: int
    kept_tokens: int
    answer_lost: bool


@dataclass(frozen=True)
class Prompt:
    """One item, rendered; `message` is the last user turn, few-shots are in `token_ids` alone."""

    message: str
    token_ids: list[int]
    cut: Cut | None = None


def render_items(
    benchmark: Benchmark,
    items: Sequence[Item],
    chat: ChatEncoder,
    max_model_len: int,
    *,
    thinking: bool = False,
) -> list[Prompt]:
    """Render a benchmark's items, in their order.

    The prompts of a judged benchmark are the conversations' first turns, whatever their length; all others
    leave room for the reply in `max_model_len`.

    Raises:
        InputError: `max_model_len` has no room for an item beside the reply.
    """
    if benchmark.metric == "judge":
        return render_turns(benchmark, [item for item in items if isinstance(item, ChatItem)], [], chat)
    room = find_room(benchmark, max_model_len, thinking=thinking)
    if benchmark.metric == "f1":
        documents = [item for item in items if isinstance(item, DocumentItem)]
        chunks = range(0, len(documents), _CHUNK_ITEMS)
        return [
            prompt
            for start in chunks
            for prompt in _render_documents(benchmark, documents[start : start + _CHUNK_ITEMS], chat, room)
        ]
    return _render_choices(benchmark, [item for item in items if isinstance(item, ChoiceItem)], chat, room)


def render_turns(
    benchmark: Benchmark, items: Sequence[ChatItem], replies: Sequence[Sequence[str]], chat: ChatEncoder
) -> list[Prompt]:
    """Render the next turn of each conversation.

    Args:
        replies: for each item, the model's own replies to its turns so far; empty for the first turn.
    """
    messages: list[str] = []
    conversations: list[list[Message]] = []
    for index, item in enumerate(items):
        said = replies[index] if replies else ()
        turns = [fill_places(benchmark.prompt, turn=turn) for turn in item.turns[: len(said) + 1]]
        conversation: list[Message] = []
        for turn, reply in zip(turns, said, strict=False):
            conversation += [_user(turn), _assistant(reply)]
        messages.append(turns[-1])
        conversations.append([*conversation, _user(turns[-1])])
    return [
        Prompt(message, token_ids)
        for message, token_ids in zip(messages, chat.encode_chats(conversations), strict=True)
    ]


def find_room(benchmark: Benchmark, max_model_len: int, *, thinking: bool = False) -> int:
    """Return how many prompt tokens `max_model_len` has room for beside the longest reply.

    Raises:
        InputError: there is no room at all.
    """
    new_tokens = benchmark.count_new_tokens(thinking=thinking)
    if not has_room(benchmark, max_model_len, thinking=thinking):
        name = "thinking_max_new_tokens" if thinking else "max_new_tokens"
        raise InputError(
            f"{benchmark.name}: replies of up to {new_tokens} tokens leave no room for a prompt in "
            f"max_model_len {max_model_len}",
            remedy=f"raise evaluation.max_model_len in the experiment file above {new_tokens}, or lower "
            f"{name} in benchmarks/{benchmark.name}.yaml",
        )
    return max_model_len - new_tokens


def _render_choices(
    benchmark: Benchmark, items: Sequence[ChoiceItem], chat: ChatEncoder, room: int
) -> list[Prompt]:
    shots = _render_shots(benchmark)
    messages = [render_choice_prompt(benchmark, item.question, list(item.options)) for item in items]
    encoded = chat.encode_chats([[*shots, _user(message)] for message in messages])
    for item, token_ids in zip(items, encoded, strict=True):
        if len(token_ids) > room:
            raise _too_long(benchmark, item.id, len(token_ids), room)
    return [Prompt(message, token_ids) for message, token_ids in zip(messages, encoded, strict=True)]


def _render_documents(
    benchmark: Benchmark, items: Sequence[DocumentItem], chat: ChatEncoder, room: int
) -> list[Prompt]:
    """Render document items; each context loses trailing tokens until its whole prompt fits.

    The budget is the smaller of `benchmark.max_prompt_tokens` and `room`, counted on the rendered prompt.
    Messages of likely length are tried whole first: where they fit, nothing else is tokenized.
    """
    budget = min(benchmark.max_prompt_tokens or room, room)
    shots = _render_shots(benchmark)

    def encode(messages: Sequence[str]) -> list[list[int]]:
        return chat.encode_chats([[*shots, _user(message)] for message in messages])

    messages = [_fill(benchmark, item, item.context) for item in items]
    short = [index for index, message in enumerate(messages) if len(message) <= _SURELY_LONG * budget]
    encoded = encode([messages[index] for index in short])
    prompts = {
        index: Prompt(messages[index], token_ids)
        for index, token_ids in zip(short, encoded, strict=True)
        if len(token_ids) <= budget
    }
    left = [index for index in range(len(items)) if index not in prompts]
    cut = _cut_documents(benchmark, [items[index] for index in left], chat, budget, encode)
    prompts.update(zip(left, cut, strict=True))
    return [prompts[index] for index in range(len(items))]


def _cut_documents(
    benchmark: Benchmark,
    items: Sequence[DocumentItem],
    chat: ChatEncoder,
    budget: int,
    encode: Callable[[Sequence[str]], list[list[int]]],
) -> list[Prompt]:
    contexts = chat.tokenize_texts([item.context for item in items])
    frames = encode([_fill(benchmark, item, "") for item in items])
    kept: list[int] = []
    for item, context, frame in zip(items, contexts, frames, strict=True):
        if len(frame) > budget:
            raise _too_long(benchmark, item.id, len(frame), budget, " without its documents")
        certain = len(context) + len(frame) > budget + _BORDER_TOKENS
        kept.append(budget - len(frame) if certain else len(context))

    prompts: dict[int, Prompt] = {}
    while len(prompts) < len(items):
        left = [index for index in range(len(items)) if index not in prompts]
        texts = [_keep(items[index].context, contexts[index], kept[index]) for index in left]
        messages = [_fill(benchmark, items[i], text) for i, text in zip(left, texts, strict=True)]
        for index, text, message, token_ids in zip(left, texts, messages, encode(messages), strict=True):
            if len(token_ids) > budget:
                kept[index] = max(0, kept[index] - (len(token_ids) - budget))
                continue
            item, n_tokens = items[index], len(contexts[index])
            lost = kept[index] < n_tokens and _is_lost(item.gold, item.context, text)
            cut = Cut(n_tokens, kept[index], lost) if kept[index] < n_tokens else None
            prompts[index] = Prompt(message, token_ids, cut)
    return [prompts[index] for index in range(len(items))]


def _render_shots(benchmark: Benchmark) -> list[Message]:
    """Return the worked examples as user and assistant turns."""
    messages: list[Message] = []
    for number, shot in enumerate(benchmark.few_shots, start=1):
        messages += [_user(_render_fields(benchmark, shot.fields, number)), _assistant(shot.reply)]
    return messages


def _render_fields(benchmark: Benchmark, fields: Mapping[str, Any], number: int) -> str:
    if benchmark.metric == "accuracy":
        return render_choice_prompt(benchmark, fields["question"], list(fields["options"]))
    where = f"benchmarks/{benchmark.name}.yaml, few-shot {number}"
    item = parse_document({**fields, "answer": "", "task": ""}, str(number), where)
    return _fill(benchmark, item, item.context)


def _keep(context: str, tokens: TokenizedText, n_tokens: int) -> str:
    if n_tokens >= len(tokens):
        return context
    return context[: tokens.find_end(n_tokens)] if n_tokens else ""


def _user(content: str) -> Message:
    return {"role": "user", "content": content}


def _assistant(content: str) -> Message:
    return {"role": "assistant", "content": content}


def _fill(benchmark: Benchmark, item: DocumentItem, context: str) -> str:
    own = fill_places(item.template, titles=item.titles, context=context, question=item.question)
    return fill_places(benchmark.prompt, prompt=own)


def _is_lost(gold: str, whole: str, kept: str) -> bool:
    if is_unanswerable(gold):
        return False
    mention = _compile_mention(normalize_answer(gold))
    if mention.search(" ".join(normalize_words(kept))):
        return False
    return mention.search(" ".join(normalize_words(whole))) is not None


def _compile_mention(wanted: str) -> re.Pattern[str]:
    """Return what finds a normalized answer in normalized words, however it is spaced.

    A number's part is no mention of it, nor is a Latin word's: "2" is not in "12", "2.5", "-2" or "1/2".
    """
    before = {"digit": r"(?<![\d-])(?<!\d[./:])", "latin": r"(?<![a-z])"}.get(_find_kind(wanted[0]), "")
    after = {"digit": r"(?!%|[./:-]?\d)", "latin": r"(?![a-z])"}.get(_find_kind(wanted[-1]), "")
    if wanted[0] == "-":
        before = r"(?<!\d)"
    return re.compile(before + " ?".join(map(re.escape, wanted)) + after)


def _find_kind(character: str) -> str:
    if character.isdigit():
        return "digit"
    return "latin" if character.isascii() and character.isalpha() else ""


def _too_long(benchmark: Benchmark, item: str, length: int, budget: int, what: str = "") -> InputError:
    return InputError(
        f"{benchmark.name}, item {item}: the prompt has {length} tokens{what} where {budget} fit",
        remedy="raise evaluation.max_model_len in the experiment file, or max_prompt_tokens in "
        f"benchmarks/{benchmark.name}.yaml",
    )
