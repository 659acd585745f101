"""Replicates of a lane: the same recipe over other draws. Their names, and what differs in them. Pure.

The first replicate is the lane as it is without replicates: its name, its seeds, its keys. A later one has
another calibration set where the lane calibrates, and another seed where it trains; what a lane trains on
stays.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from lanekit.spec.numbers import SEED_HIGHEST
from lanekit.spec.params import Parameters, TrainingParams
from lanekit.spec.stages import StageType

FIRST = 1
MOST_REPLICATES = 32
# No lane's name holds "-", so that no lane is called as another's replicate; and "-", unlike "+", means the
# same in folders, object names, addresses, the ids of jobs and the keys of Redis.
_REPLICATE = re.compile(r"^(.+)-r([1-9]\d*)$")


def name_replicate(lane: str, number: int) -> str:
    """Return a replicate's name: the lane's own for the first, "lane01_gptq_w4a16-r2" for the second."""
    return lane if number == FIRST else f"{lane}-r{number}"


def split_replicate(name: str) -> tuple[str, int]:
    """Return a replicate's lane and number; 1 for a lane's own name."""
    found = _REPLICATE.match(name)
    return (found[1], int(found[2])) if found else (name, FIRST)


def shorten_name(name: str) -> str:
    """Return a lane's number part, a replicate's with its number: "lane01", "lane01-r2"."""
    lane, number = split_replicate(name)
    return name_replicate(lane.partition("_")[0], number)


def vary_seed(seed: int, number: int) -> int:
    """Return the seed of a replicate's draws: the next one for each replicate, round at the highest."""
    return (seed + number - FIRST) % (SEED_HIGHEST + 1)


def vary_params(params: Parameters, number: int) -> Parameters:
    """Return a stage's parameters in a replicate: training has another seed, all else is as it was."""
    if not isinstance(params, TrainingParams):
        return params
    return params.model_copy(update={"seed": vary_seed(params.seed, number)})


def is_calibrating(stage_type: StageType, params: Parameters) -> bool:
    """Whether a stage reads the calibration set, so that another draw of it may change its result."""
    return stage_type.corpus_part == "calibration" and bool(stage_type.needs_corpus(params))


def list_varied(stages: Iterable[tuple[StageType, Parameters]]) -> list[str]:
    """Return the names of the stages that differ from replicate to replicate; none where nothing is drawn."""
    return [
        stage_type.name
        for stage_type, params in stages
        if is_calibrating(stage_type, params) or isinstance(params, TrainingParams)
    ]
