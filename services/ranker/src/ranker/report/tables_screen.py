"""The table of the screen: how far each model's next-token distributions lie from the base's. Pure."""

from __future__ import annotations

from lanekit.results.ranking import Ranking
from lanekit.results.screen import ScreenResult
from ranker.report.formats import EMPTY, round_number, show_percent
from ranker.report.table import LANE, Cell, Head, Table, make_row

NOTE = (
    "Read on {n_tokens:,} answer tokens of {n_sequences} held-out conversations, {sameness} for every lane. "
    "KL: nats for each token, base ‖ lane. Same top-1: how often both hold the same token most likely. PPL: "
    "perplexity of the text; PPL/base: over the base's. ± is the standard error over conversations. It is a "
    "screen, no part of the score, and says little of a lane that is meant to move away from the base (SFT, "
    "distillation)."
)
HEADS = (
    LANE,
    Head("KL, mean ± error", "평균 KL"),
    Head("KL, median", "중앙값"),
    Head("KL, 99 %", "99 %"),
    Head("same top-1", "1순위 일치"),
    Head("PPL", "당혹도"),
    Head("PPL/base", "기준 대비 당혹도"),
)


def tabulate_screens(ranking: Ranking) -> Table | None:
    """Build the table; None where no lane has a screen."""
    found = [(lane, lane.record.screen) for lane in ranking.lanes if lane.record.screen]
    if not found:
        return None
    rows = tuple(make_row(ranking, lane, *_list_cells(screen)) for lane, screen in found if screen)
    first = ranking.lanes[0].record.screen or found[0][1]
    assert first
    texts = {screen.text for _, screen in found if screen}
    sameness = "the same" if len(texts) == 1 else "not the same"
    note = NOTE.format(n_tokens=first.n_tokens, n_sequences=first.n_sequences, sameness=sameness)
    return Table("Screen: distance from the base", "기준 모델과의 거리", note, HEADS, rows)


def _list_cells(screen: ScreenResult) -> list[Cell]:
    return [
        Cell(show_with_error(screen.kl_mean, screen.kl_error)),
        Cell(show_kl(screen.kl_median)),
        Cell(show_kl(screen.kl_p99)),
        Cell(_show_share(screen)),
        Cell(round_number(screen.ppl, 3)),
        Cell(show_with_error(screen.ppl_ratio, screen.ppl_ratio_error)),
    ]


def show_kl(value: float | None) -> str:
    """Return nats with four decimals; with two digits below 0.001, where schemes of 8 bits lie."""
    if value is None:
        return EMPTY
    return f"{value:.1e}" if 0 < value < 0.001 else round_number(value)


def show_with_error(value: float, error: float | None) -> str:
    """Return e.g. "0.0470 ± 0.0090"."""
    return show_kl(value) if error is None else f"{show_kl(value)} ± {show_kl(error)}"


def _show_share(screen: ScreenResult) -> str:
    error = "" if screen.same_top_error is None else f" ± {100 * screen.same_top_error:.1f}"
    return show_percent(screen.same_top).replace(" %", f"{error} %")


def list_missing(ranking: Ranking) -> list[str]:
    """Return why a lane that has its rank has no screen."""
    return [
        f"No screen of `{lane.record.lane}`: {lane.record.screen_reason}"
        for lane in ranking.evaluated
        if lane.record.screen_reason and lane.record.status == "ok"
    ]
