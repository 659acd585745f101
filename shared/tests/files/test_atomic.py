"""A small file is there whole, or as it was before."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from lanekit.files.atomic import write_text_atomically


@pytest.mark.parametrize("durable", [False, True])
def test_a_file_is_made_and_replaced(tmp_path: Path, durable: bool) -> None:
    path = tmp_path / "x.json"
    for text in ("가", "나"):
        write_text_atomically(path, text, durable=durable)
        assert path.read_text(encoding="utf-8") == text
    assert list(tmp_path.iterdir()) == [path]


def test_what_cannot_be_written_leaves_the_old_content_alone(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    write_text_atomically(path, "old")
    with pytest.raises(UnicodeEncodeError):
        write_text_atomically(path, "\ud800")
    assert path.read_text(encoding="utf-8") == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_the_error_tells_what_is_wrong(tmp_path: Path, read_only_disk: Path) -> None:
    with pytest.raises(OSError, match="Read-only file system"):
        write_text_atomically(read_only_disk / "x", "text")
    with pytest.raises(FileNotFoundError):
        write_text_atomically(tmp_path / "none" / "x", "text")


def test_writers_at_once_never_mix(tmp_path: Path) -> None:
    path, texts = tmp_path / "x", [letter * 50_000 for letter in "abcd"]
    threads = [threading.Thread(target=write_text_atomically, args=(path, text)) for text in texts * 5]
    for thread in threads:
        thread.start()
    seen = {path.read_text(encoding="utf-8") for _ in range(50) if path.exists()}
    for thread in threads:
        thread.join()
    assert seen | {path.read_text(encoding="utf-8")} <= set(texts)
    assert list(tmp_path.iterdir()) == [path]
