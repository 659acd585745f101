"""One finding of the preflight, its rendering, and the error that holds all of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from lanekit.errors import InputError
from lanekit.files.strict_yaml import FileProblem

Level = Literal["fault", "warning"]


@dataclass(frozen=True)
class Finding:
    """A `fault` stops the run before its first stage, a `warning` is told and the run goes on.

    `where` is a file with its line and column where there are any, or an option of the command.
    """

    where: str
    message: str
    remedy: str
    level: Level = "fault"

    def __str__(self) -> str:
        return f"{self.where}: {self.message}\n    remedy: {self.remedy}"


class PreflightError(InputError):
    """All faults that were found before the first stage."""

    def __init__(self, faults: Sequence[Finding]) -> None:
        self.faults = tuple(faults)
        if len(self.faults) == 1:
            super().__init__(f"{faults[0].where}: {faults[0].message}", remedy=faults[0].remedy)
            return
        listing = "\n".join(map(str, self.faults))
        super().__init__(
            f"{len(self.faults)} faults stand in the way of the first stage\n{listing}",
            remedy="mend each of them, then run again; nothing was begun",
        )


def make_findings(problems: Iterable[FileProblem]) -> list[Finding]:
    """Return the problems of files as findings."""
    return [
        Finding(f"{p.path}:{p.line}:{p.column}", p.message, "correct the file at this place")
        for p in problems
    ]


def from_error(where: str, error: InputError) -> Finding:
    """Return an error about the input as a finding."""
    return Finding(where, error.message, error.remedy or f"correct {where}")


def raise_faults(findings: Iterable[Finding]) -> None:
    """Do nothing where no finding is a fault.

    Raises:
        PreflightError: with all faults.
    """
    faults = [finding for finding in findings if finding.level == "fault"]
    if faults:
        raise PreflightError(faults)
