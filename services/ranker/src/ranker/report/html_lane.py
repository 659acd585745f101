"""The page's part for each lane: stages, quality, flips against the baseline, speed, kernels and items.

A link to `#lane-…` shows it in the place of the ranking, on the screen as on paper: CSS alone, no script.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from urllib.parse import quote

from lanekit.results.collect import ITEMS_NAME
from lanekit.results.ranking import RankedLane, Ranking
from ranker.report.formats import (
    NO_REASON,
    clean_log,
    map_ranks,
    round_number,
    show_counts,
    show_gain,
    show_interval,
    show_lane,
    show_mb,
    show_rank,
    show_seconds,
)
from ranker.report.html_parts import (
    anchor_lane,
    draw_badge,
    draw_badges,
    draw_grid,
    draw_note,
    korean,
    mark_code,
    name,
    text,
    title,
)
from ranker.report.table import Table
from ranker.report.tables_bound import tabulate_lane_bounds
from ranker.report.tables_lane import tabulate_kernels, tabulate_lane_forms, tabulate_lane_quality
from ranker.report.tables_ranking import judge_status, list_badges

LOG_LINES = 60
NAMED_ITEMS = 40  # of a benchmark in one direction; compare_lanes.py shows all
RANKING_ANCHOR = "ranking"
FLIPS_NOTE = (
    "Items whose value differs from the baseline's, by id, at most {named} each way; all of them, and what "
    "both models answered, are in the file below."
)
ITEMS_NOTE = (
    "The first link works in the folder of results, the second in the ranking's artifact and in its run's "
    "folder. From a console, a message, the folder unranked or the copy at the bucket's top neither does: "
    "there is no such file beside the page (scripts/fetch.py brings it)."
)


def draw_lanes(ranking: Ranking, benchmarks: Sequence[str]) -> str:
    """Return every lane's part, in the ranking's order."""
    return "".join(draw_lane(ranking, position, benchmarks) for position in range(len(ranking.lanes)))


def draw_lane(ranking: Ranking, position: int, benchmarks: Sequence[str]) -> str:
    """Return one lane's part."""
    lane = ranking.lanes[position]
    record, metrics = lane.record, {n: r.metric for n, r in lane.record.benchmarks.items()}
    badges = draw_badges([judge_status(lane), *list_badges(lane, map_ranks(ranking))])
    parts = [
        f'<h2>{mark_code(show_lane(record))}</h2><p class="lead">{text(record.title)}</p>{badges}',
        draw_failure(lane) if record.status != "ok" else "",
        _draw_facts(lane),
        _draw_stages(lane),
        _draw_table(tabulate_lane_quality(ranking, lane, benchmarks)),
        _draw_flips(lane, metrics),
        _draw_table(tabulate_lane_forms(lane)),
        _draw_table(tabulate_lane_bounds(lane)),
        _draw_table(tabulate_kernels(lane)),
        _draw_items(ranking, lane),
    ]
    return (
        f'<section class="long lane-page" id="{anchor_lane(record.lane)}">{_draw_ways(ranking, position)}'
        f"{''.join(parts)}</section>"
    )


def draw_failure(lane: RankedLane) -> str:
    """Return why a lane has no rank, with the end of its log."""
    record = lane.record
    log = clean_log(record.log_tail, LOG_LINES)
    shown = "\n".join(log)
    details = f"<details><summary>the log's last lines</summary><pre>{text(shown)}</pre></details>"
    return (
        f"<article>{mark_code(show_lane(record))} {draw_badge(judge_status(lane))}"
        f'<div class="sub">{text(record.title)}</div>'
        f'<div class="reason">{text(record.reason or NO_REASON)}</div>{details if log else ""}</article>'
    )


def _draw_ways(ranking: Ranking, position: int) -> str:
    lanes, ways = ranking.lanes, [f'<a href="#{RANKING_ANCHOR}">← ranking {korean("순위표")}</a>']
    for place, words in ((position - 1, "‹ {}"), (position + 1, "{} ›")):
        if 0 <= place < len(lanes):
            other = lanes[place].record.lane
            ways.append(f'<a href="#{anchor_lane(other)}">{words.format(name(other))}</a>')
    return f"<nav>{''.join(ways)}</nav>"


def _draw_table(table: Table | None) -> str:
    if table is None:
        return ""
    return title(table.title, table.korean, level=3) + draw_note(table.note) + draw_grid(table)


def _draw_facts(lane: RankedLane) -> str:
    record = lane.record
    quality = show_interval(lane.perf_norm_interval)
    facts = {
        ("rank", "순위"): show_rank(lane),
        ("group", "그룹"): record.group or "no group",
        ("score", "점수"): f"{round_number(lane.score)} {show_interval(lane.score_interval)}",
        ("Perf/base", "기준 대비 품질"): f"{round_number(lane.perf_norm)} {quality}",
        ("speed gain", "속도 향상"): f"{show_gain(lane)} {show_interval(lane.speed_norm_interval, 1, 100)}",
        ("MB", "크기"): show_mb(record.size_bytes),
        ("one speed with", "같은 형상"): ", ".join(lane.pooled_with),
        ("needs engine arguments", "엔진 인자"): str(record.engine),
        ("items in its text", "오염 문항"): _show_contamination(record.contamination),
        ("not as asked", "비고"): "; ".join(record.notes),
        ("model", "모델"): record.model,
        ("evaluation", "평가"): record.evaluation,
        ("judgement", "심사"): record.judgement,
        ("timing", "측정"): record.timing,
    }
    pairs = "".join(
        f"<div><dt>{words} {korean(label)}</dt><dd>{name(value.strip())}</dd></div>"
        for (words, label), value in facts.items()
        if value
    )
    return f'<dl class="facts">{pairs}</dl>'


def _show_contamination(counts: dict[str, int] | None) -> str:
    return "not known" if counts is None else show_counts({n: c for n, c in counts.items() if c}) or "none"


def _draw_stages(lane: RankedLane) -> str:
    """Return the lane's own stages with all parameters, then the seconds of what else ran for it."""
    record, rows = lane.record, []
    own = {stage.name for stage in record.recipe}
    for number, stage in enumerate(record.recipe):
        seconds = record.stage_seconds.get(stage.name)
        place = record.stages[number] if number < len(record.stages) else ""
        facts = [f"{show_seconds(seconds)} s" if seconds is not None else "", place]
        shown = "".join(
            f"<code>{name(key)}: {name(_show_value(value))}</code> "
            for key, value in stage.parameters.items()
        )
        rows.append(
            f'<li><b>{text(stage.name)}</b> <span class="sub">{name(" · ".join(filter(None, facts)))}</span>'
            f'<div class="params">{shown}</div></li>'
        )
    if not rows:
        rows = [f"<li>{name(place)}</li>" for place in record.stages]
    others = {stage: s for stage, s in record.stage_seconds.items() if stage not in own}
    times = " · ".join(f"{stage} {show_seconds(seconds)} s" for stage, seconds in others.items())
    total = show_seconds(math.fsum(record.stage_seconds.values()))
    spent = draw_note(f"{'Beside them: ' if own else ''}{times}; {total} s in all.") if times else ""
    if not rows and not spent:
        return ""
    listed = f'<ol class="stages">{"".join(rows)}</ol>' if rows else ""
    return f"{title('Stages', '단계와 매개변수', level=3)}{listed}{spent}"


def _show_value(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _draw_flips(lane: RankedLane, metrics: dict[str, str]) -> str:
    rows = []
    for benchmark, found in lane.benchmark_statistics.items():
        if found.p_value is None:
            continue
        is_right = metrics.get(benchmark) == "accuracy"
        lost = ("right → wrong", "정답 → 오답") if is_right else ("worse", "하락")
        gained = ("wrong → right", "오답 → 정답") if is_right else ("better", "상승")
        rows.append(
            f"<h4>{name(benchmark)}</h4>"
            f"{_draw_ids(*lost, 'bad', found.n_worse, found.worse_items)}"
            f"{_draw_ids(*gained, 'good', found.n_better, found.better_items)}"
        )
    if not rows:
        return ""
    note = draw_note(FLIPS_NOTE.format(named=NAMED_ITEMS))
    head = title("Flips against the baseline", "기준 모델과 달라진 문항", level=3)
    return f"{head}{note}{''.join(rows)}"


def _draw_ids(words: str, label: str, tone: str, count: int, items: Sequence[str]) -> str:
    """Return how many items went one way, their ids folded in."""
    head = f'<span class="badge {tone}">{words} {korean(label)}</span> {count}'
    if not items:
        return f'<div class="flips">{head}</div>'
    ids = " ".join(f"<code>{name(item)}</code>" for item in items[:NAMED_ITEMS])
    more = f" … and {len(items) - NAMED_ITEMS} more" if len(items) > NAMED_ITEMS else ""
    return f'<details class="flips"><summary>{head}</summary><p class="ids">{ids}{more}</p></details>'


def _draw_items(ranking: Ranking, lane: RankedLane) -> str:
    if not lane.has_items:
        return ""
    base, mine = ranking.lanes[0].record.lane, lane.record.lane
    path = f"{quote(mine)}/{ITEMS_NAME}"
    links = "".join(
        f'<a href="./{folder}{path}">{name(folder + mine)}/{ITEMS_NAME}</a>' for folder in ("", "lanes/")
    )
    command = f"<code>python scripts/compare_lanes.py {name(base)} {name(mine)}</code>"
    shown = f'<p class="sub">Item by item against the baseline: {command}</p>' if mine != base else ""
    head = title("Items", "문항", level=3)
    return f'{head}<p class="files">{links}</p>{shown}{draw_note(ITEMS_NOTE)}'
