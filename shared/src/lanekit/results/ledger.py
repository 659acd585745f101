"""The ledger: the server's scores of packages that were handed in, beside the local scores of the same.

A CSV file under version control, one line an entry: appended to by a command, corrected by hand, and read in
a diff. It stands beside the experiment file, as the pinned revisions do, because a score is not made here:
what lies in results/ and submissions/ can be made again, a score of the server cannot.
"""

from __future__ import annotations

import csv
import fcntl
import io
import math
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from lanekit.errors import InputError, explain_os_errors
from lanekit.files.atomic import write_text_atomically

LEDGER_NAME = "ledger.csv"
HOSTS = ("", "usual", "slow")
MAX_SCORE = (
    1.5  # 0.5·Perf/Perf_base + 0.5·(1 − s/s_base): above 1 only where Perf outdoes the baseline's by far
)
MAX_MINUTES = 60.0  # the contest ends a run at 20
TIME_EXAMPLE = "2026-11-28T03:12+09:00"
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_CLOCK = re.compile(r"(\d+):([0-5]\d)")


@dataclass(frozen=True)
class Entry:
    """One run of a package on the server.

    `package` is the zip's sha256, `minutes` how long the run took, `host` what a person knows of the
    machine's state ("" leaves it to the minutes). What was measured here for that very package, as it stood
    when the entry was made: `local_score`, and `local_ratio`, its seconds per token over the baseline's, on
    `device`. They are empty where it is not known.
    """

    at: datetime
    lane: str
    package: str
    score: float
    minutes: float | None = None
    host: str = ""
    experiment: str = ""
    local_score: float | None = None
    local_ratio: float | None = None
    device: str = ""
    note: str = ""


COLUMNS = tuple(field.name for field in fields(Entry))


class _Fault(NamedTuple):
    where: str
    message: str
    remedy: str


class _CellError(ValueError):
    def __init__(self, message: str, remedy: str) -> None:
        super().__init__(message)
        self.remedy = remedy


def read_ledger(path: Path) -> list[Entry]:
    """Return a ledger's entries in the order of its lines; none where there is no file.

    Raises:
        InputError: lines that are no entries; every one with its number and what to write instead.
        StoreError: the file cannot be read.
    """
    if not path.exists():
        return []
    with explain_os_errors(f"reading {path}"):
        content = path.read_bytes()
    return parse_ledger(content, path)


def parse_ledger(content: bytes, path: Path) -> list[Entry]:
    """Parse a ledger as `read_ledger` does; `path` names it in errors."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise InputError(f"{path}:{line}: not UTF-8", remedy="save the file as CSV in UTF-8") from error
    entries: list[Entry] = []
    faults: list[_Fault] = []
    seen: dict[tuple[datetime, str], int] = {}
    begin = 1
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        for cells in reader:
            line, begin = begin, reader.line_num + 1
            where = f"{path}:{line}"
            if line == 1:
                if cells != list(COLUMNS):
                    names = ",".join(COLUMNS)
                    raise InputError(
                        f"{where}: the first line does not name the columns", remedy=f"let it be: {names}"
                    )
                continue
            if not cells:
                continue
            found, entry = _parse_row(cells, where)
            faults += found
            if entry is None:
                continue
            first = seen.setdefault((entry.at, entry.package), line)
            if first != line:
                message = f"the run of line {first} a second time: the same package at the same time"
                faults.append(_Fault(where, message, "take one of the two lines away"))
            entries.append(entry)
    except csv.Error as error:
        faults.append(
            _Fault(f"{path}:{begin}", f"not CSV: {error}", 'write a text with commas or quotes as "…"')
        )
    if text.strip() == "":
        faults.append(
            _Fault(f"{path}:1", "the file is empty", f"delete it, or begin it with: {','.join(COLUMNS)}")
        )
    if faults:
        remedies = dict.fromkeys(fault.remedy for fault in faults)
        raise InputError(
            "\n".join(f"{fault.where}: {fault.message}" for fault in faults), remedy="; ".join(remedies)
        )
    return entries


def _parse_row(cells: list[str], where: str) -> tuple[list[_Fault], Entry | None]:
    if len(cells) != len(COLUMNS):
        message = f"{len(cells)} cells, where {len(COLUMNS)} are needed"
        remedy = f"write every column, empty ones too: {','.join(COLUMNS)}; a decimal is written with a point"
        return [_Fault(where, message, remedy)], None
    values: dict[str, Any] = {}
    faults = []
    for name, cell in zip(COLUMNS, cells, strict=True):
        try:
            values[name] = _PARSERS[name](cell.strip())
        except _CellError as error:
            faults.append(_Fault(where, f"{name} '{cell}' {error}", f"{name}: {error.remedy}"))
    return faults, None if faults else Entry(**values)


def parse_score(text: str) -> float:
    """Return a score.

    Raises:
        ValueError: it is none; has a `remedy`.
    """
    return _parse_number(text, 0.0, MAX_SCORE, "write the score as the server shows it, e.g. 0.6123")


def parse_minutes(text: str) -> float:
    """Return minutes, written as 9.8 or as 9:48.

    Raises:
        ValueError: they are none; has a `remedy`.
    """
    clock = _CLOCK.fullmatch(text)
    if clock:
        text = str(int(clock[1]) + int(clock[2]) / 60)
    minutes = _parse_number(text, 0.0, MAX_MINUTES, "write minutes, as 9.8 or 9:48")
    if minutes == 0:
        raise _CellError("is no time", "write minutes, as 9.8 or 9:48; leave it empty where it is not known")
    return minutes


def parse_time(text: str) -> datetime:
    """Return a time with its offset from UTC.

    Raises:
        ValueError: it is none, or has no offset; has a `remedy`.
    """
    remedy = f"write a time with its offset from UTC, e.g. {TIME_EXAMPLE}"
    try:
        found = datetime.fromisoformat(re.sub(r"Z$", "+00:00", text))
    except ValueError as error:
        raise _CellError("is no time", remedy) from error
    if found.tzinfo is None:
        raise _CellError("has no offset from UTC", remedy)
    return found


def _parse_number(text: str, low: float, high: float, remedy: str) -> float:
    try:
        number = float(text)
    except ValueError as error:
        raise _CellError("is no number", remedy) from error
    if not math.isfinite(number) or not low <= number <= high:
        raise _CellError(f"is not between {low:g} and {high:g}", remedy)
    return number


def _parse_ratio(text: str) -> float:
    remedy = "seconds per token over the baseline's, e.g. 0.83; leave it empty where it is not known"
    ratio = _parse_number(text, 0.0, 1e6, remedy)
    if ratio == 0:
        raise _CellError("is no ratio", remedy)
    return ratio


def _parse_digest(text: str) -> str:
    if not re.fullmatch(r"[0-9a-f]{64}", text):
        raise _CellError("is no sha256", "write the 64 digits that sha256sum shows for the zip")
    return text


def parse_name(text: str) -> str:
    """Return a lane's name.

    Raises:
        ValueError: it is none; has a `remedy`.
    """
    if not text:
        raise _CellError("names nothing", "write the lane's name")
    return _parse_text(text)


def _parse_text(text: str) -> str:
    if _CONTROL.search(text):
        raise _CellError("holds a line break or a control character", "write it on one line")
    return text


def _parse_host(text: str) -> str:
    if text not in HOSTS:
        raise _CellError("is not known", "write usual or slow, or leave it empty: the minutes tell")
    return text


def _allow_empty(parse: Callable[[str], float]) -> Callable[[str], float | None]:
    return lambda text: parse(text) if text else None


_PARSERS: dict[str, Callable[[str], Any]] = {
    "at": parse_time, "lane": parse_name, "package": _parse_digest, "score": parse_score,
    "minutes": _allow_empty(parse_minutes), "host": _parse_host, "experiment": _parse_text,
    "local_score": _allow_empty(parse_score), "local_ratio": _allow_empty(_parse_ratio),
    "device": _parse_text, "note": _parse_text,
}  # fmt: skip


def append_entry(path: Path, entry: Entry) -> None:
    """Add an entry as a last line; nobody ever meets half of it, and two commands at once lose none.

    The lines that are there stay as they are, byte for byte.

    Raises:
        InputError: a line that is there, or the entry, is none; nothing is written.
        StoreError: the file cannot be written.
    """
    path = path.resolve()  # through a link: the file behind it is to be replaced, not the link
    with explain_os_errors(f"writing {path}"), _hold_folder(path.parent):
        content = path.read_bytes() if path.exists() else b""
        if content:
            parse_ledger(content, path)
        text = content.decode("utf-8") or _write_row(list(COLUMNS))
        text += "" if text.endswith("\n") else "\n"
        text += _write_row([_show(value) for value in asdict(entry).values()])
        parse_ledger(text.encode(), path)
        write_text_atomically(path, text, durable=True)


def _write_row(cells: list[str]) -> str:
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerow(cells)
    return stream.getvalue()


def _show(value: Any) -> str:
    if value is None:
        return ""
    return value.isoformat(timespec="seconds") if isinstance(value, datetime) else str(value)


@contextmanager
def _hold_folder(folder: Path) -> Iterator[None]:
    """Hold a folder's own lock: one beside the file would be one more file under version control."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
