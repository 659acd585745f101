"""The model's own tokenizer and chat template."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from evaluator.quality.prompts import Message
from lanekit.errors import InputError

_MARKS = ("<think>", "</think>")
_PLAIN = {"add_special_tokens": False, "truncation": False, "verbose": False}
_IDS_ALONE = {"return_attention_mask": False, "return_token_type_ids": False}


class Tokens:
    """A prompts.TokenizedText over one encoding of a fast tokenizer."""

    def __init__(self, encoding: Any) -> None:
        self.encoding = encoding

    def __len__(self) -> int:
        return len(self.encoding)

    def find_end(self, n_tokens: int) -> int:
        """See prompts.TokenizedText."""
        _, end = self.encoding.token_to_chars(n_tokens - 1)
        return int(end)


class ChatTokenizer:
    """A prompts.ChatEncoder over a transformers tokenizer.

    Raises:
        InputError: the folder has no readable fast tokenizer, or none with a chat template.
    """

    def __init__(self, model: Path, *, enable_thinking: bool = False) -> None:
        from transformers import AutoTokenizer

        try:
            self.tokenizer: Any = AutoTokenizer.from_pretrained(str(model), local_files_only=True)
        except Exception as error:  # the library raises many kinds
            raise InputError(
                f"{model}: the tokenizer cannot be read: {error}",
                remedy="the folder needs tokenizer.json and tokenizer_config.json of the base model",
            ) from error
        if not self.tokenizer.chat_template:
            raise InputError(
                f"{model}: the tokenizer has no chat template",
                remedy="copy chat_template.jinja, or tokenizer_config.json, from the base model",
            )
        self.enable_thinking = enable_thinking
        added = self.tokenizer.added_tokens_decoder
        self.special_marks = {i: t.content for i, t in added.items() if t.special and t.content in _MARKS}

    def render_chat(self, messages: Sequence[Message]) -> str:
        """Return a conversation in the chat template as text, generation prompt included."""
        return self.render_chats([messages])[0]

    def render_chats(self, conversations: Sequence[Sequence[Message]]) -> list[str]:
        """Render several conversations, at least one; see `render_chat`."""
        rendered: list[str] = self.tokenizer.apply_chat_template(
            [list(messages) for messages in conversations],
            tokenize=False,
            add_generation_prompt=True,
            enable_thinking=self.enable_thinking,
        )
        return rendered

    def encode_chat(self, messages: Sequence[Message]) -> list[int]:
        """Return one conversation's token ids; see `encode_chats`."""
        return self.encode_chats([messages])[0]

    def encode_chats(self, conversations: Sequence[Sequence[Message]]) -> list[list[int]]:
        """See prompts.ChatEncoder; the tokens are those of transformers' `apply_chat_template`."""
        if not conversations:
            return []
        encoded = self.tokenizer(self.render_chats(conversations), **_PLAIN, **_IDS_ALONE)
        ids: list[list[int]] = encoded["input_ids"]
        return ids

    def tokenize_texts(self, texts: Sequence[str]) -> list[Tokens]:
        """See prompts.ChatEncoder."""
        if not texts:
            return []
        return [Tokens(e) for e in self.tokenizer(list(texts), **_PLAIN, **_IDS_ALONE).encodings]

    def decode_replies(self, replies: Sequence[Sequence[int]]) -> list[str]:
        """Return generated tokens as texts; special tokens are left out, the marks of reasoning stay.

        Some tokenizers hold `<think>` and `</think>` for special, others for ordinary tokens.
        """
        marked = [self._split_at_marks(token_ids) for token_ids in replies]
        pieces = [piece for parts in marked for piece, _ in parts]
        texts = iter(self.tokenizer.batch_decode(pieces, skip_special_tokens=True))
        return ["".join(next(texts) + mark for _, mark in parts) for parts in marked]

    def _split_at_marks(self, token_ids: Sequence[int]) -> list[tuple[list[int], str]]:
        """Split before each special token that is a mark of reasoning; return pieces and marks in turn."""
        parts: list[tuple[list[int], str]] = []
        start = 0
        for position, token in enumerate(token_ids):
            if token in self.special_marks:
                parts.append((list(token_ids[start:position]), self.special_marks[token]))
                start = position + 1
        return [*parts, (list(token_ids[start:]), "")]

    def list_plain_ids(self, vocab_size: int) -> list[int]:
        """Return the ids below `vocab_size` that stand for ordinary text: no special, no added tokens."""
        special = {*self.tokenizer.all_special_ids, *self.tokenizer.get_added_vocab().values()}
        return [i for i in range(min(vocab_size, len(self.tokenizer))) if i not in special]
