"""The page's charts of scores, and of quality against speed: laid out by the page, readable at any width."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

from lanekit.results.ranking import Interval, RankedLane, Ranking
from ranker.report.axis import Axis, fit_axis
from ranker.report.formats import (
    list_scored,
    map_ranks,
    round_number,
    show_gain,
    show_interval,
    show_mb,
)
from ranker.report.html_parts import anchor_lane, draw_badges, korean, legend, name, text, title
from ranker.report.plots import choose_colours, describe_place
from ranker.report.points import (
    BASE_POINT,
    are_near,
    find_plane_front,
    find_tied_runs,
    is_off,
    label_points,
    locate,
    measure_spans,
    stack_runs,
)
from ranker.report.tables_ranking import list_badges

SMALLEST_PX, SPAN_PX = 10.0, 10.0  # a point's width: from no bytes to the largest model's
NOTHING = '<p class="sub">no lane could be scored</p>'
SCORES_NOTE = (
    "Whiskers are intervals; a line at the right joins scores that cannot be told apart.",
    "가는 선은 신뢰구간, 오른쪽 세로선은 서로 구별할 수 없는 점수입니다.",
)
SCATTER_NOTE = (
    "Numbers are ranks; point at one for the name, follow it to the lane. Outlined: on the Pareto front of "
    "quality, speed and size. The line joins the best in quality and speed alone. A point grows with the "
    "model's size; grey lines are the intervals of quality and of speed.",
    "숫자는 순위입니다. 점을 가리키면 이름이 보이고, 누르면 레인으로 갑니다. 테두리: 품질·속도·크기의 파레토 "
    "프런트. 선: 품질과 속도만의 프런트. 점의 크기: 모델 크기. 회색 선: 신뢰구간.",
)


def draw_charts(ranking: Ranking) -> str:
    """Return both charts side by side, or one above the other where there is no room."""
    colours = choose_colours(ranking)
    groups = [g for g in colours if any(lane.record.group == g for lane in list_scored(ranking))]
    shown = legend((group or "no group", colours[group]) for group in groups)
    charts = (
        (title("Score by lane", "레인별 점수", "bars-caption"), draw_scores(ranking), SCORES_NOTE),
        (
            title("Quality against speed", "품질과 속도", "scatter-caption"),
            draw_scatter(ranking),
            SCATTER_NOTE,
        ),
    )
    return '<div class="charts">' + "".join(
        f'<section>{head}{chart}{shown}<p class="sub">{note}</p><p class="sub" lang="ko">{korean_note}</p>'
        "</section>"
        for head, chart, (note, korean_note) in charts
    ) + "</div>"  # fmt: skip


def draw_scores(ranking: Ranking) -> str:
    """Return the scores as bars, best first, with intervals, the baseline's as a line, and what is tied."""
    scored, colours = list_scored(ranking), choose_colours(ranking)
    if not scored:
        return NOTHING
    base = ranking.lanes[0].score
    ends = [lane.score_interval.high for lane in scored if lane.score_interval]
    axis = Axis(0.0, 1.04 * max(*ends, *(lane.score or 0.0 for lane in scored), base or 0.0, 0.1))
    line = "" if base is None else f'<i class="ref" style="left: {axis.place(base)}%"></i>'
    rows = []
    for row, lane in enumerate(scored, 1):
        whisker = _draw_span(axis, lane.score_interval)
        mark = " ⚠" if lane.record.is_contaminated else ""
        bar = f'<b style="--hue: {colours[lane.record.group]}; width: {axis.place(lane.score or 0.0)}%"></b>'
        rows.append(
            f'<a class="who" style="--row: {row}" href="#{anchor_lane(lane.record.lane)}">'
            f"{lane.rank}. {name(lane.record.lane)}{mark}</a>"
            f'<div class="track" style="--row: {row}">{bar}{line}{whisker}</div>'
            f'<span class="value" style="--row: {row}">{round_number(lane.score, 3)}</span>'
        )
    ties = "".join(
        f'<i class="tie" style="--first: {first + 1}; --last: {last + 1}; --column: {column}"></i>'
        for column, first, last in stack_runs(find_tied_runs(scored))
    )
    if base is not None:
        below = f'<span style="left: {axis.place(base)}%">baseline {round_number(base, 3)}</span>'
        rows.append(f'<div class="track below" style="--row: {len(scored) + 1}">{below}</div>')
    return f'<div class="scores" role="group" aria-labelledby="bars-caption">{"".join(rows)}{ties}</div>'


def _draw_span(axis: Axis, interval: Interval | None) -> str:
    if interval is None:
        return ""
    low, high = axis.place(interval.low), axis.place(interval.high)
    return f'<i class="span" style="left: {low}%; width: {high - low:.2f}%"></i>'


def draw_scatter(ranking: Ranking) -> str:
    """Return quality against speed: every lane a link with its name and numbers, the baseline at (0, 1)."""
    scored, colours = list_scored(ranking), choose_colours(ranking)
    if not scored:
        return NOTHING
    points = [BASE_POINT, *map(locate, scored)]
    across = fit_axis([x for x, _ in points], list(_list_ends(x.speed_norm_interval for x in scored)))
    up = fit_axis([y for _, y in points], list(_list_ends(x.perf_norm_interval for x in scored)))
    lines = [*_draw_grid(across, up), *_draw_front(scored, across, up)]
    for lane in scored:
        x, y = locate(lane)
        if lane.perf_norm_interval:
            low, high = lane.perf_norm_interval.low, lane.perf_norm_interval.high
            lines.append(_draw_line("span", across, up, (x, low), (x, high)))
        if lane.speed_norm_interval and not is_off(lane):
            low, high = lane.speed_norm_interval.low, lane.speed_norm_interval.high
            lines.append(_draw_line("span", across, up, (low, y), (high, y)))
    for (x, y), label in label_points(scored):
        end = ' text-anchor="end" dx="-10"' if across.place(x) > 85 else ' dx="10"'
        lines.append(f'<text x="{across.place(x)}%" y="{_drop(up, y)}%"{end} dy="-8">{label}</text>')
    largest = max((lane.record.size_bytes or 0 for lane in ranking.lanes), default=0) or 1
    ranks = map_ranks(ranking)
    spans = measure_spans(scored)
    links = [_draw_point(ranking.lanes[0], BASE_POINT, across, up, "base", "--size: 11px", ranks, [])]
    for lane in scored:
        size = SMALLEST_PX + SPAN_PX * (lane.record.size_bytes or 0) / largest
        style = f"--size: {size:.1f}px; --hue: {colours[lane.record.group]}"
        kind = " ".join(word for word, is_so in (("front", lane.on_front), ("off", is_off(lane))) if is_so)
        near = [x for x in scored if x is not lane and are_near(locate(x), locate(lane), spans)]
        links.append(_draw_point(lane, locate(lane), across, up, kind, style, ranks, near))
    place = text(describe_place(ranking))
    return (
        f'<div class="sub">↑ quality, Perf/Perf_base {korean("품질")}</div>'
        f'<div class="plot" role="group" aria-labelledby="scatter-caption"><svg aria-hidden="true">'
        f"{''.join(lines)}</svg>{''.join(links)}</div>"
        f'<div class="sub axis">speed gain, 1 − s_per_token/base ({place}) {korean("속도 향상")} →</div>'
    )


def _list_ends(intervals: Iterable[Interval | None]) -> Iterable[float]:
    for interval in intervals:
        if interval:
            yield from (interval.low, interval.high)


def _drop(up: Axis, value: float) -> float:
    """Return a value's place from the top, in percent."""
    return round(100 - up.place(value), 2)


def _draw_line(
    kind: str, across: Axis, up: Axis, start: tuple[float, float], end: tuple[float, float]
) -> str:
    (x1, y1), (x2, y2) = start, end
    return (
        f'<line class="{kind}" x1="{across.place(x1)}%" y1="{_drop(up, y1)}%" '
        f'x2="{across.place(x2)}%" y2="{_drop(up, y2)}%"/>'
    )


def _draw_grid(across: Axis, up: Axis) -> Iterable[str]:
    for x in across.list_ticks():
        yield _draw_line("ref" if x == 0 else "grid", across, up, (x, up.low), (x, up.high))
        label = f"{100 * x:+.3g}".replace("-", "−") if x else "0"
        place = f'text-anchor="middle" x="{across.place(x)}%" y="100%" dy="18"'
        yield f'<text class="tick" {place}>{label} %</text>'
    for y in up.list_ticks():
        yield _draw_line("ref" if y == 1 else "grid", across, up, (across.low, y), (across.high, y))
        yield f'<text class="tick" text-anchor="end" x="0" y="{_drop(up, y)}%" dx="-8" dy="4">{y:.4g}</text>'


def _draw_front(scored: list[RankedLane], across: Axis, up: Axis) -> Iterable[str]:
    for start, end in pairwise(find_plane_front(scored)):
        yield _draw_line("front", across, up, start, end)


def _draw_point(
    lane: RankedLane,
    point: tuple[float, float],
    across: Axis,
    up: Axis,
    kind: str,
    style: str,
    ranks: dict[str, int | None],
    near: list[RankedLane],
) -> str:
    """Return a link to the lane; its name and numbers stand in it, and show under the pointer."""
    record, x, y = lane.record, across.place(point[0]), up.place(point[1])
    sides = f"{'west' if x > 50 else 'east'} {'south' if y > 50 else 'north'}"
    rank = f"{lane.rank}. " if lane.rank is not None else ""
    facts = [
        f"score {round_number(lane.score)} {show_interval(lane.score_interval)}",
        f"quality {round_number(lane.perf_norm)} {show_interval(lane.perf_norm_interval)}",
        f"speed gain {show_gain(lane)} {show_interval(lane.speed_norm_interval, 1, 100)}",
        f"{show_mb(record.size_bytes)} MB",
        *(f"beside it: {x.rank}. {x.record.lane}" for x in near),
    ]
    said = "".join(f"<span>{text(fact.strip())}</span>" for fact in facts)
    return (
        f'<a class="{f"point {kind}".rstrip()}" href="#{anchor_lane(record.lane)}" '
        f'style="left: {x}%; bottom: {y}%; {style}"><span class="tip {sides}">'
        f"<b>{rank}{name(record.lane)}{' ⚠' if record.is_contaminated else ''}</b>"
        f"<span>{text(record.title)}</span>{said}{draw_badges(list_badges(lane, ranks))}</span></a>"
    )
