"""What a row of the corpus must hold: the one check, to draw it and to look at it before the first stage."""

from __future__ import annotations

import hashlib
import math
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from lanekit.files.conversations import Message, check_conversation
from lanekit.files.json_lines import RowFault

FIRST_ROWS = 200  # so many are looked at before the first stage
MOST = 0.5  # of the rows: a reason that this many share is the source's form, not a few rows
MAX_COMPLEXITY = 1e100  # beyond it a sum of a corpus' complexities may not be finite


@dataclass(frozen=True)
class CorpusRow:
    """One conversation; `number` is its row in the source, from 1, `place` its "file:line" or the like.

    `n_tokens` is measured when it is kept.
    """

    number: int
    place: str
    messages: list[Message]
    complexity: float
    n_tokens: int = 0


@dataclass
class Faults:
    """Unusable rows, counted by reason, and the first row of each with its number and place."""

    counts: Counter[str] = field(default_factory=Counter)
    first: dict[str, tuple[int, str, RowFault]] = field(default_factory=dict)

    def add(self, number: int, place: str, fault: RowFault) -> None:
        """Count a row; `place` is "file:line" or the like."""
        self.counts[fault.reason] += 1
        self.first.setdefault(fault.reason, (number, place, fault))

    def advise(self, reason: str) -> str:
        """Return what to do about the rows of one reason, with the first as the example."""
        number, place, fault = self.first[reason]
        return f"row {number} ({place}){fault.detail}: {fault.remedy}"


@dataclass
class FirstRows:
    """What the first rows of the corpus hold; `n_source` is how many it has."""

    n_source: int
    n_read: int = 0
    n_usable: int = 0
    n_duplicates: int = 0
    faults: Faults = field(default_factory=Faults)

    @property
    def n_at_most(self) -> int:
        """How many rows could be usable if all that were not read are."""
        return self.n_source - self.n_read + self.n_usable


def look_at_rows(
    rows: Iterable[tuple[str, dict[str, Any] | RowFault]], n_source: int, n_needed: int
) -> FirstRows:
    """Read the first rows of a corpus, and on where none of them can be used.

    It ends with the first that can, or where too few are left: a refusal is certain, never a guess.
    """
    first = FirstRows(n_source)
    known: set[bytes] = set()
    for number, (place, row) in enumerate(rows, start=1):
        first.n_read = number
        found = read_corpus_row(number, place, row)
        if isinstance(found, RowFault):
            first.faults.add(number, place, found)
        elif (digest := hash_conversation(found.messages)) in known:
            first.n_duplicates += 1
        else:
            known.add(digest)
            first.n_usable += 1
        if number >= FIRST_ROWS and (first.n_usable or first.n_at_most < n_needed):
            break
    return first


def read_corpus_row(number: int, place: str, row: dict[str, Any] | RowFault) -> CorpusRow | RowFault:
    """Return a row's conversation, or why it cannot be used."""
    if isinstance(row, RowFault):
        return row
    complexity = read_complexity(row.get("complexity", 0.0))  # of the corpus alone, whose columns are checked
    messages = row["conversations"] if "conversations" in row else row["messages"]
    fault = check_conversation(messages)
    if fault is not None:
        return fault
    if isinstance(complexity, RowFault):
        return complexity
    return CorpusRow(number, place, messages, complexity)


def hash_conversation(messages: Sequence[Message]) -> bytes:
    """Return the hash by which two conversations are one: NFKC, casefolded, white space collapsed."""
    digest = hashlib.blake2b(digest_size=16)
    for message in messages:
        text = " ".join(unicodedata.normalize("NFKC", message["content"]).casefold().split())
        digest.update(f"{message['role']}\x1e{text}\x1f".encode())
    return digest.digest()


def read_complexity(value: Any) -> float | RowFault:
    """Return a complexity as a float: a finite number, a Decimal too; never a text or a boolean."""
    is_number = isinstance(value, (int, float, Decimal)) and not isinstance(value, bool)
    try:
        number = float(value) if is_number else math.nan
        shown = repr(value)[:40]
    except (OverflowError, ValueError):  # an integer of hundreds of digits
        number, shown = math.inf, "one beyond all measure"
    if math.isfinite(number) and abs(number) <= MAX_COMPLEXITY:
        return number
    found = f"{shown} ({type(value).__name__})"
    return RowFault("its complexity is not a number", f"it is a finite number, e.g. 2.63; found {found}")


def list_reasons(left_out: Mapping[str, int]) -> str:
    """Return the reasons with their counts."""
    return ", ".join(f"{reason}: {count}" for reason, count in left_out.items())


def advise_too_few(left_out: Mapping[str, int], faults: Faults, n_read: int, n_usable: int) -> str:
    """Return what to do where too few rows can be used; the reason that most of the others share decides."""
    remedy = f"lower corpus.train_rows and validation_rows in the experiment file to {n_usable} in all"
    if n_usable < 2:
        remedy = "give a corpus with more rows in the experiment file"
    shared, count = max(left_out.items(), key=lambda item: item[1], default=("", 0))
    if shared not in faults.counts:
        return remedy
    advice = faults.advise(shared)
    return advice if count >= MOST * n_read else f"{remedy}; or mend the source: {advice}"
