"""Drawing the corpus rows: seeded, usable, each once, and without benchmark text where that is asked."""

from __future__ import annotations

import hashlib
import random
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from lanekit.errors import InputError
from lanekit.files.conversations import Message, check_conversation
from lanekit.spec.params import PrepareCorpusParams
from trainer.data.contamination import Guard, Match
from trainer.data.rows import sample_rows

FIRST_SPARE_FACTOR = 2


@dataclass(frozen=True)
class CorpusRow:
    """One conversation; `number` is its row in the source, from 1."""

    number: int
    messages: list[Message]
    complexity: float


@dataclass
class Draw:
    """The rows drawn, in random order, and what was left out on the way.

    `matches` are those of the rows drawn, `row` being the source's number; `n_dropped` rows were left out for
    theirs. `faults` counts unusable rows by reason.
    """

    rows: list[CorpusRow]
    matches: list[Match]
    n_source: int
    n_read: int
    n_duplicates: int
    n_dropped: int
    faults: dict[str, int] = field(default_factory=dict)


def draw_rows(spec: PrepareCorpusParams, guard: Guard) -> Draw:
    """Draw train and validation rows with `spec.seed`.

    A million rows need not all be held: twice what is needed leaves room for faulty ones, duplicates and
    spares; where it does not, the sample grows until it is the whole source.

    Raises:
        InputError: the source has too few rows that can be used.
    """
    needed = spec.train_rows + spec.validation_rows
    limit = FIRST_SPARE_FACTOR * needed
    while True:
        numbers, rows, n_source = sample_rows(spec.corpus, "manta", limit, spec.seed)
        draw = _sift(spec, guard, numbers, rows, n_source)
        if len(draw.rows) == needed:
            return draw
        if len(rows) >= n_source:
            left_out = {**draw.faults, "duplicates": draw.n_duplicates, "hold benchmark text": draw.n_dropped}
            reasons = ", ".join(f"{reason}: {count}" for reason, count in left_out.items() if count)
            raise InputError(
                f"{spec.corpus.source}: {needed} conversations are asked for, {len(draw.rows)} of "
                f"{len(rows)} rows can be used ({reasons or 'the others are all good'})",
                remedy="lower corpus.train_rows or validation_rows in the experiment file",
            )
        limit *= 2


def hash_conversation(messages: Sequence[Message]) -> bytes:
    """Return the hash by which two conversations are one: NFKC, casefolded, white space collapsed."""
    digest = hashlib.blake2b(digest_size=16)
    for message in messages:
        text = " ".join(unicodedata.normalize("NFKC", message["content"]).casefold().split())
        digest.update(f"{message['role']}\x1e{text}\x1f".encode())
    return digest.digest()


def _sift(
    spec: PrepareCorpusParams, guard: Guard, numbers: list[int], rows: list[dict[str, Any]], n_source: int
) -> Draw:
    faults: Counter[str] = Counter()
    known: set[bytes] = set()
    usable: list[CorpusRow] = []
    n_duplicates = 0
    for number, row in zip(numbers, rows, strict=True):
        fault = check_conversation(row["conversations"]) or _find_complexity_fault(row["complexity"])
        if fault:
            faults[fault] += 1
            continue
        digest = hash_conversation(row["conversations"])
        if digest in known:
            n_duplicates += 1
            continue
        known.add(digest)
        usable.append(CorpusRow(number, row["conversations"], float(row["complexity"])))
    random.Random(spec.seed).shuffle(usable)
    kept, matches, n_dropped = _guard_rows(spec, guard, usable)
    return Draw(kept, matches, n_source, len(rows), n_duplicates, n_dropped, dict(faults))


def _guard_rows(
    spec: PrepareCorpusParams, guard: Guard, usable: list[CorpusRow]
) -> tuple[list[CorpusRow], list[Match], int]:
    """Return the first rows needed, their matches, and how many were dropped to get them."""
    needed = spec.train_rows + spec.validation_rows
    kept: list[CorpusRow] = []
    n_dropped = 0
    while len(kept) < needed and usable:
        batch, usable = usable[: needed - len(kept)], usable[needed - len(kept) :]
        found = guard.find([row.messages for row in batch])
        if spec.contamination != "drop":
            return batch, [replace(match, row=batch[match.row].number) for match in found], 0
        hit = {match.row for match in found}
        n_dropped += len(hit)
        kept += [row for place, row in enumerate(batch) if place not in hit]
    return kept, [], n_dropped


def _find_complexity_fault(value: Any) -> str:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool) and value == value
    return "" if is_number else "its complexity is not a number"
