"""Replicates on the command line: the option of those that run lanes, and what is told of them."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator, Sequence

from lanekit.errors import InputError
from lanekit.spec.lane_file import Lane, replicate_lanes
from lanekit.spec.replicates import FIRST, list_varied

OPTION = "--replicates"


def add_replicates_option(parser: argparse.ArgumentParser) -> None:
    """Add the option to a command that runs lanes."""
    parser.add_argument(
        OPTION, type=int, metavar="N",
        help="run each of the lanes named over N draws: the calibration set and the training seed vary, the "
        "ranking shows the mean and the spread, the package stays the first's (default: the lane file's "
        "`replicates`, else 1; 3 to 5 show the spread; each costs the lane's stages and its evaluation "
        "again, no timing; 1 for no replicates)",
    )  # fmt: skip


def choose_replicates(lanes: Sequence[Lane], count: int | None, *, is_named: bool, how: str) -> list[Lane]:
    """Return the lanes with the replicates that the option asks for, else their files.

    Args:
        is_named: whether the lanes were named one by one.
        how: how they are named on this command line.

    Raises:
        InputError: the number is out of range, or the lanes were not named: replicates are for finalists.
    """
    if count is not None and count > FIRST and not is_named:
        raise InputError(
            f"{OPTION} {count} is for lanes that are named, and all would be run over {count} draws",
            remedy=f"name the finalists: {how}; or write `replicates: {count}` into lane files",
        )
    return replicate_lanes(lanes, count, OPTION)


def describe_replicates(lanes: Iterable[Lane]) -> Iterator[str]:
    """Yield a line for each lane that has replicates: their names, what varies, whose package it is."""
    for lane in lanes:
        if lane.replicates > FIRST:
            varied = ", ".join(dict.fromkeys(list_varied((s.type, s.params) for s in lane.stages)))
            yield (
                f"{lane.name}: {lane.replicates} replicates ({', '.join(lane.names)}), drawn anew for "
                f"{varied}; the package is the first's, {lane.name}"
            )
