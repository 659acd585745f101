"""Figures and their SVGs: one style, deterministic bytes, colours that follow the page's."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

PALETTE = ("#3366a3", "#d9822b", "#3d8f5f", "#b0413e", "#7a5ba6", "#5f6b73", "#b5a12c", "#2a9d9a",
           "#c46a9b", "#8a5a3c", "#7fa8d4", "#3f3f8f")  # fmt: skip
INK = "#22262a"
FAINT = "#d7dbdf"
GUIDE = "#8b939a"
PAPER = "#ffffff"
THEME = {INK: "ink", FAINT: "line", GUIDE: "guide", PAPER: "card"}  # colours that follow the page's
DPI = 120


def make_figure(width: float, height: float, ratios: Sequence[float]) -> tuple[Figure, list[Axes]]:
    """Return a figure of that many inches with a row of axes."""
    figure = Figure(figsize=(width, height), dpi=DPI, facecolor=PAPER, layout="constrained")
    FigureCanvasAgg(figure)
    return figure, list(figure.subplots(1, len(ratios), width_ratios=ratios, squeeze=False)[0])


def style_axes(axes: Axes, label: str) -> None:
    """Take away all but the drawing and its labels."""
    axes.set_axisbelow(True)
    axes.set_facecolor("none")
    axes.set_xlabel(label, color=INK, fontsize=9.5)
    axes.tick_params(colors=INK, labelsize=8.5, length=0)
    for side in ("top", "right", "left", "bottom"):
        axes.spines[side].set_visible(False)


def render_svg(
    draw: Callable[[list[Axes]], None], name: str, width: float, height: float, ratios: Sequence[float] = (1,)
) -> str:
    """Draw on a row of axes and return an <svg> fit for a page.

    It has no prolog, ids of its own, colours by the page's names --ink, --line, --guide and --card, and is
    labelled by the element `<name>-caption`.
    """
    with rc_context({"svg.hashsalt": name, "svg.fonttype": "none", "text.parse_math": False}):
        figure, axes = make_figure(width, height, ratios)
        draw(axes)
        stream = io.StringIO()
        metadata = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(stream, format="svg", metadata=metadata, transparent=True)
    text = stream.getvalue()
    box = re.search(r'viewBox="([^"]+)"', text)
    assert box
    used = set(re.findall(r'(?:href="|url\()#([^")]+)', text))
    body = text[text.index(">", text.index("<svg")) + 1 :]
    body = re.sub(r"<style.*?</style>", "", body, flags=re.DOTALL)  # it would hold for the whole page
    body = re.sub(r"<[^>]*>", lambda tag: _adapt_tag(tag[0], used), body)
    return f'<svg viewBox="{box[1]}" role="img" aria-labelledby="{name}-caption">{body.strip()}'


def _adapt_tag(tag: str, used_ids: set[str]) -> str:
    """Drop the id unless something refers to it; let the page's names give the colours."""
    tag = re.sub(r' id="([^"]+)"', lambda m: m[0] if m[1] in used_ids else "", tag)
    tag = re.sub(r"font-family: [^;]+", "font-family: inherit", tag.replace("xlink:href", "href"))
    for colour, variable in THEME.items():
        tag = tag.replace(colour, f"var(--{variable})")
    return tag
