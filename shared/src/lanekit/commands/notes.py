"""What stages noted: where a result is not all that was asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from rich.console import Console

Notes = Mapping[str, Sequence[str]]  # by the artifact's name


class NoteTeller:
    """Tells each note once, however often it is seen."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell
        self._told: set[tuple[str, str]] = set()

    def show(self, notes: Notes) -> None:
        """Tell what is new."""
        for name, own in notes.items():
            for note in own:
                if (name, note) not in self._told:
                    self._told.add((name, note))
                    self._tell(f"{name}: {note}")


def print_note(console: Console, text: str) -> None:
    """Print a note; where a live picture stands, above it, so that it stays."""
    console.print(f"! {text}", style="yellow", markup=False, highlight=False, soft_wrap=True)


def merge_notes(notes: Notes) -> list[str]:
    """Return a line for each different note, with the first of its artifacts: "gptq-1a2b +2: …"."""
    names: dict[str, list[str]] = {}
    for name, own in notes.items():
        for note in own:
            names.setdefault(note, []).append(name)
    more = {note: f" +{len(found) - 1}" if len(found) > 1 else "" for note, found in names.items()}
    return [f"{found[0]}{more[note]}: {note}" for note, found in names.items()]
