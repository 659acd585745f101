"""Replicates that would not differ, or hardly."""

from __future__ import annotations

from collections.abc import Iterator

from lanekit.plan.preflight.finding import Finding
from lanekit.plan.preflight.request import Request
from lanekit.spec.experiment_file import CORPUS
from lanekit.spec.lane_file import Lane
from lanekit.spec.replicates import FIRST, is_calibrating, list_varied

MOST_SHARED = 0.25  # of two draws' rows: beyond it their spread is less than that of draws from the whole set


def check_replicates(request: Request) -> Iterator[Finding]:
    """Refuse replicates of what is not drawn; warn of draws that share many rows."""
    for lane in request.lanes:
        if lane.replicates == FIRST:
            continue
        if not list_varied((stage.type, stage.params) for stage in lane.stages):
            yield Finding(
                lane.replicates_at,
                f"{lane.name} is to have {lane.replicates} replicates, and no stage of it calibrates or "
                "trains: they would all be the same model",
                f"take replicates out of {lane.name}, or leave it out of the lanes that are named: "
                "its one value has no spread between draws",
            )
        else:
            yield from _warn_of_shared_rows(request, lane)


def _warn_of_shared_rows(request: Request, lane: Lane) -> Iterator[Finding]:
    there = request.count_rows(CORPUS)
    stages = [stage for stage in lane.stages if is_calibrating(stage.type, stage.params)]
    most = max((getattr(stage.params, "calibration_rows", 0) for stage in stages), default=0)
    if there and most > MOST_SHARED * there:
        yield Finding(
            lane.replicates_at,
            f"two draws of {most} calibration rows from the {there} of {CORPUS} share about "
            f"{most / there:.0%} of them: the spread between the replicates of {lane.name} is less than "
            "between draws of a larger set",
            f"give a source of {CORPUS} with at least {round(most / MOST_SHARED)} rows, or fewer "
            "calibration_rows",
            "warning",
        )
