"""A table of a report, as data: built once from the ranking, written as Markdown and as HTML. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from lanekit.results.ranking import RankedLane, Ranking
from ranker.report.formats import show_lane


@dataclass(frozen=True)
class Badge:
    """A few words on a lane beside its numbers; `detail` is what they rest on."""

    words: str
    korean: str = ""
    tone: Literal["", "good", "bad"] = ""
    detail: str = ""


@dataclass(frozen=True)
class Cell:
    """A value and what stands `below` it, smaller; `hue` is its group's colour.

    A lane's name stands in backquotes; `lane` is the lane to whose part of the page it leads.
    """

    value: str
    below: str = ""
    is_best: bool = False
    hue: str = ""
    badges: tuple[Badge, ...] = ()
    lane: str = ""


@dataclass(frozen=True)
class Head:
    """A column's name and nature.

    What stands below its values is an interval, which has a column of its own where lines are single, an
    aside, which stands in brackets there, or for the page alone. So is a whole column with `is_detail`.
    """

    name: str
    korean: str = ""
    kind: Literal["number", "text", "lane"] = "number"
    below: Literal["interval", "aside", "page"] = "page"
    is_detail: bool = False


@dataclass(frozen=True)
class Row:
    """A lane's cells, one for each head."""

    cells: tuple[Cell, ...]
    is_base: bool = False


@dataclass(frozen=True)
class Table:
    """A table; without rows `note` says why it has none."""

    title: str
    korean: str = ""
    note: str = ""
    heads: tuple[Head, ...] = ()
    rows: tuple[Row, ...] = ()


LANE = Head("lane", "레인", "lane")


def make_row(ranking: Ranking, lane: RankedLane, *cells: Cell) -> Row:
    """Return a row that begins with the lane's name."""
    return Row((Cell(show_lane(lane.record), lane=lane.record.lane), *cells), lane is ranking.lanes[0])
