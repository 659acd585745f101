"""Conversations into token ids, the same for training and calibration. Takes a tokenizer, never torch."""

from __future__ import annotations

import json
from collections.abc import Iterator, Set
from pathlib import Path
from typing import Any

from lanekit.errors import InputError

Message = dict[str, str]
IGNORED_LABEL = -100
ROLES = ("system", "user", "assistant")


def check_conversation(messages: Any) -> str:
    """Return what is wrong with a conversation, an empty string where nothing is."""
    if not isinstance(messages, list) or not messages:
        return "it is not a list of messages"
    for message in messages:
        if not isinstance(message, dict) or message.get("role") not in ROLES:
            return f"a message's role is not one of {', '.join(ROLES)}"
        if not isinstance(message.get("content"), str):
            return "a message's content is not text"
    if messages[-1]["role"] != "assistant" or not messages[-1]["content"].strip():
        return "it does not end with an answer of the assistant"
    return ""


def read_json_lines(path: Path, wanted: Set[int] | None = None) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield each line's number, from 1, and object; with `wanted` the objects at these places, from 0, alone.

    Empty lines are no objects and have no place.

    Raises:
        InputError: a line is not a JSON object, or is not UTF-8; names file and line.
    """
    place = -1
    with path.open("rb") as stream:
        for number, line in enumerate(stream, start=1):
            if not line.strip():
                continue
            place += 1
            if wanted is not None and place not in wanted:
                continue
            try:
                row = json.loads(line)
            except ValueError as error:
                raise InputError(f"{path}:{number}: not valid JSON: {error}") from error
            if not isinstance(row, dict):
                raise InputError(f"{path}:{number}: not a JSON object")
            yield number, row


def read_conversations(path: Path, limit: int | None = None) -> list[list[Message]]:
    """Return the conversations of a corpus file that the corpus stage wrote."""
    rows: list[list[Message]] = []
    for _, row in read_json_lines(path):
        if limit is not None and len(rows) >= limit:
            break
        rows.append(row["conversations"])
    return rows


def encode_conversation(
    tokenizer: Any, messages: list[Message], max_length: int
) -> list[dict[str, list[int]]]:
    """Return one training sample for each answer of the assistant.

    A sample is the prompt as the evaluator would send it (chat template, thinking off), then the answer
    and the end-of-turn token; `labels` are IGNORED_LABEL over the prompt. An answer is cut at
    `max_length` tokens; a sample whose prompt alone fills it is left out, and so is an answer that is
    empty or that nobody asked for.
    """
    samples: list[dict[str, list[int]]] = []
    for index, message in enumerate(messages):
        asked = any(earlier["role"] == "user" for earlier in messages[:index])
        if message["role"] != "assistant" or not asked or not message["content"].strip():
            continue
        prompt = tokenizer.apply_chat_template(
            messages[:index], add_generation_prompt=True, enable_thinking=False, tokenize=True
        )
        answer = tokenizer.encode(message["content"], add_special_tokens=False)
        ids = [*prompt, *answer, tokenizer.eos_token_id][:max_length]
        if len(ids) <= len(prompt):
            continue
        labels = [IGNORED_LABEL] * len(prompt) + ids[len(prompt) :]
        samples.append({"input_ids": ids, "labels": labels})
    return samples


def encode_corpus(
    tokenizer: Any, path: Path, max_length: int, limit: int | None = None
) -> list[dict[str, list[int]]]:
    """Encode a corpus file; `limit` bounds the conversations.

    Raises:
        InputError: no sample fits into `max_length` tokens.
    """
    samples = [
        sample
        for messages in read_conversations(path, limit)
        for sample in encode_conversation(tokenizer, messages, max_length)
    ]
    if not samples:
        raise InputError(
            f"{path}: no conversation fits into max_length={max_length} tokens",
            remedy="raise max_length in the experiment file",
        )
    return samples
