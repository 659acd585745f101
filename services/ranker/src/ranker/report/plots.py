"""The ranking as a picture, summary.png: scores by lane, and quality against speed. Deterministic bytes."""

from __future__ import annotations

from pathlib import Path

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.patches import Patch

from lanekit.results.ranking import Interval, RankedLane, Ranking
from ranker.report.canvas import FAINT, GUIDE, INK, PALETTE, PAPER, make_figure, style_axes
from ranker.report.formats import list_scored
from ranker.report.points import (
    find_plane_front,
    find_tied_runs,
    is_off,
    label_points,
    locate,
    stack_runs,
)

WIDTH_INCHES, ROW_INCHES = 12.0, 0.34
SMALLEST_AREA, AREA_SPAN = 36.0, 110.0  # of a point, square points: from no bytes to the largest model's
TIE_STEP = 0.016  # of the axis: between the lines that join tied lanes


def draw_summary(ranking: Ranking, target: Path) -> None:
    """Write the PNG with both charts; works without any scored lane."""
    n_scored = len(list_scored(ranking))
    with rc_context({"text.parse_math": False}):
        figure, (bars, scatter) = make_figure(WIDTH_INCHES, _choose_height(ranking), (1.15, 1))
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
    """Draw the scores, best first, with their intervals, the baseline's as a line, and what is tied."""
    scored, colours = list_scored(ranking), choose_colours(ranking)
    style_axes(axes, "Score (higher is better)")
    axes.set_yticks([])
    if not scored:
        axes.text(0.5, 0.5, "no lane could be scored", ha="center", color=INK, transform=axes.transAxes)
        axes.set_xticks([])
        return
    names = [f"{'⚠ ' if x.record.is_contaminated else ''}{x.record.lane}  {x.rank}" for x in scored]
    values = [lane.score or 0.0 for lane in scored]
    axes.barh(range(len(scored)), values, color=[colours[x.record.group] for x in scored], height=0.72)
    base = ranking.lanes[0].score
    if base is not None:
        axes.axvline(base, color=INK, linewidth=1.1, linestyle="--")
        axes.annotate(f"baseline {base:.3f}", (base, 1), xycoords=("data", "axes fraction"), xytext=(0, 3),
                      textcoords="offset points", fontsize=8, color=INK, ha="center")  # fmt: skip
    box = {"facecolor": PAPER, "edgecolor": "none", "pad": 0.6}  # keeps a value readable on the line
    ends = [_find_end(lane) for lane in scored]
    for position, (lane, value, end) in enumerate(zip(scored, values, ends, strict=True)):
        if lane.score_interval:
            _draw_whisker(axes, lane.score_interval, position)
        axes.annotate(f"{value:.3f}", (end, position), xytext=(4, 0), textcoords="offset points",
                      va="center", fontsize=8.5, color=INK, bbox=box)  # fmt: skip
    for column, first, last in stack_runs(find_tied_runs(scored)):
        axes.plot([1 + column * TIE_STEP] * 2, [first - 0.3, last + 0.3], color=INK, linewidth=1.6,
                  clip_on=False, transform=axes.get_yaxis_transform(), solid_capstyle="butt")  # fmt: skip
    axes.set_yticks(range(len(scored)), names, fontsize=8.5)
    axes.set_ylim(len(scored) - 0.4, -0.6)
    axes.set_xlim(0, max(*ends, base or 0.0, 0.1) * 1.16)
    axes.grid(axis="x", color=FAINT, linewidth=0.7)


def draw_scatter(ranking: Ranking, axes: Axes) -> None:
    """Draw quality against speed, each point with its rank; the baseline is the diamond at (0, 1).

    A point's area grows with the model's size; outlined ones are on the front of quality, speed and size, and
    the line joins the front of quality and speed alone.
    """
    colours, scored = choose_colours(ranking), list_scored(ranking)
    largest = max((lane.record.size_bytes or 0 for lane in ranking.lanes), default=0) or 1
    style_axes(axes, f"Speed gain, 1 − s_per_token/base ({describe_place(ranking)})")
    axes.set_ylabel("Quality, Perf/Perf_base", color=INK, fontsize=9.5)
    axes.axhline(1, color=GUIDE, linewidth=0.9, linestyle="--")
    axes.axvline(0, color=GUIDE, linewidth=0.9, linestyle="--")
    axes.plot(0, 1, marker="D", color=INK, markersize=7, linestyle="none", zorder=4)
    axes.annotate("baseline", (0, 1), xytext=(-7, 6), textcoords="offset points", fontsize=8, color=INK,
                  ha="right")  # fmt: skip
    front = find_plane_front(scored)
    axes.plot([x for x, _ in front], [y for _, y in front], color=INK, linewidth=1.1, alpha=0.55, zorder=2)
    for lane in scored:
        x, y = locate(lane)
        if lane.perf_norm_interval:
            ends = [lane.perf_norm_interval.low, lane.perf_norm_interval.high]
            axes.plot([x, x], ends, color=GUIDE, linewidth=0.9, zorder=2)
        axes.scatter(x, y, s=SMALLEST_AREA + AREA_SPAN * (lane.record.size_bytes or 0) / largest,
                     marker="<" if is_off(lane) else "o", color=colours[lane.record.group],
                     edgecolor=INK if lane.on_front else PAPER, linewidth=1.4 if lane.on_front else 1.0,
                     zorder=3)  # fmt: skip
    for point, label in label_points(scored):
        axes.annotate(
            label, point, xytext=(6, 5), textcoords="offset points", fontsize=8, color=INK, zorder=5
        )
    axes.margins(0.12)
    axes.grid(color=FAINT, linewidth=0.7)


def _draw_whisker(axes: Axes, interval: Interval, position: int) -> None:
    axes.plot([interval.low, interval.high], [position] * 2, color=INK, linewidth=1.2, zorder=3)
    for end in (interval.low, interval.high):
        axes.plot([end] * 2, [position - 0.14, position + 0.14], color=INK, linewidth=1.2, zorder=3)


def _find_end(lane: RankedLane) -> float:
    return max(lane.score or 0.0, lane.score_interval.high if lane.score_interval else 0.0)


def _choose_height(ranking: Ranking) -> float:
    return max(4.2, 1.8 + ROW_INCHES * len(list_scored(ranking)))
