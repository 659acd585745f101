"""Conversations into token ids, the same for training and calibration. Takes a tokenizer, never torch."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lanekit.errors import InputError
from lanekit.files.json_lines import RowFault, read_json_lines

Message = dict[str, str]
IGNORED_LABEL = -100
ROLES = ("system", "user", "assistant")
FORM = 'a conversation is a list of {"role": …, "content": …}, the roles system, user and assistant'


def check_conversation(messages: Any) -> RowFault | None:
    """Return what is wrong with a conversation, None where nothing is."""
    if not isinstance(messages, list) or not messages:
        return RowFault("it is not a list of messages", f"{FORM}; found {_show(messages)}")
    for message in messages:
        if not isinstance(message, dict) or message.get("role") not in ROLES:
            return RowFault(
                f"a message's role is not one of {', '.join(ROLES)}", f"{FORM}; found {_show_shape(message)}"
            )
        if not isinstance(message.get("content"), str):
            found = message.get("content")
            return RowFault(
                "a message's content is not text", f"{FORM}, the content a text; found {_show(found)}"
            )
    if messages[-1]["role"] != "assistant" or not messages[-1]["content"].strip():
        return RowFault(
            "it does not end with an answer of the assistant",
            "end each conversation with a message of the assistant that is not empty",
        )
    if not any(message["role"] == "user" for message in messages[:-1]):
        return RowFault(
            "nobody asks: it has no message of the user",
            "give each conversation a message of the user before the answer",
        )
    return None


def _show_shape(message: Any) -> str:
    """Return a message's keys, with its role where it has one."""
    if not isinstance(message, dict):
        return _show(message)
    role = f", its role {_show(message['role'])}" if "role" in message else ""
    return "{" + ", ".join(map(str, message)) + "}" + role


def _show(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return f"{text if len(text) <= 60 else text[:57] + '…'} ({type(value).__name__})"


@dataclass
class EncodedCorpus:
    """A corpus file's samples, and what became of its conversations and answers.

    `n_conversations` were read; `n_left_out` answers were left out because their prompt alone fills
    `max_length` tokens, `n_cut` were cut there; `n_without` conversations have no sample at all.
    """

    max_length: int
    samples: list[dict[str, list[int]]] = field(default_factory=list)
    n_conversations: int = 0
    n_left_out: int = 0
    n_cut: int = 0
    n_without: int = 0

    def as_report(self) -> dict[str, int]:
        """Return the counts for a stage's report."""
        return {
            "conversations": self.n_conversations,
            "samples": len(self.samples),
            "answers_left_out": self.n_left_out,
            "answers_cut": self.n_cut,
            "conversations_without_sample": self.n_without,
        }

    def report_calibration(self, asked: int) -> dict[str, int]:
        """Return the counts of a calibration set, one sequence a conversation, for a stage's report."""
        return {
            "calibration_rows_asked": asked,
            "calibration_rows": self.n_conversations,
            "calibration_sequences": len(self.samples),
            "calibration_tokens": sum(len(sample["input_ids"]) for sample in self.samples),
        }

    def describe_calibration(self, asked: int) -> list[str]:
        """Return a note where a calibration set has fewer conversations than were asked for."""
        if len(self.samples) == asked:
            return []
        note = f"calibration: {asked} conversations are asked for, {len(self.samples)} are used"
        if self.n_conversations < asked:
            note += f"; the corpus has {self.n_conversations} (corpus.calibration_rows)"
        if self.n_without:
            note += (
                f"; {self.n_without} do not fit (the prompt alone fills max_length={self.max_length} tokens)"
            )
        return [note]

    def describe(self, part: str) -> list[str]:
        """Return a note where answers were left out or cut."""
        if not self.n_left_out and not self.n_cut:
            return []
        return [
            f"{part}: of {len(self.samples) + self.n_left_out} answers in {self.n_conversations} "
            f"conversations {self.n_left_out} are left out (the prompt alone fills max_length="
            f"{self.max_length} tokens) and {self.n_cut} are cut there"
        ]


def read_conversations(path: Path, limit: int | None = None) -> list[list[Message]]:
    """Return the conversations of a corpus file that the corpus stage wrote."""
    rows: list[list[Message]] = []
    for _, row in read_json_lines(path):
        if limit is not None and len(rows) >= limit:
            break
        rows.append(row["conversations"])
    return rows


def encode_conversation(tokenizer: Any, messages: list[Message], max_length: int) -> EncodedCorpus:
    """Encode one conversation; see `encode_corpus`."""
    found = EncodedCorpus(max_length, n_conversations=1)
    for index, message in enumerate(messages):
        asked = any(earlier["role"] == "user" for earlier in messages[:index])
        if message["role"] != "assistant" or not asked or not message["content"].strip():
            continue
        prompt = tokenizer.apply_chat_template(
            messages[:index], add_generation_prompt=True, enable_thinking=False, tokenize=True
        )
        answer = tokenizer.encode(message["content"], add_special_tokens=False)
        whole = [*prompt, *answer, tokenizer.eos_token_id]
        ids = whole[:max_length]
        if len(ids) <= len(prompt):
            found.n_left_out += 1
            continue
        found.n_cut += len(whole) > len(ids)
        labels = [IGNORED_LABEL] * len(prompt) + ids[len(prompt) :]
        found.samples.append({"input_ids": ids, "labels": labels})
    found.n_without = int(not found.samples)
    return found


def encode_corpus(
    tokenizer: Any, path: Path, max_length: int, limit: int | None = None, *, last_answers: bool = False
) -> EncodedCorpus:
    """Encode a corpus file: one training sample for each answer of the assistant.

    A sample is the prompt as the evaluator would send it (chat template, thinking off), then the answer
    and the end-of-turn token; `labels` are IGNORED_LABEL over the prompt. An answer is cut at `max_length`
    tokens; a sample whose prompt alone fills it is left out and counted. An answer that is empty or that
    nobody asked for gives none.

    Args:
        limit: the most conversations to read.
        last_answers: take one sample a conversation, that of its last answer that fits: it holds the others.

    Raises:
        InputError: no sample fits into `max_length` tokens.
    """
    corpus = EncodedCorpus(max_length)
    for messages in read_conversations(path, limit):
        found = encode_conversation(tokenizer, messages, max_length)
        corpus.samples += found.samples[-1:] if last_answers else found.samples
        corpus.n_conversations += 1
        corpus.n_left_out += found.n_left_out
        corpus.n_cut += found.n_cut
        corpus.n_without += found.n_without
    if not corpus.samples:
        raise InputError(
            f"{path}: no conversation fits into max_length={max_length} tokens",
            remedy="raise max_length in the experiment file",
        )
    return corpus
