"""The ranking as a picture: scores by lane, and quality against speed. Deterministic bytes."""

from __future__ import annotations

from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from lanekit.results import RankedLane, Ranking

PALETTE = ("#3366a3", "#d9822b", "#3d8f5f", "#b0413e", "#7a5ba6", "#5f6b73", "#b5a12c", "#2a9d9a")
INK = "#22262a"
FAINT = "#d7dbdf"
WIDTH_INCHES, ROW_INCHES, DPI = 12.0, 0.34, 120


def draw_summary(ranking: Ranking, target: Path) -> None:
    """Write the PNG; works without any scored lane."""
    scored = [lane for lane in ranking.lanes if lane.rank is not None]
    colours = choose_colours(ranking)
    height = max(4.2, 1.8 + ROW_INCHES * max(len(scored), 1))
    figure = Figure(figsize=(WIDTH_INCHES, height), dpi=DPI, facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    bars, scatter = figure.subplots(1, 2, width_ratios=(1.15, 1))
    where = describe_place(ranking)
    title = f"{ranking.experiment}: {len(scored)} lanes ranked" if ranking.experiment else "Ranking"
    figure.suptitle(f"{title}  (speed: {where})", color=INK, fontsize=13, x=0.01, ha="left")
    _draw_bars(bars, scored, colours)
    _draw_scatter(scatter, scored, colours, where)
    groups = [group for group in colours if any(lane.record.group == group for lane in scored)]
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


def _draw_bars(axes: Axes, scored: list[RankedLane], colours: dict[str, str]) -> None:
    _style(axes, "Score (higher is better)")
    axes.set_yticks([])
    if not scored:
        axes.text(0.5, 0.5, "no lane could be scored", ha="center", color=INK, transform=axes.transAxes)
        return
    names = [f"{lane.record.lane}  {lane.rank}" for lane in scored]
    values = [lane.score or 0.0 for lane in scored]
    axes.barh(range(len(scored)), values, color=[colours[x.record.group] for x in scored], height=0.72)
    for position, value in enumerate(values):
        axes.text(value, position, f" {value:.3f}", va="center", fontsize=8.5, color=INK)
    axes.set_yticks(range(len(scored)), names, fontsize=8.5)
    axes.invert_yaxis()
    axes.set_xlim(0, max(*values, 0.1) * 1.14)
    axes.grid(axis="x", color=FAINT, linewidth=0.7)


def _draw_scatter(axes: Axes, scored: list[RankedLane], colours: dict[str, str], where: str) -> None:
    _style(axes, f"Speed gain, 1 − s_per_token/base ({where})")
    axes.set_ylabel("Quality, Perf/Perf_base", color=INK, fontsize=9.5)
    axes.axhline(1, color="#8b939a", linewidth=0.9, linestyle="--")
    axes.axvline(0, color="#8b939a", linewidth=0.9, linestyle="--")
    axes.plot(0, 1, marker="D", color=INK, markersize=7, linestyle="none")
    axes.annotate("baseline", (0, 1), xytext=(-8, -12), textcoords="offset points", fontsize=8, color=INK,
                  ha="right")  # fmt: skip
    for lane in scored:
        point = (lane.speed_norm or 0.0, lane.perf_norm or 0.0)
        axes.scatter(*point, s=70, color=colours[lane.record.group], edgecolor="white", zorder=3)
        axes.annotate(str(lane.rank), point, xytext=(5, 4), textcoords="offset points", fontsize=8, color=INK)
    axes.margins(0.12)
    axes.grid(color=FAINT, linewidth=0.7)


def _style(axes: Axes, label: str) -> None:
    axes.set_axisbelow(True)
    axes.set_xlabel(label, color=INK, fontsize=9.5)
    axes.tick_params(colors=INK, labelsize=8.5, length=0)
    for side in ("top", "right", "left", "bottom"):
        axes.spines[side].set_visible(False)
