"""The ranking as text tables, summary.md: for a terminal and for GitHub. Pure."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence

from lanekit.results.ranking import Ranking
from ranker.report.formats import clean_log, join_lines, list_unranked
from ranker.report.ledger_section import PLACE
from ranker.report.notes import (
    FRONT_TERM,
    collect_remarks,
    collect_warnings,
    explain_formula,
    explain_statistics,
    list_failures,
)
from ranker.report.table import Cell, Head, Table
from ranker.report.tables_bound import tabulate_bounds
from ranker.report.tables_margin import tabulate_margins, tabulate_perf_margins
from ranker.report.tables_quality import tabulate_benchmark, tabulate_details
from ranker.report.tables_ranking import tabulate_ranking
from ranker.report.tables_replicates import tabulate_replicates
from ranker.report.tables_screen import tabulate_screens
from ranker.report.tables_speed import tabulate_costs, tabulate_forms, tabulate_times

LOG_LINES = 5


def render_markdown(
    ranking: Ranking, benchmarks: Sequence[str], quality_weight: float, confidence: float = 0.95
) -> str:
    """Return summary.md: warnings, the tables, the formula, and the notes a reader needs to judge it.

    `confidence` is that of the ranking's intervals.
    """
    warnings = collect_warnings(ranking)
    lines = [f"# {ranking.experiment}: ranking" if ranking.experiment else "# Ranking", ""]
    if warnings:
        lines += ["## Read this first", "", *_list(warnings), ""]
    lines += draw_table(tabulate_ranking(ranking, benchmarks))
    lines += draw_table(tabulate_replicates(ranking))
    lines += [PLACE, ""]
    formula, terms = explain_formula(ranking, quality_weight)
    lines += ["## How the score is made", "", f"`{formula}`. {terms}", ""]
    lines += draw_table(tabulate_perf_margins(ranking))
    lines += draw_table(tabulate_screens(ranking))
    lines += ["## Quality by benchmark", ""]
    statistics = explain_statistics(ranking, confidence)
    if statistics:
        lines += [statistics, ""]
    for name in benchmarks:
        lines += draw_table(tabulate_benchmark(ranking, name), "###")
        lines += draw_table(tabulate_margins(ranking, name))
        lines += draw_table(tabulate_details(ranking, name))
    for tabulate in (tabulate_forms, tabulate_costs, tabulate_bounds, tabulate_times):
        lines += draw_table(tabulate(ranking))
    remarks = [*list_failures(ranking), *collect_remarks(ranking), FRONT_TERM, *ranking.rules]
    lines += ["## Notes", "", *_list(remarks)]
    lines += _draw_log_tails(ranking)
    return "\n".join(lines) + "\n"


def draw_table(table: Table | None, level: str = "##") -> list[str]:
    """Return a GitHub table with title and note; nothing for none.

    Its cells are padded, so that it stands straight in a terminal too.
    """
    if table is None:
        return []
    lines = [f"{level} {table.title}", ""] if table.title else []
    lines += [join_lines(table.note), ""] if table.note else []
    if not table.rows:
        return lines
    heads = [column for head in table.heads for column in _name_columns(head)]
    rows = [
        [text for cell, head in zip(row.cells, table.heads, strict=True) for text in _split(cell, head)]
        for row in table.rows
    ]
    cells = [[join_lines(text).replace("|", "\\|") for text in row] for row in [heads, *rows]]
    lefts = [head.kind != "number" for head in table.heads for _ in _name_columns(head)]
    widths = [max(3, *map(_measure, column)) for column in zip(*cells, strict=True)]
    rule = [
        ":" + "-" * (width - 1) if is_left else "-" * (width - 1) + ":"
        for width, is_left in zip(widths, lefts, strict=True)
    ]
    for row in [cells[0], rule, *cells[1:]]:
        padded = map(_pad, row, widths, lefts)
        lines.append("| " + " | ".join(padded) + " |")
    return [*lines, ""]


def _name_columns(head: Head) -> list[str]:
    if head.is_detail:
        return []
    return [head.name, "interval"] if head.below == "interval" else [head.name]


def _split(cell: Cell, head: Head) -> Iterator[str]:
    """Yield a cell's text for each of its head's columns."""
    if head.is_detail:
        return
    value = f"**{cell.value}**" if cell.is_best else cell.value
    aside = f" ({cell.below})" if head.below == "aside" and cell.below else ""
    yield value + aside + ", ".join(badge.words for badge in cell.badges)
    if head.below == "interval":
        yield cell.below


def _pad(text: str, width: int, is_left: bool) -> str:
    space = " " * (width - _measure(text))
    return text + space if is_left else space + text


def _measure(text: str) -> int:
    """Return a text's columns in a terminal."""
    return sum(1 + (unicodedata.east_asian_width(c) in "WF") for c in text if not unicodedata.combining(c))


def _draw_log_tails(ranking: Ranking) -> list[str]:
    lines: list[str] = []
    for lane in list_unranked(ranking):
        shown = clean_log(lane.record.log_tail, LOG_LINES)
        if shown:
            fence = "`" * max(3, 1 + max(len(run) for run in re.findall("`+", "".join(shown)) or [""]))
            lines += ["", f"`{lane.record.lane}`:", "", f"{fence}text", *shown, fence]
    return ["", "## Last lines of failed lanes' logs", *lines] if lines else []


def _list(notes: Sequence[str]) -> list[str]:
    return [f"- {join_lines(note)}" for note in notes]
