"""One finding of the preflight, its rendering, and the error that holds all of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

from lanekit.errors import InputError
from lanekit.files.strict_yaml import FileProblem

Level = Literal["fault", "warning", "notice"]


@dataclass(frozen=True)
class Finding:
    """A `fault` stops the run before its first stage; a `warning` is told and the run goes on, and so is a
    `notice`, which is good to know and asks for nothing.

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

    heading = "{} faults stand in the way of the first stage"
    closing = "mend each of them, then run again; nothing was begun"

    def __init__(self, faults: Sequence[Finding]) -> None:
        self.faults = tuple(faults)
        if len(self.faults) == 1:
            super().__init__(f"{faults[0].where}: {faults[0].message}", remedy=faults[0].remedy)
            return
        listing = "\n".join(map(str, self.faults))
        super().__init__(f"{self.heading.format(len(self.faults))}\n{listing}", remedy=self.closing)


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


@contextmanager
def gather_faults(faults: list[Finding], where: str) -> Iterator[None]:
    """Add what stands in the way inside the block to `faults`; what is found after it is told as well.

    Args:
        where: the option that an error belongs to which is not a finding itself.
    """
    try:
        yield
    except PreflightError as error:
        faults += error.faults
    except InputError as error:
        faults.append(from_error(where, error))
