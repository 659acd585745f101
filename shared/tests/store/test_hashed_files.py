"""Files that are hashed on their way: wrong ones are not let through, a full disk is told."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from lanekit.errors import CorruptArtifactError
from lanekit.store.hashed_files import CHUNKS_BEHIND, ArrivingFile, SentFile
from lanekit.store.manifest import FileEntry


def describe(content: bytes) -> FileEntry:
    """Return the entry of a file with this content."""
    return FileEntry(size_bytes=len(content), sha256=hashlib.sha256(content).hexdigest())


def keep_on() -> None:
    """Never stop a transfer."""


def test_a_file_is_sent_part_by_part(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"abcde")
    with SentFile(path, describe(b"abcde"), keep_on) as stream:
        assert [stream.read(2) for _ in range(3)] == [b"ab", b"cd", b"e"]


def test_the_last_part_of_a_changed_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"abcdX")
    with SentFile(path, describe(b"abcde"), keep_on) as stream:
        assert stream.read(4) == b"abcd"
        with pytest.raises(CorruptArtifactError, match="changed after its stage"):
            stream.read(4)


@pytest.mark.parametrize("before", [b"", b"abcde"])
def test_a_file_of_another_size_is_not_begun(tmp_path: Path, before: bytes) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"abc")
    with pytest.raises(CorruptArtifactError), SentFile(path, describe(before), keep_on):
        pytest.fail("begun")


def test_a_file_that_shrinks_on_its_way_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"abcde")
    with SentFile(path, describe(b"abcde"), keep_on) as stream:
        path.write_bytes(b"")
        with pytest.raises(CorruptArtifactError):
            stream.read(4)


def test_what_arrives_is_written_and_hashed(tmp_path: Path) -> None:
    chunks = [bytes([n]) * 1000 for n in range(CHUNKS_BEHIND * 3)]
    with ArrivingFile(tmp_path / "a") as arriving:
        for chunk in chunks:
            arriving.add(chunk)
        assert arriving.finish() == describe(b"".join(chunks)).sha256
        assert (tmp_path / "a").read_bytes() == b"".join(chunks)
    assert arriving.size_bytes == len(chunks) * 1000


def test_a_full_disk_is_told() -> None:
    with pytest.raises(OSError, match="No space left"), ArrivingFile(Path("/dev/full")) as arriving:
        arriving.add(bytes(1 << 20))
        arriving.finish()
