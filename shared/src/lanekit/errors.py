"""Errors that say what is wrong, where, and what to do about it."""

from __future__ import annotations

import difflib
import errno
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import ValidationError


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


class PermanentError(LanekitError):
    """A failure that trying again cannot mend."""


class InputError(PermanentError):
    """The input is at fault; trying again without a change cannot help."""


class StoreError(PermanentError):
    """The artifact store could not be read or written."""


class CorruptArtifactError(StoreError):
    """A stored artifact does not match its manifest."""


class TransientError(LanekitError):
    """A failure that may pass: a dead worker, a network cut, memory taken by another process."""

    transient = True


def did_you_mean(word: str, allowed: Iterable[str]) -> str:
    """Return " (did you mean 'x'?)" for the closest allowed word, or an empty string."""
    close = find_close(word, allowed)
    return f" (did you mean '{close}'?)" if close is not None else ""


def find_close(word: str, allowed: Iterable[str]) -> str | None:
    """Return the closest allowed word, None where none is close."""
    original = {a.lower(): a for a in allowed}
    close = difflib.get_close_matches(word.lower(), original, n=1, cutoff=0.6)
    return original[close[0]] if close else None


def first_finding(error: ValidationError) -> str:
    """Return the first of pydantic's findings as "place: message", the message alone about the whole."""
    detail = error.errors()[0]
    return ": ".join(filter(None, (".".join(map(str, detail["loc"])), detail["msg"])))


@contextmanager
def explain_os_errors(doing: str) -> Iterator[None]:
    """Turn a full disk or a missing right into a StoreError that says what to do."""
    try:
        yield
    except OSError as error:
        remedies = {
            errno.ENOSPC: "free space on that disk, then run again: what is committed is kept",
            errno.EDQUOT: "the disk quota is used up: free space, then run again",
            errno.EACCES: "give this user the right to write there, or pass another --store",
            errno.EPERM: "give this user the right to write there, or pass another --store",
            errno.EROFS: "the file system is read-only: pass another --store",
            errno.ENOTDIR: "a part of this path is a file, not a folder: pass another --store",
            errno.EEXIST: "a file stands where a folder is needed: pass another --store",
        }
        raise StoreError(
            f"{doing}: {error.strerror or error} ({error.filename or 'no file named'})",
            remedy=remedies.get(error.errno or 0, "check the disk, then run again"),
        ) from error
