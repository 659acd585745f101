"""Drawing the corpus rows: seeded, usable, each once, and without benchmark text where that is asked."""

from __future__ import annotations

import hashlib
import math
import random
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any

from lanekit.errors import InputError
from lanekit.files.conversations import Message, check_conversation
from lanekit.files.json_lines import RowFault
from lanekit.spec.params import PrepareCorpusParams
from trainer.data.contamination import Guard, Match
from trainer.data.rows import Sample, sample_rows

FIRST_SPARE_FACTOR = 2
MOST = 0.5  # of the rows: a reason that this many share is the source's form, not a few rows
MAX_COMPLEXITY = 1e100  # beyond it a sum of a corpus' complexities may not be finite

Measure = Callable[[Sequence[Message]], int]
MeasureOnce = Callable[[int, Sequence[Message]], int]


@dataclass(frozen=True)
class CorpusRow:
    """One conversation; `number` is its row in the source, from 1; `n_tokens` is measured when it is kept."""

    number: int
    messages: list[Message]
    complexity: float
    n_tokens: int = 0


@dataclass
class Faults:
    """Unusable rows, counted by reason, and the first row of each."""

    counts: Counter[str] = field(default_factory=Counter)
    first: dict[str, tuple[int, RowFault]] = field(default_factory=dict)

    def add(self, number: int, fault: RowFault) -> None:
        """Count a row."""
        self.counts[fault.reason] += 1
        self.first.setdefault(fault.reason, (number, fault))

    def advise(self, reason: str) -> str:
        """Return what to do about the rows of one reason, with the first as the example."""
        number, fault = self.first[reason]
        return f"row {number}{fault.detail}: {fault.remedy}"


@dataclass
class Draw:
    """The rows drawn, in random order, and what was left out on the way.

    `matches` are those of the rows drawn, `row` being the source's number; `n_dropped` rows were left out for
    theirs. `faults` counts unusable rows by reason; `notes` tell of the source's files.
    """

    rows: list[CorpusRow]
    matches: list[Match]
    n_source: int
    n_read: int
    n_duplicates: int
    n_dropped: int
    faults: Faults
    notes: list[str]

    def list_left_out(self) -> dict[str, int]:
        """Return how many rows were left out, by reason."""
        others = {"duplicates": self.n_duplicates, "hold benchmark text": self.n_dropped}
        return {reason: count for reason, count in {**self.faults.counts, **others}.items() if count}

    def describe(self) -> list[str]:
        """Return the notes: files, and rows left out."""
        left_out = ", ".join(f"{reason}: {count}" for reason, count in self.list_left_out().items())
        told = [f"manta: of {self.n_read} rows read, left out: {left_out}"] if left_out else []
        return [*self.notes, *told]


def draw_rows(spec: PrepareCorpusParams, guard: Guard, measure: Measure) -> Draw:
    """Draw train and validation rows with `spec.seed`.

    A million rows need not all be held: twice what is needed leaves room for faulty ones, duplicates and
    spares; where it does not, the sample grows until it is the whole source.

    Args:
        measure: returns a conversation's tokens; a row on which it fails is left out and counted.

    Raises:
        InputError: the source has too few rows that can be used; the remedy is that of the reason.
    """
    needed = spec.train_rows + spec.validation_rows
    limit = FIRST_SPARE_FACTOR * needed
    known: dict[int, int] = {}

    def measure_once(number: int, messages: Sequence[Message]) -> int:
        if number not in known:
            known[number] = measure(messages)
        return known[number]

    while True:
        sample = sample_rows(spec.corpus, "manta", limit, spec.seed)
        draw = _sift(spec, guard, sample, measure_once)
        if len(draw.rows) == needed:
            return draw
        if len(sample.rows) >= sample.n_source:
            raise _too_few(spec, draw, needed)
        limit *= 2


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


def _too_few(spec: PrepareCorpusParams, draw: Draw, needed: int) -> InputError:
    reasons = ", ".join(f"{reason}: {count}" for reason, count in draw.list_left_out().items())
    remedy = f"lower corpus.train_rows and validation_rows in the experiment file to {len(draw.rows)} in all"
    if len(draw.rows) < 2:
        remedy = "give a corpus with more rows as data.manta in the experiment file"
    shared, count = max(draw.list_left_out().items(), key=lambda item: item[1], default=("", 0))
    if shared in draw.faults.counts:
        advice = draw.faults.advise(shared)
        remedy = advice if count >= MOST * draw.n_read else f"{remedy}; or mend the source: {advice}"
    elif shared == "hold benchmark text" and draw.n_dropped >= MOST * draw.n_read:
        remedy = "give another corpus: most rows hold benchmark text; or set corpus.contamination to 'label'"
    return InputError(
        f"{spec.corpus.source}: {needed} conversations are asked for, {len(draw.rows)} of {draw.n_read} rows "
        f"can be used ({reasons or 'the others are all good'})",
        remedy=remedy,
    )


def _sift(spec: PrepareCorpusParams, guard: Guard, sample: Sample, measure: MeasureOnce) -> Draw:
    faults = Faults()
    known: set[bytes] = set()
    usable: list[CorpusRow] = []
    n_duplicates = 0
    for number, row in zip(sample.numbers, sample.rows, strict=True):
        found = _read_row(number, row)
        if isinstance(found, RowFault):
            faults.add(number, found)
            continue
        digest = hash_conversation(found.messages)
        if digest in known:
            n_duplicates += 1
            continue
        known.add(digest)
        usable.append(found)
    random.Random(spec.seed).shuffle(usable)
    kept, matches, n_dropped = _guard_rows(spec, guard, usable, measure, faults)
    n_read = len(sample.rows)
    return Draw(kept, matches, sample.n_source, n_read, n_duplicates, n_dropped, faults, sample.notes)


def _read_row(number: int, row: dict[str, Any] | RowFault) -> CorpusRow | RowFault:
    if isinstance(row, RowFault):
        return row
    fault = check_conversation(row["conversations"])
    complexity = read_complexity(row["complexity"])
    if fault or isinstance(complexity, RowFault):
        return fault or complexity  # type: ignore[return-value]
    return CorpusRow(number, row["conversations"], complexity)


def _guard_rows(
    spec: PrepareCorpusParams, guard: Guard, usable: list[CorpusRow], measure: MeasureOnce, faults: Faults
) -> tuple[list[CorpusRow], list[Match], int]:
    """Return the first rows needed, measured, their matches, and how many were dropped to get them."""
    needed = spec.train_rows + spec.validation_rows
    kept: list[CorpusRow] = []
    matches: list[Match] = []
    n_dropped = 0
    while len(kept) < needed and usable:
        batch, usable = usable[: needed - len(kept)], usable[needed - len(kept) :]
        batch = _measure_rows(batch, measure, faults)
        found = guard.find([row.messages for row in batch])
        if spec.contamination != "drop":
            matches += [replace(match, row=batch[match.row].number) for match in found]
            kept += batch
            continue
        hit = {match.row for match in found}
        n_dropped += len(hit)
        kept += [row for place, row in enumerate(batch) if place not in hit]
    return kept, matches, n_dropped


def _measure_rows(batch: list[CorpusRow], measure: MeasureOnce, faults: Faults) -> list[CorpusRow]:
    measured = []
    for row in batch:
        try:
            measured.append(replace(row, n_tokens=measure(row.number, row.messages)))
        except Exception as error:  # the chat template is the model's own program: it may refuse in any way
            words = f"{type(error).__name__}: {error}"[:200]
            fault = RowFault(
                "the model's chat template does not take it",
                "give conversations whose roles stand in the order that the template wants",
                f" ({words})",
            )
            faults.add(row.number, fault)
    return measured
