"""Engines timed in turn, form by form, until their ratio is known well enough or the time is up."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from evaluator.engines.base import Engine
from evaluator.speed.forms import Clock, Form, Timing, time_form
from evaluator.speed.ratio import estimate_ratio
from evaluator.speed.suite_forms import make_matched_form
from lanekit.spec.evaluation import SpeedSettings

Series = dict[str, list[Timing]]


@dataclass(frozen=True)
class Turns:
    """What the turns brought: the forms as they were run, and each engine's timings by form.

    `seconds` are those of the repeats; `is_settled` says that the score's ratio is as sure as was asked.
    """

    forms: list[Form]
    series: list[Series]
    seconds: float = 0.0
    is_settled: bool = True


def take_turns(
    engines: Sequence[Engine],
    forms: Sequence[Form],
    spec: SpeedSettings,
    *,
    least_s: float = 0.0,
    on_step: Callable[[int, int, str], None],
    between: Callable[[], None] = lambda: None,
    give_turn: Callable[[int], None] = lambda _position: None,
    clock: Clock = time.perf_counter,
) -> Turns:
    """Warm every engine up on every form, then time them in turn.

    In each repeat every form runs on all engines, one right after the other. The order of the engines turns
    round with each repeat, so that none always goes first. After `spec.min_repeats` of every form the score's
    form and `matched` go on until the 95 % interval of the score's ratio is within ± `spec.ratio_tolerance`,
    and end where `spec.budget_s` is spent. `between` is called, unmeasured, before the first repeat and after
    the last.

    Args:
        engines: the candidate's first, the baseline's last: its replies give `matched` its lengths.
        least_s: how long a run shall last; forms that are over sooner are run in more passes.
        give_turn: is told, unmeasured, which engine runs next: of two that share a memory one sleeps.
    """
    warmed = _warm_up(engines, forms, spec, least_s, on_step, give_turn, clock)
    between()
    started = clock()
    series: list[Series] = [{form.name: [] for form in warmed} for _ in engines]
    total = spec.min_repeats * len(warmed) * len(engines)
    step = 0
    for repeat in itertools.count():
        is_extra = repeat >= spec.min_repeats
        is_settled = is_extra and _is_settled(series, spec)
        if is_settled or (is_extra and clock() - started >= spec.budget_s):
            break
        order = list(range(len(engines)))
        for form in warmed:
            if is_extra and form.name not in (spec.score_form, "matched"):
                continue
            for position in reversed(order) if repeat % 2 else order:
                on_step(min(step, total), total, f"{form.name}, repeat {repeat + 1}")
                give_turn(position)
                series[position][form.name].append(time_form(engines[position], form, clock))
                step += 1
    seconds = clock() - started
    between()
    on_step(total, total, "measured")
    return Turns(warmed, series, seconds, is_settled)


def measure_width(series: Sequence[Mapping[str, Sequence[Timing]]], form: str) -> float:
    """Return half the width of the ratio's interval at a form, as a share of the ratio."""
    mine, theirs = ([timing.s_per_token for timing in one[form]] for one in (series[0], series[-1]))
    return estimate_ratio(mine, theirs).half_width


def _is_settled(series: Sequence[Mapping[str, Sequence[Timing]]], spec: SpeedSettings) -> bool:
    """Whether the score's ratio is as sure as was asked; of one engine alone it always is."""
    return len(series) == 1 or measure_width(series, spec.score_form) <= spec.ratio_tolerance


def _warm_up(
    engines: Sequence[Engine],
    forms: Sequence[Form],
    spec: SpeedSettings,
    least_s: float,
    on_step: Callable[[int, int, str], None],
    give_turn: Callable[[int], None],
    clock: Clock,
) -> list[Form]:
    """Run every form on every engine; return the forms as they are to be timed, `matched` among them."""
    warmed: list[Form] = []
    waiting = list(forms)
    n_matched = sum(form.kind == "benchmark" for form in forms)
    step, total = 0, spec.warmups * len(engines) * (len(forms) + n_matched)
    while waiting:
        form = waiting.pop(0)
        timings: list[Timing] = []
        for _ in range(spec.warmups):
            for position, engine in enumerate(engines):
                on_step(step, total, f"warming up, {form.name}")
                give_turn(position)
                timings.append(time_form(engine, form, clock))
                step += 1
        fastest = min(timing.seconds for timing in timings)
        warmed.append(form.lengthen(fastest, least_s))
        if form.kind == "benchmark":  # the last engine is the baseline's
            waiting.insert(0, make_matched_form(form, timings[-1].lengths))
    return warmed
