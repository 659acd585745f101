"""The ledger's file: appended whole, corrected by hand, every fault named with its line and what to write."""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from lanekit.errors import InputError, StoreError
from lanekit.results import ledger
from lanekit.results.ledger import COLUMNS, Entry, append_entry, read_ledger

HEAD = ",".join(COLUMNS)
ROW = f"2026-11-28T03:12:00+09:00,lane01_w4,{'a' * 64},0.6123,9.8,,test,0.52,0.8,L4,"
KST = timezone(timedelta(hours=9))


def make_entry(**fields: object) -> Entry:
    given = {
        "at": datetime(2026, 11, 28, 3, 12, tzinfo=KST),
        "lane": "lane01_w4",
        "package": "a" * 64,
        "score": 0.6,
    }
    return Entry(**{**given, **fields})  # type: ignore[arg-type]


def write(path: Path, *rows: str, head: str = HEAD) -> Path:
    path.write_text("\n".join([head, *rows]) + "\n", encoding="utf-8")
    return path


def test_what_is_appended_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "ledger.csv"
    assert read_ledger(path) == []
    first = make_entry(
        minutes=9.8, note='said "so", twice', local_score=0.1 + 0.2, local_ratio=0.83, device="L4, b"
    )
    second = make_entry(package="b" * 64, host="slow", experiment="이름")
    append_entry(path, first)
    append_entry(path, second)
    assert read_ledger(path) == [first, second]
    assert path.read_text(encoding="utf-8").startswith(HEAD + "\n2026-11-28T03:12:00+09:00,lane01_w4,")
    assert [p.name for p in tmp_path.iterdir()] == ["ledger.csv"], "nothing is left beside it"


def test_lines_that_are_there_stay_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "ledger.csv"
    before = (
        f"{HEAD}\r\n{ROW}\r\n\r\n{ROW.replace('a' * 64, 'c' * 64)}".encode()
    )  # by a spreadsheet, no last end
    path.write_bytes(before)
    append_entry(path, make_entry(package="b" * 64))
    assert path.read_bytes().startswith(before + b"\n")
    assert [entry.package[0] for entry in read_ledger(path)] == ["a", "c", "b"]


def test_two_commands_at_once_lose_no_entry(tmp_path: Path) -> None:
    path = tmp_path / "ledger.csv"
    entries = [make_entry(package=f"{n:064x}") for n in range(24)]
    threads = [threading.Thread(target=append_entry, args=(path, entry)) for entry in entries]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(read_ledger(path), key=lambda e: e.package) == entries


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "ledger.csv"
    append_entry(path, make_entry())
    before = path.read_bytes()

    def fail(*_args: object, **_options: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(ledger, "write_text_atomically", fail)
    with pytest.raises(StoreError, match="No space left"):
        append_entry(path, make_entry(package="b" * 64))
    assert path.read_bytes() == before


def test_a_link_stays_one(tmp_path: Path) -> None:
    real = tmp_path / "real.csv"
    append_entry(real, make_entry())
    link = tmp_path / "ledger.csv"
    link.symlink_to(real)
    append_entry(link, make_entry(package="b" * 64))
    assert link.is_symlink() and len(read_ledger(real)) == 2


@pytest.mark.parametrize(
    ("old", "new", "expected", "remedy"),
    [
        ("0.6123", "0,6123", "2: 12 cells, where 11 are needed", "a decimal is written with a point"),
        ("0.6123", "61.23", "2: score '61.23' is not between 0 and 1.5", "as the server shows it"),
        ("0.6123", "nan", "2: score 'nan' is not between 0 and 1.5", "as the server shows it"),
        ("0.6123", "", "2: score '' is no number", "as the server shows it"),
        (",9.8,", ",588,", "2: minutes '588' is not between 0 and 60", "9.8 or 9:48"),
        (",9.8,", ",0,", "2: minutes '0' is no time", "9.8 or 9:48"),
        ("12:00+09:00", "12:00", "2: at '2026-11-28T03:12:00' has no offset", "+09:00"),
        ("2026-11-28T03:12:00+09:00", "28.11.2026", "2: at '28.11.2026' is no time", "+09:00"),
        ("a" * 64, "a" * 63, f"2: package '{'a' * 63}' is no sha256", "sha256sum"),
        (",,test", ",fast,test", "2: host 'fast' is not known", "write usual or slow"),
        (",0.8,", ",0,", "2: local_ratio '0' is no ratio", "e.g. 0.83"),
        ("lane01_w4", "", "2: lane '' names nothing", "the lane's name"),
        (",L4,", ',L4,"never ended', "2: not CSV", "commas or quotes"),
        (",L4,", ',L4,"two\nlines"', "2: note", "on one line"),
    ],
)  # fmt: skip
def test_a_faulty_line_is_named_with_what_to_write(
    tmp_path: Path, old: str, new: str, expected: str, remedy: str
) -> None:
    path = write(tmp_path / "ledger.csv", ROW.replace(old, new, 1))
    with pytest.raises(InputError) as caught:
        read_ledger(path)
    assert f"{path}:{expected}" in caught.value.message
    assert remedy in caught.value.remedy
    before = path.read_bytes()
    with pytest.raises(InputError):
        append_entry(path, make_entry())
    assert path.read_bytes() == before


def test_all_faults_are_told_at_once(tmp_path: Path) -> None:
    later = ROW.replace("03:12", "04:12")
    path = write(
        tmp_path / "ledger.csv", ROW.replace("0.6123", "x"), later, "", later, ROW.replace(",9.8,", ",y,")
    )
    with pytest.raises(InputError) as caught:
        read_ledger(path)
    lines = caught.value.message.splitlines()
    assert [line.removeprefix(f"{path}:").split(":")[0] for line in lines] == ["2", "5", "6"]
    assert "the run of line 3 a second time" in lines[1]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "the file is empty"),
        (b"at;lane;package\n", "the first line does not name the columns"),
        (f"{HEAD}\n".encode() + b"\xff\xfe", "2: not UTF-8"),
    ],
)
def test_a_file_that_is_no_ledger_is_told(tmp_path: Path, content: bytes, expected: str) -> None:
    path = tmp_path / "ledger.csv"
    path.write_bytes(content)
    with pytest.raises(InputError, match=expected) as caught:
        read_ledger(path)
    assert caught.value.remedy


def test_times_and_minutes_are_read_as_people_write_them(tmp_path: Path) -> None:
    rows = [ROW.replace(",9.8,", ",9:48,"), ROW.replace("2026-11-28T03:12:00+09:00", "2026-11-27 18:13Z")]
    first, second = read_ledger(write(tmp_path / "ledger.csv", *rows))
    assert first.minutes == pytest.approx(9.8) and second.at - first.at == timedelta(minutes=1)
    blank = read_ledger(write(tmp_path / "b.csv", ROW.replace(",9.8,,test,0.52,0.8,L4,", ",,,,,,,")))[0]
    assert blank == replace(make_entry(score=0.6123))
