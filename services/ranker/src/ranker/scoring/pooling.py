"""Lanes of equal shapes run the same kernels: in fixed-length forms their repeats are one series. Pure.

GPTQ with another dampening, or norms trained afterwards, change no tensor's shape, dtype or format; where
both do equal work under equal engine arguments, what their measured speeds differ by is noise, and must not
order them. So the pairs (candidate, baseline) of all lanes of a group are taken together, each form apart;
the ratio of the group is the median of all their ratios. Forms that run until the model ends are not pooled:
there the replies differ.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from lanekit.results.schema import LaneRecord
from lanekit.results.speed import FIXED_KINDS, SpeedResult, take_median_ratio
from ranker.scoring.sittings import list_conditions

POOL_RULE = (
    "Lanes of equal engine arguments whose weights have equal shapes, dtypes and format run the same "
    "kernels: in the forms of fixed length their repeats are pooled, and they have one speed there (the "
    "median over all their pairs); each lane's own times stand beside it."
)


class Pairs(NamedTuple):
    """Seconds per token of repeats measured in turn, candidate's and baseline's."""

    candidate: list[float]
    baseline: list[float]

    @property
    def ratio(self) -> float:
        """The median of the pairs' ratios."""
        return take_median_ratio(*self)


class Pool(NamedTuple):
    """Lanes that share their measurements, and the pairs of each fixed form by its name."""

    lanes: tuple[str, ...]
    forms: dict[str, Pairs]


def pool_equal_shapes(records: Sequence[LaneRecord], baseline: str) -> dict[str, Pool]:
    """Return each lane's pool, by lane; a lane that is like no other has none.

    The baseline, whose ratio is 1 by definition, is in no pool. Lanes measured under unlike conditions are
    in none together.
    """
    groups: dict[tuple[str, ...], list[tuple[str, SpeedResult]]] = {}
    for record in records:
        speed = record.speed
        if record.lane == baseline or speed is None or not speed.shapes:
            continue
        conditions = (f"{name}: {value}" for name, value in list_conditions(speed).items())
        identity = (speed.shapes, str(record.engine), *conditions)
        groups.setdefault(identity, []).append((record.lane, speed))
    pools: dict[str, Pool] = {}
    for members in groups.values():
        if len(members) < 2:
            continue
        names = tuple(sorted(lane for lane, _ in members))
        pool = Pool(names, _join([speed for _, speed in members]))
        pools |= dict.fromkeys(names, pool)
    return pools


def _join(speeds: Sequence[SpeedResult]) -> dict[str, Pairs]:
    """Return the pairs of every fixed form that all have, in pairs."""
    joined: dict[str, Pairs] = {}
    for name, first in speeds[0].forms.items():  # pragma: no mutate (all have what is kept)
        forms = [speed.forms[name] for speed in speeds if name in speed.forms]
        whole = all(len(form.s_per_token_all) == len(form.baseline_s_per_token_all) for form in forms)
        if first.kind in FIXED_KINDS and len(forms) == len(speeds) and whole:
            joined[name] = Pairs(
                [time for form in forms for time in form.s_per_token_all],
                [time for form in forms for time in form.baseline_s_per_token_all],
            )
    return joined
