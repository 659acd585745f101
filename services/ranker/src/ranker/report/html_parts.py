"""Pieces that the page's sections are made of: escaped text, cells, titles with their Korean, legends."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from html import escape

from lanekit.results.schema import Interval, LaneRecord, RankedLane
from ranker.report.formats import CONTROL, EMPTY, show_interval, show_percent

KOREAN_HEADS = {
    "rank": "순위", "lane": "레인", "group": "그룹", "score": "점수", "Perf": "품질",
    "Perf/base": "기준 대비 품질", "ms/token": "토큰당 시간", "speed gain": "속도 향상", "MB": "크기",
    "status": "상태", "value": "값", "recovery": "회복률", "Δ": "차이", "better / worse": "나음 / 못함",
    "p": "유의확률", "Holm": "보정 후", "items": "문항", "exact match": "완전 일치", "cut": "잘린 문항",
    "gold lost": "정답 유실", "not told apart": "구별 안 됨",
}  # fmt: skip
KOREAN_METRICS = {"accuracy": "정확도", "f1": "F1", "judge": "심사 점수"}
TEXT_COLUMNS = ("rank", "lane", "group", "status", "kernels", "not told apart")


def text(value: str) -> str:
    """Return foreign text for an element or a quoted attribute."""
    return escape(CONTROL.sub("", value))


def name(value: str) -> str:
    """Return a name that may be broken after its underscores."""
    return text(value).replace("_", "_<wbr>")


def korean(label: str) -> str:
    """Return a Korean label."""
    return f'<span class="ko" lang="ko">{label}</span>'


def title(english: str, label: str, anchor: str = "") -> str:
    """Return a section's title, with the id `anchor` if it has one."""
    attribute = f' id="{anchor}"' if anchor else ""
    return f'<h2{attribute}>{english}<span lang="ko">{label}</span></h2>'


def section(content: str, english: str, label: str, kind: str = "long") -> str:
    """Return a section with its title."""
    return f'<section class="{kind}">{title(english, label)}{content}</section>'


def head(word: str, label: str | None = None, *, is_text: bool = False) -> str:
    """Return a column's head; its Korean is looked up where none is given."""
    kind = "" if is_text or word in TEXT_COLUMNS else ' class="num"'
    label = KOREAN_HEADS.get(word, "") if label is None else label
    return f'<th scope="col"{kind}>{name(word)}{korean(label) if label else ""}</th>'


def lane_name(record: LaneRecord, *, is_broken: bool = True) -> str:
    """Return a lane's name, marked where it is contaminated; `is_broken`: lines may break in it."""
    mark = ' <span title="contaminated">⚠</span>' if record.is_contaminated else ""
    return f"<code>{name(record.lane) if is_broken else text(record.lane)}</code>{mark}"


def lane_cell(lane: RankedLane) -> str:
    """Return a row's head."""
    return f'<th scope="row">{lane_name(lane.record)}</th>'


def number(value: str, below: str = "", *, best: bool = False) -> str:
    """Return a cell with a number and, smaller, what stands below it."""
    small = f"<small>{text(below)}</small>" if below else ""
    return f'<td class="num{" best" if best else ""}">{text(value)}{small}</td>'


def span(interval: Interval | None, digits: int = 3, scale: float = 1.0) -> str:
    """Return an interval that is not broken."""
    return show_interval(interval, digits, scale).replace(" ", "\u00a0")


def table(heads: Iterable[str], rows: Iterable[str]) -> str:
    """Return a table that scrolls by itself."""
    return (
        f'<div class="scroll"><table><thead><tr>{"".join(heads)}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def row(cells: Iterable[str], *, is_base: bool = False) -> str:
    """Return a table's row."""
    kind = ' class="base"' if is_base else ""
    return f"<tr{kind}>{''.join(cells)}</tr>"


def listing(items: Sequence[str]) -> str:
    """Return a list; `words` in backquotes are code."""
    marked = (re.sub(r"`([^`]+)`", r"<code>\1</code>", text(item)) for item in items)
    return "<ul>" + "".join(f"<li>{item}</li>" for item in marked) + "</ul>"


def legend(entries: Iterable[tuple[str, str]]) -> str:
    """Return names with their colours."""
    items = (f'<span><span class="dot" style="--hue: {hue}"></span>{text(n)}</span>' for n, hue in entries)
    return f'<div class="legend">{"".join(items)}</div>'


def show_mb(size_bytes: int | None) -> str:
    """Return a size in MB, without the unit."""
    if size_bytes is None:
        return EMPTY
    return f"{size_bytes / 1e6:,.2f}" if size_bytes < 100e6 else f"{size_bytes / 1e6:,.0f}"


def show_gain(lane: RankedLane, where: str | None = None) -> str:
    """Return e.g. "+4.1 % (cpu)"; `where` replaces the device's mark."""
    if lane.speed_norm is None:
        return EMPTY
    if where is None:
        where = " (cpu)" if lane.record.speed and lane.record.speed.is_cpu else ""
    return show_percent(lane.speed_norm, signed=True) + where
