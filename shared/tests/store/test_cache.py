"""The cache: one fetch for all who want it, bounded, never what is in use, nothing bad stays."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lanekit.errors import CorruptArtifactError, StoreError
from lanekit.store import cache as cache_module
from lanekit.store import scratch
from lanekit.store.cache import ArtifactCache
from lanekit.store.manifest import FileEntry
from lanekit.store.scratch import Scratch

KIB = 1024


def describe(files: dict[str, bytes]) -> dict[str, FileEntry]:
    """Return the entries of files."""
    return {
        name: FileEntry(size_bytes=len(content), sha256=hashlib.sha256(content).hexdigest())
        for name, content in files.items()
    }


class Origin:
    """Where files come from; counts how often it is asked."""

    def __init__(self, files: dict[str, bytes]) -> None:
        self.files = files
        self.entries = describe(files)
        self.asked = 0

    def __call__(self, folder: Path) -> None:
        """Bring the files."""
        self.asked += 1
        for name, content in self.files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.unlink(missing_ok=True)
            path.write_bytes(content)


def make_origin(size_bytes: int, letter: bytes = b"x") -> Origin:
    """Return an origin of one file."""
    return Origin({"a/weights.bin": letter * size_bytes})


def use(cache: ArtifactCache, place: str, origin: Origin) -> None:
    """Hold a place for a moment."""
    with cache.hold(place, origin.entries, origin) as folder:
        assert {n: (folder / n).read_bytes() for n in origin.files} == origin.files


def test_fetched_once_read_only_and_only_those_files(tmp_path: Path) -> None:
    cache, origin = ArtifactCache(tmp_path, 10 * KIB), make_origin(KIB)
    for _ in range(2):
        use(cache, "models/m-1", origin)
    use(ArtifactCache(tmp_path, 10 * KIB), "models/m-1", origin)
    assert origin.asked == 1
    folder = cache.locate("models/m-1")
    assert [p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()] == ["a/weights.bin"]
    assert (folder / "a/weights.bin").stat().st_mode & 0o222 == 0


def test_the_bound_is_kept_and_the_oldest_goes_first(tmp_path: Path) -> None:
    cache = ArtifactCache(tmp_path, 3 * KIB)
    origins = [make_origin(KIB, bytes([65 + n])) for n in range(4)]
    for n in (0, 1, 2):
        use(cache, f"models/m-{n}", origins[n])
        time.sleep(0.02)
    use(cache, "models/m-0", origins[0])  # used again: m-1 is the oldest now
    use(cache, "models/m-3", origins[3])
    assert cache.measure_bytes() == 3 * KIB
    assert not cache.locate("models/m-1").exists()
    assert all(cache.locate(f"models/m-{n}").is_dir() for n in (0, 2, 3))


def test_what_is_in_use_stays_even_beyond_the_bound(tmp_path: Path) -> None:
    cache = ArtifactCache(tmp_path, 2 * KIB)
    held, other, big = make_origin(KIB), make_origin(KIB, b"y"), make_origin(4 * KIB, b"z")
    with cache.hold("models/held-1", held.entries, held) as folder:
        use(cache, "models/other-1", other)
        use(cache, "models/big-1", big)
        assert (folder / "a/weights.bin").is_file()
        assert not cache.locate("models/other-1").exists()
    assert cache.locate("models/big-1").is_dir()
    use(cache, "models/other-1", other)
    assert cache.measure_bytes() <= 2 * KIB


def test_a_corrupt_fetch_leaves_nothing(tmp_path: Path) -> None:
    cache, origin = ArtifactCache(tmp_path, 10 * KIB), make_origin(KIB)

    def fetch(folder: Path) -> None:
        origin(folder)
        raise CorruptArtifactError("bad")

    with pytest.raises(CorruptArtifactError), cache.hold("models/m-1", origin.entries, fetch):
        pytest.fail("given out")
    assert not cache.locate("models/m-1").exists()
    assert cache.measure_bytes() == 0
    use(cache, "models/m-1", origin)


def test_a_damaged_entry_is_brought_again(tmp_path: Path) -> None:
    cache, origin = ArtifactCache(tmp_path, 10 * KIB), make_origin(KIB)
    use(cache, "models/m-1", origin)
    os.truncate(cache.locate("models/m-1") / "a/weights.bin", 10)
    use(cache, "models/m-1", origin)
    assert origin.asked == 2


def test_other_content_under_the_same_name_is_brought_anew(tmp_path: Path) -> None:
    cache = ArtifactCache(tmp_path, 10 * KIB)
    use(cache, "models/m-1", make_origin(KIB, b"x"))
    use(cache, "models/m-1", make_origin(KIB, b"y"))


def test_after_a_boot_contents_are_verified_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache, origin = ArtifactCache(tmp_path, 10 * KIB), make_origin(KIB)
    use(cache, "models/m-1", origin)
    path = cache.locate("models/m-1") / "a/weights.bin"
    path.chmod(0o644)
    path.write_bytes(bytes(KIB))  # as a power cut leaves it: the size, no content
    boot = tmp_path / "boot"
    boot.write_text("another")
    monkeypatch.setattr(cache_module, "BOOT_ID", boot)
    use(cache, "models/m-1", origin)
    assert origin.asked == 2


def test_an_adopted_folder_is_not_fetched(tmp_path: Path) -> None:
    cache, origin = ArtifactCache(tmp_path, 10 * KIB), make_origin(KIB)
    scratch = Scratch(tmp_path / "scratch").make("m")
    origin(scratch)
    with cache.claim("models/m-1") as adopt:
        assert adopt is not None
        adopt(scratch, origin.entries)
    use(cache, "models/m-1", origin)
    assert origin.asked == 1
    assert not scratch.exists()


def test_a_place_in_use_cannot_be_claimed(tmp_path: Path) -> None:
    cache, origin = ArtifactCache(tmp_path, 10 * KIB), make_origin(KIB)
    with cache.hold("models/m-1", origin.entries, origin), cache.claim("models/m-1") as adopt:
        assert adopt is None


def test_a_full_disk_evicts_and_goes_on(small_disk: Path) -> None:
    cache = ArtifactCache(small_disk, 1 << 30)
    use(cache, "models/old-1", make_origin(600 * KIB))
    use(cache, "models/new-1", make_origin(700 * KIB, b"y"))
    assert not cache.locate("models/old-1").exists()


def test_a_full_disk_of_what_is_in_use_is_said(small_disk: Path) -> None:
    cache, held = ArtifactCache(small_disk, 1 << 30), make_origin(600 * KIB)
    with cache.hold("models/held-1", held.entries, held):
        new = make_origin(700 * KIB, b"y")
        with pytest.raises(StoreError, match="disk is full") as caught:
            use(cache, "models/new-1", new)
        assert "free space" in caught.value.remedy
        assert not cache.locate("models/new-1").exists()


def test_other_disk_errors_are_explained(tmp_path: Path) -> None:
    cache, origin = ArtifactCache(tmp_path, 10 * KIB), make_origin(KIB)

    def fetch(folder: Path) -> None:
        raise OSError(errno.EROFS, "read-only", str(folder))

    with (
        pytest.raises(StoreError, match="bringing models/m-1"),
        cache.hold("models/m-1", origin.entries, fetch),
    ):
        pytest.fail("given out")


WORKER = textwrap.dedent(
    """
    import hashlib, sys, time
    from pathlib import Path
    from lanekit.store.cache import ArtifactCache
    from lanekit.store.manifest import FileEntry

    root, log, hold_seconds = Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3])
    content = b"x" * 4096
    files = {"weights.bin": FileEntry(size_bytes=4096, sha256=hashlib.sha256(content).hexdigest())}

    def fetch(folder):
        with log.open("a") as stream:
            stream.write("fetch\\n")
        time.sleep(1.0)
        (folder / "weights.bin").write_bytes(content)

    with ArtifactCache(root, 1 << 20).hold("models/m-1", files, fetch) as folder:
        assert (folder / "weights.bin").read_bytes() == content
        print("held", flush=True)
        time.sleep(hold_seconds)
    """
)


@pytest.fixture
def start_worker(tmp_path: Path) -> Callable[[float], subprocess.Popen[str]]:
    """Start another process that fetches and holds models/m-1; it says so in its last line."""

    def start(hold_seconds: float) -> subprocess.Popen[str]:
        command = [
            sys.executable,
            "-c",
            WORKER,
            str(tmp_path / "cache"),
            str(tmp_path / "log"),
            str(hold_seconds),
        ]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    return start


@pytest.mark.slow
def test_several_processes_fetch_once_and_use_it_together(
    tmp_path: Path, start_worker: Callable[[float], subprocess.Popen[str]]
) -> None:
    workers = [start_worker(1.0) for _ in range(3)]
    assert all(worker.communicate(timeout=60)[0].endswith("held\n") for worker in workers)
    assert (tmp_path / "log").read_text() == "fetch\n"


@pytest.mark.slow
def test_who_waits_gets_it_while_the_first_still_uses_it(
    tmp_path: Path, start_worker: Callable[[float], subprocess.Popen[str]]
) -> None:
    first = start_worker(60.0)
    while not (tmp_path / "log").exists():
        time.sleep(0.05)
    second = start_worker(0.0)
    assert second.communicate(timeout=30)[0].endswith("held\n")
    first.kill()
    first.wait()


@pytest.mark.slow
def test_a_killed_fetch_blocks_nobody(
    tmp_path: Path, start_worker: Callable[[float], subprocess.Popen[str]]
) -> None:
    first = start_worker(0.0)
    while not (tmp_path / "log").exists():
        time.sleep(0.05)
    first.send_signal(signal.SIGKILL)
    first.wait()
    state = json.loads((tmp_path / "cache/state/models/m-1.json").read_text())
    assert state["status"] == "filling"
    assert start_worker(0.0).communicate(timeout=60)[0].endswith("held\n")


def test_stages_that_begin_together_share_one_scratch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_id, mark, together = uuid.uuid4, scratch.mark_folder, threading.Barrier(4)
    monkeypatch.setattr(scratch.uuid, "uuid4", lambda: (time.sleep(0.01), make_id())[1])
    monkeypatch.setattr(scratch, "mark_folder", lambda folder: (time.sleep(0.01), mark(folder))[1])
    own = Scratch(tmp_path)

    def make(number: int) -> Path:
        together.wait()
        return own.make(f"output{number}")

    with ThreadPoolExecutor(4) as pool:
        folders = list(pool.map(make, range(4)))
    assert all(folder.is_dir() for folder in folders)
    assert len({folder.parent for folder in folders}) == 1
    own.close()
    assert list(tmp_path.iterdir()) == []


def test_scratch_of_the_dead_is_cleared_and_that_of_the_living_stays(tmp_path: Path) -> None:
    own = Scratch(tmp_path)
    folder = own.make("mine")
    code = (
        "import sys, os; from pathlib import Path; from lanekit.store.scratch import Scratch;"
        "s = Scratch(Path(sys.argv[1])); s.make('theirs'); os._exit(0)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True)
    assert Scratch(tmp_path).clear_dead() == 1
    assert folder.is_dir()
    assert [p.name for p in tmp_path.iterdir() if p.is_dir()] == [folder.parent.name]
