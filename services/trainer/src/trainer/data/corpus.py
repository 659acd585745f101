"""Drawing the corpus rows: seeded, usable, each once, and without benchmark text where that is asked."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from lanekit.errors import InputError
from lanekit.files.conversations import Message
from lanekit.files.json_lines import RowFault
from lanekit.spec.calibration import CORPUS
from lanekit.spec.corpus_rows import (
    MOST,
    CorpusRow,
    Faults,
    advise_too_few,
    hash_conversation,
    list_reasons,
    read_corpus_row,
)
from lanekit.spec.params import PrepareCorpusParams
from trainer.data.contamination import Guard, Match
from trainer.data.rows import Sample, sample_rows

FIRST_SPARE_FACTOR = 2
HOLD_BENCHMARK_TEXT = "hold benchmark text"

Measure = Callable[[Sequence[Message]], int]
MeasureOnce = Callable[[int, Sequence[Message]], int]


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
    name: str = CORPUS

    def list_left_out(self) -> dict[str, int]:
        """Return how many rows were left out, by reason."""
        others = {"duplicates": self.n_duplicates, HOLD_BENCHMARK_TEXT: self.n_dropped}
        return {reason: count for reason, count in {**self.faults.counts, **others}.items() if count}

    def describe(self) -> list[str]:
        """Return the notes: files, and rows left out."""
        left_out = list_reasons(self.list_left_out())
        told = [f"{self.name}: of {self.n_read} rows read, left out: {left_out}"] if left_out else []
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
        sample = sample_rows(spec.corpus, spec.name, limit, spec.seed)
        draw = _sift(spec, guard, sample, measure_once)
        if len(draw.rows) == needed:
            return draw
        if len(sample.rows) >= sample.n_source:
            raise _too_few(spec, draw, needed)
        limit *= 2


def _too_few(spec: PrepareCorpusParams, draw: Draw, needed: int) -> InputError:
    left_out = draw.list_left_out()
    remedy = advise_too_few(left_out, draw.faults, draw.n_read, len(draw.rows))
    most = max(left_out, key=lambda reason: left_out[reason], default="")
    if most == HOLD_BENCHMARK_TEXT and draw.n_dropped >= MOST * draw.n_read:
        remedy = "give another corpus: most rows hold benchmark text; or set corpus.contamination to 'label'"
    return InputError(
        f"{spec.corpus.source}: {needed} conversations are asked for, {len(draw.rows)} of {draw.n_read} rows "
        f"can be used ({list_reasons(left_out) or 'the others are all good'})",
        remedy=remedy,
    )


def _sift(spec: PrepareCorpusParams, guard: Guard, sample: Sample, measure: MeasureOnce) -> Draw:
    faults = Faults()
    known: set[bytes] = set()
    usable: list[CorpusRow] = []
    n_duplicates = 0
    for number, place, row in zip(sample.numbers, sample.places, sample.rows, strict=True):
        found = read_corpus_row(number, place, row)
        if isinstance(found, RowFault):
            faults.add(number, place, found)
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
    return Draw(
        kept, matches, sample.n_source, n_read, n_duplicates, n_dropped, faults, sample.notes, spec.name
    )


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
            faults.add(row.number, row.place, fault)
    return measured
