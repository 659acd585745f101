"""How a run ended: `runs/<run_id>/outcome.json` in the bucket `results`, written last."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from lanekit.errors import InputError, first_finding
from lanekit.plan.graph import ArtifactRef
from lanekit.results.schema import FAILED, LaneStatus

EndPhase = Literal["complete", "failed", "cancelled"]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class RankedPackage(ArtifactRef):
    """A verified package; `position` counts from 1, the best first."""

    lane: str
    position: int


class LaneOutcome(_Part):
    """A lane's place in the table, the baseline first; `rank` and `score` are None where there is none."""

    lane: str
    status: LaneStatus
    reason: str = ""
    rank: int | None = None
    score: float | None = None


class RunOutcome(_Part):
    """A run that ended. `summary` is the ranking's artifact; None where nothing was ranked.

    `notes` tell of the artifacts that are not all that was asked for, by their names; `passed_over` of the
    lanes that had a place and are no plain package.
    """

    format_version: Literal[1] = 1
    run_id: str
    phase: EndPhase
    reason: str = ""
    summary: ArtifactRef | None = None
    packages: tuple[RankedPackage, ...] = ()
    refused: dict[str, str] = {}
    passed_over: dict[str, str] = {}
    records: tuple[LaneOutcome, ...] = ()
    notes: dict[str, tuple[str, ...]] = {}

    @property
    def is_complete(self) -> bool:
        """Whether something was packaged, no lane failed and no package was refused."""
        failed = any(record.status in FAILED for record in self.records)
        return self.phase == "complete" and bool(self.packages) and not failed and not self.refused


def parse_outcome(content: bytes, where: str) -> RunOutcome:
    """Parse a stored outcome.

    Raises:
        InputError: it is not an outcome; `where` names it.
    """
    try:
        return RunOutcome.model_validate_json(content)
    except ValidationError as error:
        raise InputError(
            f"{where}: not a readable outcome: {first_finding(error)}",
            remedy="delete it: the controller writes it anew",
        ) from error
