"""The held-out text of the screen: the validation part's conversations as token ids. Takes no torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lanekit.errors import InputError
from lanekit.files.conversations import IGNORED_LABEL, encode_conversation, read_conversations
from lanekit.files.hashing import digest_json
from lanekit.spec.screen import ScreenSettings

VALIDATION_NAME = "validation.jsonl"
MAX_BATCH_LOGITS = 1 << 27  # of each model: 512 MB in float32
MAX_BATCH_TOKENS = 4096


@dataclass(frozen=True)
class Sequence:
    """One conversation's tokens; those from `first` on, the answer's, are predicted and count."""

    ids: list[int]
    first: int

    @property
    def n_counted(self) -> int:
        """How many tokens count."""
        return len(self.ids) - self.first

    @property
    def targets(self) -> list[int]:
        """The tokens that count."""
        return self.ids[self.first :]


def choose_sequences(tokenizer: Any, corpus: Path, spec: ScreenSettings) -> list[Sequence]:
    """Return the sequences, in the order of the file, which the corpus stage has shuffled.

    Each is a conversation's last answer that fits, with all before it as its prompt, cut after
    `spec.sequence_tokens` of the answer; the last one is cut so that `spec.max_tokens` count in all.

    Raises:
        InputError: the corpus has no validation part, or no conversation fits.
    """
    path = corpus / VALIDATION_NAME
    if not path.is_file():
        raise InputError(
            f"{path}: no such file", remedy="prepare the corpus again: scripts/01_prepare_data.py"
        )
    chosen: list[Sequence] = []
    left = spec.max_tokens
    for messages in read_conversations(path):
        if left <= 0:
            break
        for sample in encode_conversation(tokenizer, messages, spec.max_length).samples[-1:]:
            first = sum(label == IGNORED_LABEL for label in sample["labels"])
            found = Sequence(sample["input_ids"][: first + min(spec.sequence_tokens, left)], first)
            chosen.append(found)
            left -= found.n_counted
    if not chosen:
        raise InputError(
            f"{path}: no conversation fits into screen.max_length={spec.max_length} tokens",
            remedy="raise screen.max_length in the experiment file",
        )
    return chosen


def plan_batches(sequences: list[Sequence], vocab_size: int) -> list[list[int]]:
    """Return the sequences' places in batches of like length, each within what its logits may take."""
    order = sorted(range(len(sequences)), key=lambda place: len(sequences[place].ids))
    batches: list[list[int]] = []
    for place in order:
        inside = [*(batches[-1] if batches else []), place]
        n_rows = len(inside) * max(sequences[i].n_counted for i in inside)
        n_read = len(inside) * len(sequences[place].ids)
        if batches and n_rows * vocab_size <= MAX_BATCH_LOGITS and n_read <= MAX_BATCH_TOKENS:
            batches[-1] = inside
        else:
            batches.append([place])
    return batches


def describe_shortage(sequences: list[Sequence], spec: ScreenSettings) -> list[str]:
    """Return a note where the validation part holds fewer tokens than are asked for."""
    there = sum(sequence.n_counted for sequence in sequences)
    if there == spec.max_tokens:
        return []
    return [
        f"screen: {spec.max_tokens} tokens are asked for (screen.max_tokens), the corpus's validation part "
        f"has {there} (corpus.validation_rows)"
    ]


def digest_sequences(sequences: list[Sequence]) -> str:
    """Return the digest of what is read, so that two models' numbers can be paired."""
    return digest_json([[sequence.first, sequence.ids] for sequence in sequences])
