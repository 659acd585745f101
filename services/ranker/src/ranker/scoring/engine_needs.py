"""Lanes that need engine arguments of their own, and what becomes of their packages. Pure."""

from __future__ import annotations

from lanekit.results.ranking import Ranking


def note_engine_arguments(ranking: Ranking, *, is_plain: bool) -> list[str]:
    """Return one note for each lane that was measured with engine arguments that the baseline had not."""
    package = (
        "the contest takes plain packages (packaging.plain), so it gets none, and where it has a place the "
        "next lane in rank takes it"
        if is_plain
        else "no package carries them: whoever loads it must pass them"
    )
    return [
        f"{lane.record.lane} needs engine arguments: {lane.record.engine}; {package}."
        for lane in ranking.lanes
        if lane.record.engine.arguments
    ]
