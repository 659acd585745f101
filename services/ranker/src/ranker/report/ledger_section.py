"""The ledger's section of summary.md and summary.html, put into the results folder after a ranking.

A score of the server comes hours after the ranking of which it is no part. Were the ledger an input of the
rank stage, every score would make another ranking artifact, and in the stack another run of the same
request. So the stage leaves a place for it, and whoever puts its tables into a results folder, or adds an
entry, fills it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lanekit.results.folder import RANKING_NAME, read_experiment_name, rewrite_tables
from lanekit.results.ledger import Entry, read_ledger

BEGIN, END = "<!-- ledger -->", "<!-- end of ledger -->"
PLACE = f"{BEGIN}\n{END}"


def refresh_tables(results: Path, ledger: Path) -> list[str]:
    """Put the ledger's entries of a results folder's experiment into its tables; return lines that tell of
    it.

    Where there is no ledger the tables stay as they are.

    Raises:
        InputError: the ledger has lines that are no entries.
        StoreError: the folder cannot be written.
    """
    if not ledger.exists():
        return []
    experiment = read_experiment_name(results)
    if experiment is None:
        return [f"the ledger is not in the tables: there is no {results / RANKING_NAME}"]
    entries = [entry for entry in read_ledger(ledger) if entry.experiment in ("", experiment)]
    try:
        sections = render_sections(entries)
    except ImportError as error:  # the light environment of the stack's commands
        return [
            f"the ledger is not in the tables: {error.name} is not installed; ./scripts/dev setup does it"
        ]
    lacking = rewrite_tables(results, lambda name, text: fill_place(text, sections[name]), tuple(sections))
    return [
        f"{results / name} has no place for the ledger: rank again, an earlier version made it"
        for name in lacking
    ]


def render_sections(entries: Sequence[Entry]) -> dict[str, str]:
    """Return the section by the table's name, empty where there is no entry."""
    from ranker.report.html_parts import draw_table as draw_html
    from ranker.report.markdown import draw_table as draw_markdown
    from ranker.report.tables_ledger import tabulate_ledger

    table = tabulate_ledger(entries)
    return {"summary.md": "\n".join(draw_markdown(table)).rstrip("\n"), "summary.html": draw_html(table)}


def fill_place(text: str, section: str) -> str | None:
    """Return a table's text with another section in its place; None where it has no such place.

    The place's ends are lines of their own, which no foreign text before them can be.
    """
    lines = text.split("\n")
    try:
        begin = lines.index(BEGIN)
        end = lines.index(END, begin)
    except ValueError:
        return None
    return "\n".join([*lines[: begin + 1], *([section] if section else []), *lines[end:]])
