"""Where a stage's calibration rows come from: which sources of the experiment, how many rows, which draw."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, Literal, Protocol

from pydantic import BaseModel, ConfigDict, PositiveInt, field_validator

from lanekit.spec.numbers import PlainNumbers

CORPUS = "manta"
# What conversations may come from: the first is trained on as well, the others calibrate alone.
CORPORA: tuple[str, ...] = (CORPUS, "general")


CANDIDATES_A_ROW = 4  # rows drawn of a source that calibrates alone, for each that is chosen


class Amounts(Protocol):
    """How much of the corpus is used; see `params.CorpusSettings`."""

    @property
    def train_rows(self) -> int:
        """Rows that are trained on."""

    @property
    def validation_rows(self) -> int:
        """Rows that are held out."""

    @property
    def calibration_rows(self) -> int:
        """Rows of the calibration set."""


def count_drawn(name: str, corpus: Amounts) -> tuple[int, int]:
    """Return how many rows are drawn of a source, for training and for validation.

    Of one that calibrates alone no more than the calibration set is chosen from.
    """
    if name == CORPUS:
        return corpus.train_rows, corpus.validation_rows
    return CANDIDATES_A_ROW * corpus.calibration_rows, 1


class CalibrationShare(PlainNumbers):
    """So many rows of one source's calibration set, its first."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: Literal["manta", "general"]
    rows: PositiveInt


def interleave(rows: Mapping[str, int]) -> list[tuple[str, int]]:
    """Return the sources and their rows' places in turn, the one furthest behind its share first.

    Every prefix is so in the proportion of the whole.
    """
    order = [
        ((place + 0.5) / count, number, name, place)
        for number, (name, count) in enumerate(rows.items())
        for place in range(count)
    ]
    return [(name, place) for _, _, name, place in sorted(order)]


class CalibrationChoice(PlainNumbers):
    """A mix of sources (none: the corpus alone), and the number of the draw, from 1.

    Draw 2 is what the second replicate of a lane calibrates on.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    mix: tuple[CalibrationShare, ...] = ()
    draw: PositiveInt = 1

    @field_validator("mix")
    @classmethod
    def check_sources(cls, mix: tuple[CalibrationShare, ...]) -> tuple[CalibrationShare, ...]:
        """Refuse a source that is named twice."""
        if len({share.source for share in mix}) != len(mix):
            raise ValueError("mix names a source twice")
        return mix

    def share_rows(self, n_rows: int) -> dict[str, int]:
        """Return how many rows of each source are among the first `n_rows` of the mix."""
        order = interleave({share.source: share.rows for share in self.mix})
        return dict(Counter(name for name, _ in order[:n_rows]))


def find_spare_sources(parameters: Iterable[Any]) -> frozenset[str]:
    """Return the sources that calibrate alone and that no stage with these parameters takes rows of."""
    choices = [choice for params in parameters if (choice := getattr(params, "calibration", None))]
    return frozenset({*CORPORA[1:]} - {share.source for choice in choices for share in choice.mix})


def count_mixed(parameters: Any) -> int | None:
    """Return how many rows the mix of a stage's parameters, as written, has; None for none or a fault."""
    choice = parameters.get("calibration") if isinstance(parameters, dict) else None
    if isinstance(choice, BaseModel):
        choice = choice.model_dump()
    mix = choice.get("mix") if isinstance(choice, dict) else None
    if not isinstance(mix, (list, tuple)) or not mix:
        return None
    rows = [share.get("rows") if isinstance(share, dict) else None for share in mix]
    counts = [count for count in rows if type(count) is int and count > 0]
    return sum(counts) if len(counts) == len(rows) else None
