"""What a benchmark set holds that can be asked, and should be known: equal options, rows that stand twice."""

from __future__ import annotations

import unicodedata
from collections import Counter
from dataclasses import dataclass, field

from lanekit.spec.rows import ChoiceItem, DocumentItem, Item

MAX_PLACES = 3


@dataclass
class SetFindings:
    """Counts of rows by finding; the first places of each are kept for the note."""

    counts: Counter[str] = field(default_factory=Counter)
    places: dict[str, list[str]] = field(default_factory=dict)
    _asked: dict[str, set[tuple[str, ...]]] = field(default_factory=dict)
    _ids: set[str] = field(default_factory=set)

    def add(self, item: Item, where: str, *, has_own_id: bool) -> None:
        """Look at one row's item; an id that only is its place is not compared."""
        if isinstance(item, ChoiceItem):
            options = tuple(_join(option) for option in item.options)
            question = _join(item.question)
            if len(set(options)) < len(options):
                self._note("have equal options (cannot be answered for certain)", where)
            parts: tuple[str, ...] = tuple(sorted(options))
        elif isinstance(item, DocumentItem):
            question, parts = _join(item.question), (_join(item.context),)
            if not item.task:
                self._note("have no task", where)
        else:
            question, parts = _join(item.turns[0]), tuple(map(_join, item.turns[1:]))
        asked = self._asked.setdefault(question, set())
        if parts in asked:
            self._note("repeat an earlier row's question and all that goes with it", where)
        elif asked:
            self._note("ask an earlier row's question with other options or documents", where)
        asked.add(parts)
        if has_own_id and item.id in self._ids:
            self._note("repeat an earlier row's id", where)
        self._ids.add(item.id)
        if any(unicodedata.category(c) == "Cc" and c not in "\n\r\t" for c in question):
            self._note("hold control characters in the question", where)

    def describe(self, name: str) -> list[str]:
        """Return a note for each finding."""
        return [
            f"{name}: {count} row{'s' if count > 1 else ''} {finding}: {', '.join(self.places[finding])}"
            + (" …" if count > MAX_PLACES else "")
            for finding, count in self.counts.items()
        ]

    def _note(self, finding: str, where: str) -> None:
        self.counts[finding] += 1
        places = self.places.setdefault(finding, [])
        if len(places) < MAX_PLACES:
            places.append(where.rpartition("/")[2])


def _join(text: str) -> str:
    """Return a text with its white space collapsed: x² and x2 stay two options."""
    return " ".join(text.split())
