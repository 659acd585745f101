"""The model's own tokenizer and chat template."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from lanekit.errors import InputError


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

    def encode_chat(self, message: str) -> list[int]:
        """See prompts.ChatEncoder."""
        rendered: Any = self.tokenizer.apply_chat_template(
            [{"role": "user", "content": message}],
            add_generation_prompt=True,
            enable_thinking=self.enable_thinking,
        )
        ids = rendered if isinstance(rendered, list) else rendered["input_ids"]
        return [int(token) for token in ids]

    def find_token_ends(self, text: str) -> list[int]:
        """See prompts.ChatEncoder."""
        encoded = self.tokenizer(
            text, add_special_tokens=False, return_offsets_mapping=True, truncation=False, verbose=False
        )
        return [end for _, end in encoded["offset_mapping"]]

    def decode_reply(self, token_ids: list[int]) -> str:
        """Return generated tokens as text, special tokens left out."""
        return str(self.tokenizer.decode(token_ids, skip_special_tokens=True))

    def list_plain_ids(self, vocab_size: int) -> list[int]:
        """Return the ids below `vocab_size` that stand for ordinary text: no special, no added tokens."""
        special = {*self.tokenizer.all_special_ids, *self.tokenizer.get_added_vocab().values()}
        return [i for i in range(min(vocab_size, len(self.tokenizer))) if i not in special]


def read_eos_ids(model: Path, tokenizer: Any) -> list[int]:
    """Return every token id that ends a reply: the generation config's, the config's, the tokenizer's."""
    ids: set[int] = set()
    for name in ("generation_config.json", "config.json"):
        path = model / name
        value = json.loads(path.read_text(encoding="utf-8")).get("eos_token_id") if path.is_file() else None
        ids.update([value] if isinstance(value, int) else value or [])
    if tokenizer.eos_token_id is not None:
        ids.add(int(tokenizer.eos_token_id))
    return sorted(ids)
