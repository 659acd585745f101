"""The ranking as one self-contained page, summary.html, for people. Deterministic text."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files
from string import Template

from lanekit.results.schema import RankedLane, Ranking
from ranker.report.formats import (
    EMPTY,
    NO_REASON,
    clean_log,
    compute_spread,
    join_ranks,
    list_scored,
    list_unranked,
    map_ranks,
    round_number,
)
from ranker.report.html_parts import (
    KOREAN_METRICS,
    head,
    korean,
    lane_name,
    legend,
    listing,
    number,
    row,
    section,
    show_gain,
    show_mb,
    span,
    table,
    text,
    title,
)
from ranker.report.html_quality import draw_quality
from ranker.report.html_speed import draw_places, draw_speed, draw_times
from ranker.report.notes import FRONT_TERM, collect_remarks, explain_formula, explain_statistics, split_notes
from ranker.report.plots import choose_colours, describe_place, render_charts

N_BEST = 3
LOG_LINES = 60
HEADS = ("rank", "lane", "group", "score", "Perf", "Perf/base", "ms/token", "speed gain", "MB")

CHARTS = {
    "bars": (
        "Score by lane",
        "레인별 점수",
        "Whiskers are intervals; a line at the right joins scores that cannot be told apart.",
    ),
    "scatter": (
        "Quality, speed and size",
        "품질, 속도, 크기",
        "Outlined: on the Pareto front of all three. The line joins the best in quality and speed alone. "
        "A point's area grows with the model's size; a grey line is the interval of its quality.",
    ),
}


def render_html(
    ranking: Ranking, benchmarks: Sequence[str], quality_weight: float, confidence: float = 0.95
) -> str:
    """Return the page; `confidence` is that of the ranking's intervals."""
    sections = [
        _draw_warnings(ranking),
        _draw_best(ranking),
        _draw_charts(ranking),
        _draw_table(ranking, benchmarks),
        _draw_failures(ranking),
        draw_quality(ranking, benchmarks),
        draw_speed(ranking),
        draw_places(ranking),
        draw_times(ranking),
        _draw_notes(ranking, quality_weight, confidence),
    ]
    n_scored, n_failed = len(list_scored(ranking)), len(list_unranked(ranking))
    lead = f"{n_scored} lanes ranked, {n_failed} without a rank. Speed: {describe_place(ranking)}."
    return Template(_read("page.html")).substitute(
        title=text(f"{ranking.experiment}: ranking" if ranking.experiment else "Ranking"),
        style=_read("page.css"),
        lead=text(lead),
        content="\n".join(section for section in sections if section),
    )


def _read(file_name: str) -> str:
    return files("ranker.report").joinpath(file_name).read_text(encoding="utf-8")


def _draw_warnings(ranking: Ranking) -> str:
    warnings, _ = split_notes(ranking)
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
        gain, size = show_gain(lane), show_mb(record.size_bytes)
        score = (
            f"{round_number(lane.score)} <small>score {korean('점수')} {span(lane.score_interval)}</small>"
        )
        tiles.append(
            f'<section class="tile" style="--hue: {colours[record.group]}">'
            f'<div class="sub">rank {lane.rank} · {text(record.group or "no group")}</div>'
            f'<div class="name">{text(record.lane)}{" ⚠" if record.is_contaminated else ""}</div>'
            f'<div class="sub">{text(record.title)}</div>'
            f'<div class="big">{score}</div>'
            f'<div class="sub">quality {round_number(lane.perf_norm)} of base · speed {text(gain)}'
            f" · {size}&nbsp;MB</div>{_draw_badges(lane, ranks)}</section>"
        )
    return f'<div class="tiles">{"".join(tiles)}</div>' if tiles else ""


def _draw_badges(lane: RankedLane, ranks: dict[str, int | None]) -> str:
    """Return what is to be known of a lane beside its numbers."""
    badges = []
    if lane.record.is_contaminated:
        counts = lane.record.contamination or {}
        where = ", ".join(f"{n}: {count}" for n, count in counts.items() if count)
        badges.append(f'<span class="badge bad" title="{text(where)}">⚠ contaminated {korean("오염")}</span>')
    if lane.on_front:
        badges.append(f'<span class="badge good">◆ front {korean("파레토")}</span>')
    tied = sorted(rank for n in lane.tied_with if (rank := ranks.get(n)) is not None)
    if tied:
        badges.append(f'<span class="badge">≈ {join_ranks(tied)} {korean("구별 안 됨")}</span>')
    return f'<div class="badges">{"".join(badges)}</div>' if badges else ""


def _draw_charts(ranking: Ranking) -> str:
    charts, colours = render_charts(ranking), choose_colours(ranking)
    groups = [g for g in colours if any(lane.record.group == g for lane in list_scored(ranking))]
    shown = legend((group or "no group", colours[group]) for group in groups)
    return '<div class="charts">' + "".join(
        f"<section>{title(*CHARTS[key][:2], f'{key}-caption')}{svg}{shown}"
        f'<p class="sub">{CHARTS[key][2]}</p></section>'
        for key, svg in charts.items()
    ) + "</div>"  # fmt: skip


def _draw_table(ranking: Ranking, benchmarks: Sequence[str]) -> str:
    metrics = {n: r.metric for lane in ranking.lanes for n, r in lane.record.benchmarks.items()}
    heads = [head(word) for word in HEADS]
    heads += [head(word, KOREAN_METRICS.get(metrics.get(word, ""), "")) for word in benchmarks]
    heads.append(head("status"))
    colours, ranks = choose_colours(ranking), map_ranks(ranking)
    rows = [_draw_row(lane, benchmarks, colours, ranks, lane is ranking.lanes[0]) for lane in ranking.lanes]
    return section(table(heads, rows), "Ranking", "순위표")


def _draw_row(
    lane: RankedLane,
    benchmarks: Sequence[str],
    colours: dict[str, str],
    ranks: dict[str, int | None],
    is_base: bool,
) -> str:
    record, results = lane.record, lane.record.benchmarks
    best = lane.rank is not None and lane.rank <= N_BEST
    group = f'<span class="dot" style="--hue: {colours[record.group]}"></span>{text(record.group)}'
    where = "cpu" if record.speed and record.speed.is_cpu else ""
    gain = show_gain(lane, "")
    status = f'<span class="status{"" if record.status == "ok" else " not-ok"}">{record.status}</span>'
    cells = [
        f"<td>{lane.rank if lane.rank is not None else EMPTY}</td>",
        f'<th scope="row" class="lane">{lane_name(record)}<div class="sub">{text(record.title)}</div></th>',
        f'<td class="group">{group}</td>',
        number(round_number(lane.score), span(lane.score_interval), best=best),
        number(round_number(lane.perf)),
        number(round_number(lane.perf_norm), span(lane.perf_norm_interval)),
        _draw_seconds(lane),
        number(gain, where if gain != EMPTY else ""),
        number(show_mb(record.size_bytes)),
        *(number(round_number(results[n].value if n in results else None)) for n in benchmarks),
        f"<td>{status}{_draw_badges(lane, ranks)}</td>",
    ]
    return row(cells, is_base=is_base)


def _draw_seconds(lane: RankedLane) -> str:
    """Return the cell with milliseconds per token, half the repeats' spread, and the device."""
    speed = lane.record.speed
    if speed is None:
        return number(EMPTY)
    spread = f"{50 * compute_spread(speed.s_per_token_all):.0f} %"
    where = "cpu" if speed.is_cpu else speed.device
    return number(f"{1000 * speed.s_per_token:.2f} ± {spread}", where)


def _draw_failures(ranking: Ranking) -> str:
    articles = []
    for lane in list_unranked(ranking):
        record = lane.record
        log = clean_log(record.log_tail, LOG_LINES)
        shown = "\n".join(log)
        details = f"<details><summary>the log's last lines</summary><pre>{text(shown)}</pre></details>"
        articles.append(
            f'<article>{lane_name(record)} <span class="status not-ok">{record.status}</span>'
            f'<div class="sub">{text(record.title)}</div>'
            f'<div class="reason">{text(record.reason or NO_REASON)}</div>{details if log else ""}</article>'
        )
    return section("".join(articles), "Without a rank", "순위 없음") if articles else ""


def _draw_notes(ranking: Ranking, quality_weight: float, confidence: float) -> str:
    formula, terms = explain_formula(ranking, quality_weight)
    _, rules = split_notes(ranking)
    statistics = explain_statistics(ranking, confidence)
    notes = [terms, *([statistics] if statistics else []), FRONT_TERM, *collect_remarks(ranking), *rules]
    content = f'<code class="formula">{text(formula)}</code>{listing(notes)}'
    return section(content, "How to read it", "읽는 법")
