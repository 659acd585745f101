"""The ranking as one self-contained page, summary.html, for people. Deterministic text."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from importlib.resources import files
from string import Template

from lanekit.results.ranking import Ranking
from ranker.report.formats import (
    N_BEST,
    list_scored,
    list_unranked,
    map_ranks,
    round_number,
    show_gain,
    show_interval,
    show_mb,
)
from ranker.report.html_charts import draw_charts
from ranker.report.html_lane import RANKING_ANCHOR, draw_failure, draw_lanes
from ranker.report.html_parts import (
    anchor_lane,
    draw_badges,
    draw_grid,
    draw_note,
    draw_table,
    korean,
    listing,
    name,
    section,
    text,
    title,
)
from ranker.report.html_speed import draw_places, draw_times
from ranker.report.korean_guide import explain_in_korean
from ranker.report.ledger_section import PLACE
from ranker.report.notes import (
    FRONT_TERM,
    collect_remarks,
    collect_warnings,
    explain_formula,
    explain_statistics,
)
from ranker.report.plots import choose_colours, describe_place
from ranker.report.plots_quality import render_recovery
from ranker.report.tables_bound import tabulate_bounds
from ranker.report.tables_margin import tabulate_margins, tabulate_perf_margins
from ranker.report.tables_quality import tabulate_benchmark, tabulate_details
from ranker.report.tables_ranking import list_badges, tabulate_ranking
from ranker.report.tables_replicates import tabulate_replicates
from ranker.report.tables_screen import tabulate_screens
from ranker.report.tables_speed import tabulate_costs, tabulate_forms

RECOVERY = (
    '<div class="scroll"><div class="wide">{chart}</div></div>'
    '<p class="sub" id="recovery-caption">Each lane\'s value over the baseline\'s on the same items, '
    "with its interval; filled: told from the baseline after Holm's adjustment (p &lt; 0.05).</p>"
)


def render_html(
    ranking: Ranking, benchmarks: Sequence[str], quality_weight: float, confidence: float = 0.95
) -> str:
    """Return the page; `confidence` is that of the ranking's intervals."""
    sections = [
        _draw_warnings(ranking),
        _draw_best(ranking),
        draw_charts(ranking),
        draw_table(tabulate_ranking(ranking, benchmarks), RANKING_ANCHOR),
        draw_table(tabulate_replicates(ranking)),
        PLACE,
        _draw_failures(ranking),
        draw_table(tabulate_perf_margins(ranking)),
        draw_table(tabulate_screens(ranking)),
        _draw_quality(ranking, benchmarks),
        draw_table(tabulate_forms(ranking)),
        draw_places(ranking),
        draw_table(tabulate_costs(ranking)),
        draw_table(tabulate_bounds(ranking)),
        draw_times(ranking),
        _draw_notes(ranking, quality_weight, confidence),
    ]
    n_scored, n_failed = len(list_scored(ranking)), len(list_unranked(ranking))
    lead = f"{n_scored} lanes ranked, {n_failed} without a rank. Speed: {describe_place(ranking)}."
    script = _read("page.js")
    return Template(_read("page.html")).substitute(
        script=script,
        script_digest=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        title=text(f"{ranking.experiment}: ranking" if ranking.experiment else "Ranking"),
        style=_read("page.css"),
        lead=text(lead),
        content="\n".join(section for section in sections if section),
        lanes=draw_lanes(ranking, benchmarks),
    )


def _read(file_name: str) -> str:
    return files("ranker.report").joinpath(file_name).read_text(encoding="utf-8")


def _draw_warnings(ranking: Ranking) -> str:
    warnings = collect_warnings(ranking)
    if not warnings:
        return ""
    return (
        f'<section class="warn" role="note">{title("Read this first", "주의")}{listing(warnings)}</section>'
    )


def _draw_best(ranking: Ranking) -> str:
    colours, ranks = choose_colours(ranking), map_ranks(ranking)
    tiles = []
    for lane in list_scored(ranking)[:N_BEST]:
        record = lane.record
        interval = show_interval(lane.score_interval)
        score = f"{round_number(lane.score)} <small>score {korean('점수')} {interval}</small>"
        tiles.append(
            f'<section class="tile" style="--hue: {colours[record.group]}">'
            f'<div class="sub">rank {lane.rank} · {text(record.group or "no group")}</div>'
            f'<div class="name"><a href="#{anchor_lane(record.lane)}">{name(record.lane)}</a>'
            f"{' ⚠' if record.is_contaminated else ''}</div>"
            f'<div class="sub">{text(record.title)}</div>'
            f'<div class="big">{score}</div>'
            f'<div class="sub">quality {round_number(lane.perf_norm)} of base · speed {show_gain(lane)}'
            f" · {show_mb(record.size_bytes)}&nbsp;MB</div>{draw_badges(list_badges(lane, ranks))}</section>"
        )
    return f'<div class="tiles">{"".join(tiles)}</div>' if tiles else ""


def _draw_failures(ranking: Ranking) -> str:
    articles = "".join(map(draw_failure, list_unranked(ranking)))
    return section(articles, "Without a rank", "순위 없음") if articles else ""


def _draw_quality(ranking: Ranking, benchmarks: Sequence[str]) -> str:
    """Return recovery by benchmark as a chart, then each benchmark's numbers, open where they count."""
    chart = render_recovery(ranking, benchmarks)
    parts = [RECOVERY.format(chart=chart)] if chart else []
    for benchmark in benchmarks:
        table = tabulate_benchmark(ranking, benchmark)
        more = (tabulate_margins(ranking, benchmark), tabulate_details(ranking, benchmark))
        is_open = len(ranking.lanes) > 1 and benchmark in ranking.weights_used
        content = draw_note(table.note) + "".join(map(draw_grid, filter(None, (table, *more))))
        parts.append(
            f"<details{' open' if is_open else ''}><summary><b>{name(table.title)}</b> "
            f"{korean(table.korean)}</summary>{content}</details>"
        )
    return section("".join(parts), "Quality by benchmark", "벤치마크별 품질") if parts else ""


def _draw_notes(ranking: Ranking, quality_weight: float, confidence: float) -> str:
    formula, terms = explain_formula(ranking, quality_weight)
    statistics = explain_statistics(ranking, confidence)
    notes = [
        terms,
        *([statistics] if statistics else []),
        FRONT_TERM,
        *collect_remarks(ranking),
        *ranking.rules,
    ]
    content = f'<code class="formula">{text(formula)}</code>{listing(notes)}'
    guide = listing(explain_in_korean(ranking, quality_weight, confidence))
    content += f'<details lang="ko" open><summary><b>읽는 법</b></summary>{guide}</details>'
    return section(content, "How to read it", "읽는 법")
