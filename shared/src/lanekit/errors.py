"""Errors that say what is wrong, where, and what to do about it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence


class LanekitError(Exception):
    """Base of all expected failures.

    Args:
        message: what is wrong, naming the file, the key or the value.
        remedy: what the user can do about it.
        log_tail: the last lines of the log of the stage that failed.
    """

    transient = False

    def __init__(self, message: str, *, remedy: str = "", log_tail: Sequence[str] = ()) -> None:
        self.message = message
        self.remedy = remedy
        self.log_tail = list(log_tail)
        super().__init__(f"{message}\n  remedy: {remedy}" if remedy else message)


class InputError(LanekitError):
    """The input is at fault; trying again without a change cannot help."""


class StoreError(LanekitError):
    """The artifact store could not be read or written."""


class CorruptArtifactError(StoreError):
    """A stored artifact does not match its manifest."""


class TransientError(LanekitError):
    """A failure that may pass: a dead worker, a network cut, memory taken by another process."""

    transient = True


def did_you_mean(word: str, allowed: Iterable[str]) -> str:
    """Return " (did you mean 'x'?)" for the closest allowed word, or an empty string."""
    close = difflib.get_close_matches(word.lower(), {a.lower(): a for a in allowed}, n=1, cutoff=0.6)
    original = {a.lower(): a for a in allowed}
    return f" (did you mean '{original[close[0]]}'?)" if close else ""
