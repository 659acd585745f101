"""The ranking as pictures: scores by lane, and quality against speed. Deterministic bytes.

One drawing code gives the PNG (both charts side by side) and the SVGs of the page (one chart each).
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from lanekit.results import RankedLane, Ranking

PALETTE = ("#3366a3", "#d9822b", "#3d8f5f", "#b0413e", "#7a5ba6", "#5f6b73", "#b5a12c", "#2a9d9a",
           "#c46a9b", "#8a5a3c", "#7fa8d4", "#3f3f8f")  # fmt: skip
INK = "#22262a"
FAINT = "#d7dbdf"
GUIDE = "#8b939a"
PAPER = "#ffffff"
THEME = {INK: "ink", FAINT: "line", GUIDE: "guide", PAPER: "card"}  # colours that follow the page's
WIDTH_INCHES, ROW_INCHES, DPI = 12.0, 0.34, 120
CHART_INCHES = 6.0
NEAR = 0.045  # of an axis
SLOWEST_SHOWN = -1.0  # a lane slower than this gain stands at the edge, its gain beside its rank

Draw = Callable[[Axes], None]


def draw_summary(ranking: Ranking, target: Path) -> None:
    """Write the PNG with both charts; works without any scored lane."""
    n_scored = len(list_scored(ranking))
    with rc_context({"text.parse_math": False}):
        figure, (bars, scatter) = _make_figure(ranking, WIDTH_INCHES, (1.15, 1))
        title = f"{ranking.experiment}: {n_scored} lanes ranked" if ranking.experiment else "Ranking"
        title += f"  (speed: {describe_place(ranking)})"
        figure.suptitle(title, color=INK, fontsize=13, x=0.01, ha="left")
        draw_bars(ranking, bars)
        draw_scatter(ranking, scatter)
        colours = choose_colours(ranking)
        groups = [g for g in colours if any(lane.record.group == g for lane in list_scored(ranking))]
        if groups:
            figure.legend(
                handles=[Patch(color=colours[group], label=group or "no group") for group in groups],
                loc="outside lower center",
                ncols=min(len(groups), 6),
                frameon=False,
                fontsize=9,
            )
        figure.savefig(target, metadata={"Software": None})


def render_charts(ranking: Ranking) -> dict[str, str]:
    """Return both charts as <svg> elements for a page that defines --ink, --line, --guide and --card."""
    drawings = {"bars": partial(draw_bars, ranking), "scatter": partial(draw_scatter, ranking)}
    return {name: _render_svg(ranking, draw, name) for name, draw in drawings.items()}


def list_scored(ranking: Ranking) -> list[RankedLane]:
    """Return the lanes with a rank, best first."""
    return [lane for lane in ranking.lanes if lane.rank is not None]


def choose_colours(ranking: Ranking) -> dict[str, str]:
    """Give each group a colour, in the order of the groups' names."""
    groups = sorted({lane.record.group for lane in ranking.lanes})
    return {group: PALETTE[index % len(PALETTE)] for index, group in enumerate(groups)}


def describe_place(ranking: Ranking) -> str:
    """Return where speed was measured, "cpu" for every CPU."""
    speeds = [lane.record.speed for lane in ranking.lanes if lane.record.speed]
    places = sorted({f"{'cpu' if s.is_cpu else s.device}, {s.engine}" for s in speeds})
    return "; ".join(places) or "not measured"


def draw_bars(ranking: Ranking, axes: Axes) -> None:
    """Draw the scores, best first, and the baseline's as a line."""
    scored, colours = list_scored(ranking), choose_colours(ranking)
    _style(axes, "Score (higher is better)")
    axes.set_yticks([])
    if not scored:
        axes.text(0.5, 0.5, "no lane could be scored", ha="center", color=INK, transform=axes.transAxes)
        axes.set_xticks([])
        return
    names = [f"{lane.record.lane}  {lane.rank}" for lane in scored]
    values = [lane.score or 0.0 for lane in scored]
    axes.barh(range(len(scored)), values, color=[colours[x.record.group] for x in scored], height=0.72)
    base = ranking.lanes[0].score
    if base is not None:
        axes.axvline(base, color=INK, linewidth=1.1, linestyle="--")
        axes.annotate(f"baseline {base:.3f}", (base, 1), xycoords=("data", "axes fraction"), xytext=(0, 3),
                      textcoords="offset points", fontsize=8, color=INK, ha="center")  # fmt: skip
    box = {"facecolor": PAPER, "edgecolor": "none", "pad": 0.6}  # keeps a value readable on the line
    for position, value in enumerate(values):
        axes.annotate(f"{value:.3f}", (value, position), xytext=(4, 0), textcoords="offset points",
                      va="center", fontsize=8.5, color=INK, bbox=box)  # fmt: skip
    axes.set_yticks(range(len(scored)), names, fontsize=8.5)
    axes.set_ylim(len(scored) - 0.4, -0.6)
    axes.set_xlim(0, max(*values, base or 0.0, 0.1) * 1.14)
    axes.grid(axis="x", color=FAINT, linewidth=0.7)


def draw_scatter(ranking: Ranking, axes: Axes) -> None:
    """Draw quality against speed, each point with its rank; the baseline is the diamond at (0, 1)."""
    colours = choose_colours(ranking)
    _style(axes, f"Speed gain, 1 − s_per_token/base ({describe_place(ranking)})")
    axes.set_ylabel("Quality, Perf/Perf_base", color=INK, fontsize=9.5)
    axes.axhline(1, color=GUIDE, linewidth=0.9, linestyle="--")
    axes.axvline(0, color=GUIDE, linewidth=0.9, linestyle="--")
    axes.plot(0, 1, marker="D", color=INK, markersize=7, linestyle="none", zorder=4)
    axes.annotate("baseline", (0, 1), xytext=(-7, 6), textcoords="offset points", fontsize=8, color=INK,
                  ha="right")  # fmt: skip
    for lane in list_scored(ranking):
        axes.scatter(*_locate(lane), s=70, marker="<" if _is_off(lane) else "o",
                     color=colours[lane.record.group], edgecolor=PAPER, zorder=3)  # fmt: skip
    for point, label in _label_points(list_scored(ranking)):
        axes.annotate(
            label, point, xytext=(6, 5), textcoords="offset points", fontsize=8, color=INK, zorder=5
        )
    axes.margins(0.12)
    axes.grid(color=FAINT, linewidth=0.7)


def _is_off(lane: RankedLane) -> bool:
    return (lane.speed_norm or 0.0) < SLOWEST_SHOWN


def _locate(lane: RankedLane) -> tuple[float, float]:
    return (max(lane.speed_norm or 0.0, SLOWEST_SHOWN), lane.perf_norm or 0.0)


def _label_points(scored: list[RankedLane]) -> list[tuple[tuple[float, float], str]]:
    """Return points and their labels; lanes too close for labels of their own share one, at the rightmost."""
    off = [lane for lane in scored if _is_off(lane)]
    labels = [(_locate(x), f"{x.rank} (−{abs(100 * (x.speed_norm or 0)):.0f} %)") for x in off]
    points = {lane.rank: _locate(lane) for lane in scored if lane.rank is not None and not _is_off(lane)}
    everywhere = [(0.0, 1.0), *(_locate(lane) for lane in scored)]  # the baseline's place first
    spans = [max(values) - min(values) for values in zip(*everywhere, strict=True)]
    clusters: list[list[int]] = []
    for rank in sorted(points, key=lambda rank: (-points[rank][0], rank)):
        for cluster in clusters:
            first, here = points[cluster[0]], points[rank]
            if all(abs(here[axis] - first[axis]) <= NEAR * spans[axis] for axis in (0, 1)):
                cluster.append(rank)
                break
        else:
            clusters.append([rank])
    return labels + [(points[cluster[0]], _join_ranks(sorted(cluster))) for cluster in clusters]


def _join_ranks(ranks: list[int]) -> str:
    """Return e.g. "3, 5–8"."""
    parts: list[list[int]] = []
    for rank in ranks:
        if parts and rank == parts[-1][-1] + 1:
            parts[-1].append(rank)
        else:
            parts.append([rank])
    return ", ".join(str(p[0]) if len(p) == 1 else f"{p[0]}–{p[-1]}" for p in parts)


def _make_figure(ranking: Ranking, width: float, ratios: tuple[float, ...]) -> tuple[Figure, list[Axes]]:
    height = max(4.2, 1.8 + ROW_INCHES * len(list_scored(ranking)))
    figure = Figure(figsize=(width, height), dpi=DPI, facecolor=PAPER, layout="constrained")
    FigureCanvasAgg(figure)
    return figure, list(figure.subplots(1, len(ratios), width_ratios=ratios, squeeze=False)[0])


def _render_svg(ranking: Ranking, draw: Draw, name: str) -> str:
    """Draw one chart and make it fit for a page: no prolog, ids of its own, colours by the page's names."""
    with rc_context({"svg.hashsalt": name, "svg.fonttype": "none", "text.parse_math": False}):
        figure, (axes,) = _make_figure(ranking, CHART_INCHES, (1,))
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


def _style(axes: Axes, label: str) -> None:
    axes.set_axisbelow(True)
    axes.set_facecolor("none")
    axes.set_xlabel(label, color=INK, fontsize=9.5)
    axes.tick_params(colors=INK, labelsize=8.5, length=0)
    for side in ("top", "right", "left", "bottom"):
        axes.spines[side].set_visible(False)
