"""The ranking as one self-contained page, summary.html, for people. Deterministic text."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from html import escape

from lanekit.results import LaneRecord, RankedLane, Ranking
from lanekit.scoring import TIE_RULE
from lanekit.specs import STAGE_TYPES
from ranker.page import PAGE, STYLE
from ranker.plots import PALETTE, choose_colours, describe_place, list_scored, render_charts
from ranker.tables import (
    CONTROL,
    EMPTY,
    NO_REASON,
    clean_log,
    collect_remarks,
    compute_spread,
    explain_formula,
    list_unranked,
    round_number,
    warn_of_cpu,
)

N_BEST = 3
LOG_LINES = 60
KOREAN_HEADS = {
    "rank": "순위", "lane": "레인", "group": "그룹", "score": "점수", "Perf": "품질",
    "Perf/base": "기준 대비 품질", "ms/token": "토큰당 시간", "speed gain": "속도 향상", "MB": "크기",
    "status": "상태",
}  # fmt: skip
KOREAN_METRICS = {"accuracy": "정확도", "f1": "F1", "judge": "심사 점수"}
TEXT_COLUMNS = ("rank", "lane", "group", "status")


def render_html(ranking: Ranking, benchmarks: Sequence[str], quality_weight: float) -> str:
    """Return the page."""
    sections = [
        _draw_warnings(ranking),
        _draw_best(ranking),
        _draw_charts(ranking),
        _draw_table(ranking, benchmarks),
        _draw_failures(ranking),
        _draw_times(ranking),
        _draw_notes(ranking, quality_weight),
    ]
    n_scored, n_failed = len(list_scored(ranking)), len(list_unranked(ranking))
    lead = f"{n_scored} lanes ranked, {n_failed} without a rank. Speed: {describe_place(ranking)}."
    return PAGE.substitute(
        title=_text(f"{ranking.experiment}: ranking" if ranking.experiment else "Ranking"),
        style=STYLE,
        lead=_text(lead),
        content="\n".join(section for section in sections if section),
    )


def _draw_warnings(ranking: Ranking) -> str:
    warnings = [*warn_of_cpu(ranking), *(note for note in ranking.notes if note != TIE_RULE)]
    if not warnings:
        return ""
    return f'<section class="warn" role="note">{_title("Read this first", "주의")}{_list(warnings)}</section>'


def _draw_best(ranking: Ranking) -> str:
    colours = choose_colours(ranking)
    tiles = []
    for lane in list_scored(ranking)[:N_BEST]:
        record = lane.record
        gain, size = _format_gain(lane), _format_mb(record.size_bytes)
        tiles.append(
            f'<section class="tile" style="--hue: {colours[record.group]}">'
            f'<div class="sub">rank {lane.rank} · {_text(record.group or "no group")}</div>'
            f'<div class="name">{_text(record.lane)}</div><div class="sub">{_text(record.title)}</div>'
            f'<div class="big">{round_number(lane.score)} <small>score {_korean("점수")}</small></div>'
            f'<div class="sub">quality {round_number(lane.perf_norm)} of base · speed {_text(gain)}'
            f" · {size}&nbsp;MB</div></section>"
        )
    return f'<div class="tiles">{"".join(tiles)}</div>' if tiles else ""


def _draw_charts(ranking: Ranking) -> str:
    charts, colours = render_charts(ranking), choose_colours(ranking)
    groups = [g for g in colours if any(lane.record.group == g for lane in list_scored(ranking))]
    legend = _legend((group or "no group", colours[group]) for group in groups)
    heads = {"bars": ("Score by lane", "레인별 점수"), "scatter": ("Quality against speed", "품질과 속도")}
    return '<div class="charts">' + "".join(
        f"<section>{_title(*heads[name], f'{name}-caption')}{svg}{legend}</section>"
        for name, svg in charts.items()
    ) + "</div>"  # fmt: skip


def _draw_table(ranking: Ranking, benchmarks: Sequence[str]) -> str:
    metrics = {n: r.metric for lane in ranking.lanes for n, r in lane.record.benchmarks.items()}
    names = ["rank", "lane", "group", "score", "Perf", "Perf/base", "ms/token", "speed gain", "MB"]
    head = "".join(_head(name, KOREAN_HEADS[name]) for name in names)
    head += "".join(_head(name, KOREAN_METRICS.get(metrics.get(name, ""), "")) for name in benchmarks)
    head += _head("status", KOREAN_HEADS["status"])
    colours = choose_colours(ranking)
    base, *others = ranking.lanes
    rows = _draw_row(base, benchmarks, colours, ' class="base"')
    rows += "".join(_draw_row(lane, benchmarks, colours) for lane in others)
    return (
        f'<section class="long">{_title("Ranking", "순위표")}<div class="scroll"><table>'
        f"<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div></section>"
    )


def _draw_row(
    lane: RankedLane, benchmarks: Sequence[str], colours: dict[str, str], attributes: str = ""
) -> str:
    record, results = lane.record, lane.record.benchmarks
    best = lane.rank is not None and lane.rank <= N_BEST
    group = f'<span class="dot" style="--hue: {colours[record.group]}"></span>{_text(record.group)}'
    where = "cpu" if record.speed and record.speed.is_cpu else ""
    gain = _format_gain(lane, "")
    cells = [
        f"<td>{lane.rank if lane.rank is not None else EMPTY}</td>",
        f'<th scope="row" class="lane"><code>{_name(record.lane)}</code>'
        f'<div class="sub">{_text(record.title)}</div></th>',
        f'<td class="group">{group}</td>',
        _number(round_number(lane.score), best=best),
        _number(round_number(lane.perf)),
        _number(round_number(lane.perf_norm)),
        _format_seconds(record),
        _number(gain, where if gain != EMPTY else ""),
        _number(_format_mb(record.size_bytes)),
        *(_number(round_number(results[n].value if n in results else None)) for n in benchmarks),
        f'<td><span class="status{"" if record.status == "ok" else " not-ok"}">{record.status}</span></td>',
    ]
    return f"<tr{attributes}>{''.join(cells)}</tr>"


def _draw_failures(ranking: Ranking) -> str:
    articles = []
    for lane in list_unranked(ranking):
        record = lane.record
        log = clean_log(record.log_tail, LOG_LINES)
        shown = "\n".join(log)
        details = f"<details><summary>the log's last lines</summary><pre>{_text(shown)}</pre></details>"
        articles.append(
            f'<article><code>{_text(record.lane)}</code> <span class="status not-ok">{record.status}</span>'
            f'<div class="sub">{_text(record.title)}</div>'
            f'<div class="reason">{_text(record.reason or NO_REASON)}</div>{details if log else ""}</article>'
        )
    if not articles:
        return ""
    return f'<section class="long">{_title("Without a rank", "순위 없음")}{"".join(articles)}</section>'


def _draw_times(ranking: Ranking) -> str:
    records = [lane.record for lane in ranking.lanes if lane.record.stage_seconds]
    if not records:
        return ""
    found = {stage for record in records for stage in record.stage_seconds}
    stages = [s for s in STAGE_TYPES if s in found] + sorted(found - set(STAGE_TYPES))
    hues = {stage: PALETTE[index % len(PALETTE)] for index, stage in enumerate(stages)}
    longest = max(sum(record.stage_seconds.values()) for record in records) or 1.0
    bars = "".join(_draw_time_bar(record, hues, longest) for record in records)
    head = _head("lane", "레인", text=True) + "".join(_head(stage, "") for stage in stages)
    rows = "".join(
        f'<tr><th scope="row"><code>{_text(record.lane)}</code></th>'
        + "".join(_number(_format_time(record.stage_seconds.get(stage))) for stage in stages)
        + "</tr>"
        for record in records
    )
    return (
        f'<section class="long">{_title("Time by stage", "단계별 시간")}'
        '<p class="sub">A stage that lanes share ran once and counts in each of them.</p>'
        f'<div class="scroll"><table class="times"><tbody>{bars}</tbody></table></div>{_legend(hues.items())}'
        f'<details class="numbers"><summary>in seconds</summary><div class="scroll"><table>'
        f"<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div></details></section>"
    )


def _draw_time_bar(record: LaneRecord, hues: dict[str, str], longest: float) -> str:
    parts = [(s, record.stage_seconds[s], hues[s]) for s in hues if s in record.stage_seconds]
    bar = "".join(
        f'<i style="--hue: {hue}; width: {100 * seconds / longest:.2f}%" '
        f'title="{_text(stage)} {_format_time(seconds)} s"></i>'
        for stage, seconds, hue in parts
    )
    total = _format_time(sum(record.stage_seconds.values()))
    return (
        f'<tr><th scope="row"><code>{_text(record.lane)}</code></th><td class="track">'
        f'<div class="bar">{bar}</div></td><td class="num">{total} s</td></tr>'
    )


def _draw_notes(ranking: Ranking, quality_weight: float) -> str:
    formula, terms = explain_formula(ranking, quality_weight)
    notes = [terms, *collect_remarks(ranking), TIE_RULE]
    return (
        f'<section class="long">{_title("How to read it", "읽는 법")}'
        f'<code class="formula">{_text(formula)}</code>{_list(notes)}</section>'
    )


def _text(value: str) -> str:
    """Return foreign text for an element or a quoted attribute."""
    return escape(CONTROL.sub("", value))


def _name(value: str) -> str:
    """Return a name that may be broken after its underscores."""
    return _text(value).replace("_", "_<wbr>")


def _korean(label: str) -> str:
    return f'<span class="ko" lang="ko">{label}</span>'


def _title(english: str, korean: str, name: str = "") -> str:
    attribute = f' id="{name}"' if name else ""
    return f'<h2{attribute}>{english}<span lang="ko">{korean}</span></h2>'


def _head(name: str, korean: str, *, text: bool = False) -> str:
    kind = "" if text or name in TEXT_COLUMNS else ' class="num"'
    return f'<th scope="col"{kind}>{_name(name)}{_korean(korean) if korean else ""}</th>'


def _number(value: str, below: str = "", *, best: bool = False) -> str:
    small = f"<small>{_text(below)}</small>" if below else ""
    return f'<td class="num{" best" if best else ""}">{value}{small}</td>'


def _list(items: Iterable[str]) -> str:
    """Return a list; `words` in backquotes are code."""
    marked = (re.sub(r"`([^`]+)`", r"<code>\1</code>", _text(item)) for item in items)
    return "<ul>" + "".join(f"<li>{item}</li>" for item in marked) + "</ul>"


def _legend(entries: Iterable[tuple[str, str]]) -> str:
    items = (f'<span><span class="dot" style="--hue: {hue}"></span>{_text(n)}</span>' for n, hue in entries)
    return f'<div class="legend">{"".join(items)}</div>'


def _format_mb(size_bytes: int | None) -> str:
    if size_bytes is None:
        return EMPTY
    return f"{size_bytes / 1e6:,.2f}" if size_bytes < 100e6 else f"{size_bytes / 1e6:,.0f}"


def _format_time(seconds: float | None) -> str:
    if seconds is None:
        return EMPTY
    return f"{seconds:,.1f}" if seconds < 100 else f"{seconds:,.0f}"


def _format_seconds(record: LaneRecord) -> str:
    """Return the cell with milliseconds per token, half the repeats' spread, and the device."""
    if record.speed is None:
        return _number(EMPTY)
    spread = f"{50 * compute_spread(record.speed):.0f} %"
    where = "cpu" if record.speed.is_cpu else record.speed.device
    return _number(f"{1000 * record.speed.s_per_token:.2f} ± {spread}", where)


def _format_gain(lane: RankedLane, where: str | None = None) -> str:
    """Return e.g. "+4.1 % (cpu)"; `where` replaces the device's mark."""
    if lane.speed_norm is None:
        return EMPTY
    if where is None:
        where = " (cpu)" if lane.record.speed and lane.record.speed.is_cpu else ""
    return f"{100 * lane.speed_norm:+.1f} %{where}".replace("-", "−")
