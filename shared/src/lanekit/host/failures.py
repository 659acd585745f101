"""What a library or the system raised, as one of our errors: what is wrong, where, and what to do."""

from __future__ import annotations

import errno
import os
import re
import tempfile
import traceback
from collections.abc import Mapping
from pathlib import Path

from lanekit.errors import InputError, LanekitError, PermanentError, StoreError

OWN_PACKAGES = ("lanekit", "trainer", "quantizer", "evaluator", "ranker", "controller", "scripts")
SECRET_NAME = re.compile(r"TOKEN|SECRET|PASSWORD|API_KEY|ACCESS_KEY", re.IGNORECASE)
SHORTEST_SECRET = 6  # a shorter value stands in too many words to be taken out of them
_CREDENTIALS = re.compile(r"://[^\s@]*@")
_OS_REMEDIES = {
    errno.ENOSPC: "free space on that disk, then run again: what is committed is kept",
    errno.EDQUOT: "the disk quota is used up: free space, then run again",
    errno.EACCES: "give this user the right to it, or name another place",
    errno.EPERM: "give this user the right to it, or name another place",
    errno.EROFS: "the file system is read-only: name another place",
    errno.ENOENT: "see whether the path is right",
    errno.ENOTDIR: "a part of this path is a file, not a folder: name another place",
    errno.EISDIR: "a file is wanted, and this is a folder: name another place",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.EMFILE: "raise the limit of open files (ulimit -n)",
}


def explain_unexpected(error: Exception) -> LanekitError:
    """Return the error to tell for one that no check foresaw; it names the place in this product's code."""
    if isinstance(error, LanekitError):
        return error
    where = locate_fault(error)
    at = f" (at {where})" if where else ""
    if isinstance(error, OSError) and error.errno is not None:
        place = f"{error.filename}: " if error.filename else ""
        remedy = _OS_REMEDIES.get(error.errno, "see to that file or device, then run again")
        return StoreError(f"{place}{error.strerror or error}{at}", remedy=remedy)
    if isinstance(error, UnicodeError):
        return InputError(f"text in another encoding than expected: {error}{at}",
                          remedy="save the file as UTF-8")  # fmt: skip
    if isinstance(error, ModuleNotFoundError):
        return InputError(f"{error.name or error} is not installed{at}", remedy="run ./scripts/dev setup")
    if isinstance(error, MemoryError):
        return PermanentError(f"the memory ran out{at}", remedy="lower batch_size, or take a larger machine")
    message = f"{type(error).__name__}: {error}".rstrip(": ")
    return PermanentError(f"{message}{at}", remedy="report this as a bug")


def locate_fault(error: BaseException) -> str:
    """Return file and line of the innermost place in this product's code, "" where there is none."""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        parts = Path(frame.filename).parts
        found = [index for index, part in enumerate(parts) if part in OWN_PACKAGES]
        if found and "site-packages" not in parts:
            return f"{'/'.join(parts[found[-1] :])}:{frame.lineno}"
    return ""


def hide_secrets(text: str, environment: Mapping[str, str] = os.environ) -> str:
    """Return a text without the credentials of addresses and without the values of secret variables."""
    for name, value in environment.items():
        if SECRET_NAME.search(name) and len(value) >= SHORTEST_SECRET:
            text = text.replace(value, "***")
    return _CREDENTIALS.sub("://***@", text)


def keep_traceback(error: BaseException) -> Path | None:
    """Write an error's traceback to a file for whoever mends it; None where there is no room for it."""
    text = hide_secrets("".join(traceback.format_exception(error)))
    try:
        with tempfile.NamedTemporaryFile(
            "w", encoding="utf-8", errors="replace", prefix="lanekit-error-", suffix=".txt", delete=False
        ) as stream:
            stream.write(text)
            return Path(stream.name)
    except OSError:
        return None
