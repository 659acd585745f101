"""How long the replies are: a model that rambles looks fast per token. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

from lanekit.results.ranking import RankedLane
from lanekit.results.speed import SpeedForm

LENGTH_LIMIT = 0.10
FREE, MATCHED = "benchmark", "matched"


def differs_in_length(form: SpeedForm | None) -> bool:
    """Whether a free-running form's tokens per item differ from the baseline's by more than 10 %."""
    if form is None or form.kind not in ("free", "benchmark") or not form.baseline_tokens:
        return False
    return abs(form.tokens - form.baseline_tokens) > LENGTH_LIMIT * form.baseline_tokens


def warn_of_lengths(lanes: Sequence[RankedLane]) -> list[str]:
    """Return a warning for each lane whose replies are longer or shorter than the baseline's."""
    warnings = []
    for lane in lanes:
        speed = lane.record.speed
        form = speed.forms.get(FREE) or speed.forms.get("free") if speed else None
        if form is None or not differs_in_length(form):
            continue
        change = form.tokens / form.baseline_tokens - 1
        warnings.append(
            f"{lane.record.lane} says {form.tokens_per_item:.0f} tokens an item, the baseline "
            f"{form.baseline_tokens_per_item:.0f} ({change:+.0%}): its seconds per token are of other work. "
            "The form `matched` compares equal work."
        )
    return warnings


def warn_of_order(lanes: Sequence[RankedLane]) -> list[str]:
    """Return a warning where `benchmark` and `matched` order two lanes differently beyond their intervals."""
    timed = []
    for lane in lanes:
        speed = lane.record.speed
        if speed and lane.rank is not None and FREE in speed.forms and MATCHED in speed.forms:
            timed.append((lane.record.lane, speed.forms[FREE], speed.forms[MATCHED]))
    turned = [
        f"{one} and {other}"
        for (one, free, matched), (other, other_free, other_matched) in combinations(timed, 2)
        if _order(free, other_free) * _order(matched, other_matched) < 0
    ]
    if not turned:
        return []
    return [
        "`benchmark` (replies ended by the model) and `matched` (equal work) order these lanes differently: "
        f"{'; '.join(turned)}. One of the two is faster by the length of its replies."
    ]


def _order(one: SpeedForm, other: SpeedForm) -> int:
    """Return 1 where `one` is slower, −1 where it is faster, 0 where their intervals do not say."""
    if one.ratio_low is None or one.ratio_high is None or other.ratio_low is None or other.ratio_high is None:
        return 0
    return int(one.ratio_low > other.ratio_high) - int(one.ratio_high < other.ratio_low)
