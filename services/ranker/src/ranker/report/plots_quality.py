"""Recovery by benchmark as small multiples: a dot and its interval for every lane."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from matplotlib.axes import Axes

from lanekit.results.ranking import RankedLane, Ranking
from ranker.report.canvas import FAINT, GUIDE, INK, PAPER, render_svg, style_axes
from ranker.report.formats import is_told
from ranker.report.plots import choose_colours

PANEL_INCHES, NAMES_INCHES, ROW_INCHES, HEAD_INCHES = 2.5, 2.2, 0.27, 1.0


def render_recovery(ranking: Ranking, benchmarks: Sequence[str]) -> str:
    """Return the chart as an <svg>; nothing where no lane has a recovery. Best lanes first."""
    lanes = [lane for lane in ranking.lanes[1:] if list_recoveries(lane)]
    shown = [name for name in benchmarks if any(name in list_recoveries(lane) for lane in lanes)]
    if not shown:
        return ""
    width = NAMES_INCHES + PANEL_INCHES * len(shown)
    draw = partial(_draw_panels, ranking, lanes, shown)
    return render_svg(draw, "recovery", width, HEAD_INCHES + ROW_INCHES * len(lanes), (1,) * len(shown))


def list_recoveries(lane: RankedLane) -> dict[str, float]:
    """Return a lane's recoveries (fractions) by benchmark."""
    found = lane.benchmark_statistics
    return {name: s.recovery for name, s in found.items() if s.recovery is not None}


def _draw_panels(
    ranking: Ranking, lanes: Sequence[RankedLane], benchmarks: Sequence[str], panels: list[Axes]
) -> None:
    colours = choose_colours(ranking)
    for number, (axes, name) in enumerate(zip(panels, benchmarks, strict=True)):
        style_axes(axes, "recovery, %")
        axes.set_title(name, fontsize=9.5, color=INK)
        axes.axvline(100, color=INK, linewidth=1.0, linestyle="--")
        for position, lane in enumerate(lanes):
            found = lane.benchmark_statistics.get(name)
            if found is None or found.recovery is None:
                continue
            hue = colours[lane.record.group]
            if found.recovery_interval:
                ends = [100 * found.recovery_interval.low, 100 * found.recovery_interval.high]
                axes.plot(ends, [position] * 2, color=hue, linewidth=1.8, zorder=3)
            filling = hue if is_told(found) else PAPER
            axes.plot(100 * found.recovery, position, marker="o", markersize=6.5, color=hue,
                      markerfacecolor=filling, markeredgewidth=1.6, zorder=4)  # fmt: skip
        names = [
            f"{'⚠ ' if lane.record.is_contaminated else ''}{lane.record.lane}  {lane.rank or '–'}"
            for lane in lanes
        ]
        axes.set_yticks(range(len(lanes)), names if number == 0 else [""] * len(lanes), fontsize=8.5)
        axes.set_ylim(len(lanes) - 0.4, -0.6)
        axes.grid(axis="x", color=FAINT, linewidth=0.7)
        axes.axhline(len(lanes) - 0.4, color=GUIDE, linewidth=0.8)
