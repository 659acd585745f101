"""Pieces that the page's sections are made of: escaped text, titles with their Korean, tables, legends."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from html import escape

from ranker.report.formats import CONTROL
from ranker.report.table import Badge, Cell, Head, Row, Table

CODE = re.compile(r"`([^`]+)`")
UNSAFE = re.compile(r"[^A-Za-z0-9_-]")  # in an id


def text(value: str) -> str:
    """Return foreign text for an element or a quoted attribute."""
    return escape(CONTROL.sub("", value))


def name(value: str) -> str:
    """Return a name that may be broken after its underscores."""
    return text(value).replace("_", "_<wbr>")


def mark_code(value: str) -> str:
    """Return foreign text whose `words` in backquotes are code."""
    marked = CODE.sub(lambda found: f"<code>{found[1].replace('_', '_<wbr>')}</code>", text(value))
    return marked.replace("</code> ⚠", '</code> <span title="contaminated">⚠</span>')  # a lane's mark


def korean(label: str) -> str:
    """Return a Korean label; nothing for none."""
    return f'<span class="ko" lang="ko">{label}</span>' if label else ""


def title(english: str, label: str, anchor: str = "", *, level: int = 2) -> str:
    """Return a title of that level, with the id `anchor` if it has one."""
    attribute = f' id="{anchor}"' if anchor else ""
    return f'<h{level}{attribute}>{english}<span lang="ko">{label}</span></h{level}>'


def anchor_lane(lane: str) -> str:
    """Return the id of a lane's part of the page; no two lanes share one."""
    return "lane-" + UNSAFE.sub(lambda found: f".{ord(found[0]):x}.", lane)


def section(content: str, english: str, label: str, anchor: str = "") -> str:
    """Return a section with its title, with the id `anchor` if it has one."""
    return f'<section class="long">{title(english, label, anchor)}{content}</section>'


def draw_table(table: Table | None, anchor: str = "") -> str:
    """Return a table as a section of its own; nothing for none."""
    if table is None:
        return ""
    return section(draw_note(table.note) + draw_grid(table), table.title, table.korean, anchor)


def draw_note(words: str) -> str:
    """Return a small paragraph; nothing for no words."""
    return f'<p class="sub">{text(words)}</p>' if words else ""


def draw_grid(table: Table) -> str:
    """Return a table without its title and note; it scrolls by itself."""
    if not table.rows:
        return ""
    heads = "".join(_draw_head(head) for head in table.heads)
    rows = "".join(_draw_row(row, table.heads) for row in table.rows)
    return f'<div class="scroll"><table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table></div>'


def _draw_head(head: Head) -> str:
    kind = {"number": ' class="num"', "lane": ' class="lane"', "text": ""}[head.kind]
    return f'<th scope="col"{kind}>{name(head.name)}{korean(head.korean)}</th>'


def _draw_row(row: Row, heads: Sequence[Head]) -> str:
    kind = ' class="base"' if row.is_base else ""
    cells = "".join(_draw_cell(cell, head) for cell, head in zip(row.cells, heads, strict=True))
    return f"<tr{kind}>{cells}</tr>"


def _draw_cell(cell: Cell, head: Head) -> str:
    below = text(cell.below)
    if head.kind == "lane":
        title_below = f'<div class="sub">{below}</div>' if below else ""
        shown = mark_code(cell.value)
        linked = f'<a href="#{anchor_lane(cell.lane)}">{shown}</a>' if cell.lane else shown
        return f'<th scope="row" class="lane">{linked}{title_below}</th>'
    if head.kind == "number":
        kind = "num best" if cell.is_best else "num"
        return f'<td class="{kind}">{text(cell.value)}{f"<small>{below}</small>" if below else ""}</td>'
    kind = ' class="group"' if cell.hue else ""
    aside = f'<div class="sub">{below}</div>' if below else ""
    return f"<td{kind}>{draw_dot(cell.hue)}{text(cell.value)}{aside}{draw_badges(cell.badges)}</td>"


def draw_dot(hue: str) -> str:
    """Return a patch of colour; nothing for none."""
    return f'<span class="dot" style="--hue: {hue}"></span>' if hue else ""


def draw_badge(badge: Badge) -> str:
    """Return a few words in a frame; `detail` shows under the pointer."""
    detail = f' title="{text(badge.detail)}"' if badge.detail else ""
    label = f" {korean(badge.korean)}" if badge.korean else ""
    kind = f"badge {badge.tone}".rstrip()
    return f'<span class="{kind}"{detail}>{text(badge.words)}{label}</span>'


def draw_badges(badges: Sequence[Badge]) -> str:
    """Return badges in a row; nothing for none."""
    return f'<div class="badges">{"".join(map(draw_badge, badges))}</div>' if badges else ""


def listing(items: Iterable[str]) -> str:
    """Return a list; `words` in backquotes are code."""
    return "<ul>" + "".join(f"<li>{mark_code(item)}</li>" for item in items) + "</ul>"


def legend(entries: Iterable[tuple[str, str]]) -> str:
    """Return names with their colours."""
    return (
        f'<div class="legend">{"".join(f"<span>{draw_dot(hue)}{text(n)}</span>" for n, hue in entries)}</div>'
    )
