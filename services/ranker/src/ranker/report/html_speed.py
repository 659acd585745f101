"""The page's sections on where speed was measured, and on the lanes' time by stage."""

from __future__ import annotations

import math

from lanekit.results.ranking import Ranking
from lanekit.results.schema import LaneRecord
from ranker.report.canvas import PALETTE
from ranker.report.formats import EMPTY, show_lane, show_seconds
from ranker.report.html_parts import draw_grid, draw_note, korean, legend, mark_code, section, text
from ranker.report.tables_speed import list_stages, tabulate_times


def draw_places(ranking: Ranking) -> str:
    """Return what speed was measured on, each condition with its distinct values: clocks move meanwhile."""
    facts: dict[str, dict[str, None]] = {}
    for speed in (lane.record.speed for lane in ranking.lanes):
        if speed is None:
            continue
        found = {"device": speed.device, "engine": speed.engine, "form of the score": speed.form}
        found |= {f"gpu: {key}": value for key, value in speed.gpu.items()}
        if speed.bandwidth_bytes_per_s:
            found["memory bandwidth"] = f"{speed.bandwidth_bytes_per_s / 1e9:,.0f} GB/s"
        found |= {key: str(value) for key, value in speed.engine_arguments.items()}
        found |= {f"version: {key}": value for key, value in sorted(speed.versions.items())}
        for key, value in found.items():
            facts.setdefault(key, {})[value] = None
    pairs = "".join(
        f"<div><dt>{text(key)}</dt><dd>{text(', '.join(values) or EMPTY)}</dd></div>"
        for key, values in facts.items()
    )
    shown = f'<dl class="facts">{pairs}</dl>'
    return section(shown, "Speed: where and how", "속도 측정 환경") if facts else ""


def draw_times(ranking: Ranking) -> str:
    """Return the lanes' stage times as bars, and as numbers."""
    table = tabulate_times(ranking)
    if table is None:
        return ""
    hues = {stage: PALETTE[index % len(PALETTE)] for index, stage in enumerate(list_stages(ranking))}
    records = [lane.record for lane in ranking.lanes if lane.record.stage_seconds]
    longest = max(math.fsum(record.stage_seconds.values()) for record in records) or 1.0
    bars = "".join(_draw_bar(record, hues, longest) for record in records)
    content = (
        f'{draw_note(table.note)}<div class="scroll"><table class="times"><tbody>{bars}</tbody></table></div>'
        f'{legend(hues.items())}<details class="numbers"><summary>as numbers {korean("숫자")}</summary>'
        f"{draw_grid(table)}</details>"
    )
    return section(content, table.title, table.korean)


def _draw_bar(record: LaneRecord, hues: dict[str, str], longest: float) -> str:
    parts = [(s, record.stage_seconds[s], hues[s]) for s in hues if s in record.stage_seconds]
    bar = "".join(
        f'<i style="--hue: {hue}; width: {100 * seconds / longest:.2f}%" '
        f'title="{text(stage)} {show_seconds(seconds)} s"></i>'
        for stage, seconds, hue in parts
    )
    total = show_seconds(math.fsum(record.stage_seconds.values()))
    return (
        f'<tr><th scope="row">{mark_code(show_lane(record))}</th><td class="track">'
        f'<div class="bar">{bar}</div></td><td class="num">{total} s</td></tr>'
    )
