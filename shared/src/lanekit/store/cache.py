"""Artifacts on this host's disk, shared by its workers: bounded, verified once, never removed while in use.

artifacts/<place>/    the files, as the store has them
state/<place>.json    what stands there; its age is the last use
state/<place>.lock    held shared while in use, exclusively while filled or removed
scratch/              unfinished outputs, see scratch.py
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import random
import shutil
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import structlog
from pydantic import BaseModel, ValidationError

from lanekit.errors import CorruptArtifactError, StoreError, explain_os_errors
from lanekit.files.atomic import write_text_atomically
from lanekit.files.hashing import digest_json, hash_file
from lanekit.host.devices import BOOT_ID
from lanekit.store.manifest import FileEntry

log = structlog.get_logger()

DISK_FULL = {errno.ENOSPC, errno.EDQUOT}
READ_ONLY = 0o444
TRASH = "lanekit-removed-"

Files = Mapping[str, FileEntry]


class EntryState(BaseModel):
    """What stands at a place; `boot` is that of the host when its bytes were last verified."""

    status: Literal["filling", "complete"]
    size_bytes: int
    listing: str
    boot: str


class ArtifactCache:
    """A bounded folder of artifacts.

    Args:
        root: on a disk of this host; every worker of the host gives the same.
        limit_bytes: the bound; what is in use stays even beyond it.

    Raises:
        StoreError: the folder cannot be made.
    """

    def __init__(self, root: Path, limit_bytes: int) -> None:
        self.root = root.resolve()
        self.limit_bytes = limit_bytes
        with explain_os_errors(f"the cache {self.root} is not writable"):
            for name in ("artifacts", "state", "trash", "scratch"):
                (self.root / name).mkdir(parents=True, exist_ok=True)

    def locate(self, place: str) -> Path:
        """Return the folder of a place, whether anything stands there or not."""
        return self.root / "artifacts" / place

    @contextmanager
    def hold(self, place: str, files: Files, fetch: Callable[[Path], object]) -> Iterator[Path]:
        """Give a place's folder with these files; `fetch` brings and verifies them where they are not there.

        Of several processes one fetches and the others wait. The folder stays while the block lasts.

        Raises:
            StoreError: the disk is full of what is in use.
            CorruptArtifactError: from `fetch`; nothing of it stays.
        """
        listing = digest_files(files)
        with self._open_lock(place) as lock:
            while True:
                fcntl.flock(lock, fcntl.LOCK_SH)
                if self._is_whole(place, files, listing):
                    break
                fcntl.flock(lock, fcntl.LOCK_UN)
                if _try_lock(lock):
                    self._fill(place, files, listing, fetch)
                else:
                    time.sleep(random.uniform(0.05, 0.2))
            os.utime(self._state_path(place))
            yield self.locate(place)

    @contextmanager
    def claim(self, place: str) -> Iterator[Callable[[Path, Files], None] | None]:
        """Keep others from fetching a place while its artifact is committed; gives `adopt(folder, files)`.

        `adopt` moves a folder of this disk to the place, so that it need not be fetched again. Gives None
        where the place is in use.
        """
        with self._open_lock(place) as lock:
            if not _try_lock(lock):
                yield None
                return

            def adopt(folder: Path, files: Files) -> None:
                self._remove(place)
                self._reserve(place, files, digest_files(files))
                self.locate(place).parent.mkdir(parents=True, exist_ok=True)
                folder.rename(self.locate(place))
                self._complete(place, files, digest_files(files))

            yield adopt

    def measure_bytes(self) -> int:
        """Return the size of all that stands here or is being brought."""
        return sum(state.size_bytes for state in self._list_states().values())

    def make_room(self, needed_bytes: int, *, keep: str = "") -> int:
        """Remove what was used longest ago and is not in use until the bound holds; return the bytes freed.

        Args:
            needed_bytes: what is to come; `keep` is the place where it comes.
        """
        excess = self.measure_bytes() + needed_bytes - self.limit_bytes
        freed = self.evict(excess, keep=keep) if excess > 0 else 0
        if freed < excess:
            log.warning("cache_over_limit", limit_bytes=self.limit_bytes, over_bytes=excess - freed)
        return freed

    def evict(self, wanted_bytes: int, *, keep: str = "") -> int:
        """Remove places not in use, the least recently used first, until enough is freed; return how much."""
        freed = 0
        ages = {
            place: self._state_path(place).stat().st_mtime for place in self._list_states() if place != keep
        }
        for place in sorted(ages, key=lambda place: ages[place]):
            if freed >= wanted_bytes:
                break
            with self._open_lock(place) as lock:
                state = self._read_state(place)
                if state is None or not _try_lock(lock):
                    continue
                self._remove(place)
            freed += state.size_bytes
            log.info("cache_evicted", place=place, size_bytes=state.size_bytes)
        return freed

    def _fill(self, place: str, files: Files, listing: str, fetch: Callable[[Path], object]) -> None:
        """Bring what is missing; called with the exclusive lock. Whole files of an earlier attempt stay."""
        state = self._read_state(place)
        if state is None or state.listing != listing:
            self._remove(place)
        elif state.status == "complete":
            log.warning("cache_damaged", place=place)
        folder, size_bytes = self.locate(place), sum(entry.size_bytes for entry in files.values())
        started_at = time.monotonic()
        with explain_os_errors(f"bringing {place} into the cache {self.root}"):
            while True:
                try:
                    self._reserve(place, files, listing)
                    folder.mkdir(parents=True, exist_ok=True)
                    fetch(folder)
                    self._complete(place, files, listing)
                    break
                except CorruptArtifactError:
                    self._remove(place)
                    raise
                except OSError as error:
                    if error.errno not in DISK_FULL:
                        raise
                    if self.evict(size_bytes, keep=place) == 0:
                        self._remove(place)
                        raise StoreError(
                            f"{self.root}: the disk is full, and all that the cache holds is in use; "
                            f"{place} takes {size_bytes} bytes",
                            remedy="free space on the disk of the cache's volume, then run again",
                        ) from error
        seconds = round(time.monotonic() - started_at, 3)
        log.info("cache_filled", place=place, size_bytes=size_bytes, seconds=seconds)

    def _reserve(self, place: str, files: Files, listing: str) -> None:
        """Make room, and count what is to come from now on, so that two that fill keep the bound together."""
        size_bytes = sum(entry.size_bytes for entry in files.values())
        with (self.root / "state" / "reserve.lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            already = self._read_state(place)
            self.make_room(size_bytes - (already.size_bytes if already else 0), keep=place)
            self._write_state(place, "filling", size_bytes, listing)

    def _complete(self, place: str, files: Files, listing: str) -> None:
        for path in self.locate(place).rglob("*"):
            if path.is_file():
                path.chmod(READ_ONLY)
        self._write_state(place, "complete", sum(entry.size_bytes for entry in files.values()), listing)

    def _is_whole(self, place: str, files: Files, listing: str) -> bool:
        """Whether the files stand there: by size, and by content again after the host was started anew."""
        state, folder = self._read_state(place), self.locate(place)
        if state is None or state.status != "complete" or state.listing != listing:
            return False
        for name, entry in files.items():
            path = folder / name
            if not path.is_file() or path.stat().st_size != entry.size_bytes:
                return False
        if state.boot != _read_boot():  # a power cut may have left sizes without contents
            if any(hash_file(folder / name) != entry.sha256 for name, entry in files.items()):
                return False
            self._write_state(place, "complete", state.size_bytes, listing)
        return True

    def _remove(self, place: str) -> None:
        """Remove a place, also on a full disk; what a kill leaves of it goes with the next removal."""
        trash = self.root / "trash"
        with contextlib.suppress(FileNotFoundError):
            self.locate(place).rename(trash / f"{TRASH}{uuid.uuid4().hex}")
        self._state_path(place).unlink(missing_ok=True)
        for leftover in trash.glob(f"{TRASH}*"):  # by our own name: the folder may be a person's as well
            shutil.rmtree(leftover, ignore_errors=True)

    def _state_path(self, place: str) -> Path:
        return self.root / "state" / f"{place}.json"

    @contextmanager
    def _open_lock(self, place: str) -> Iterator[int]:
        path = self.root / "state" / f"{place}.lock"
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a") as stream:
            yield stream.fileno()

    def _read_state(self, place: str) -> EntryState | None:
        try:
            return EntryState.model_validate_json(self._state_path(place).read_bytes())
        except (FileNotFoundError, ValidationError):
            return None

    def _write_state(
        self, place: str, status: Literal["filling", "complete"], size_bytes: int, listing: str
    ) -> None:
        path = self._state_path(place)
        path.parent.mkdir(parents=True, exist_ok=True)
        state = EntryState(status=status, size_bytes=size_bytes, listing=listing, boot=_read_boot())
        write_text_atomically(path, state.model_dump_json())

    def _list_states(self) -> dict[str, EntryState]:
        folder = self.root / "state"
        places = [path.relative_to(folder).with_suffix("").as_posix() for path in folder.rglob("*.json")]
        return {place: state for place in places if (state := self._read_state(place)) is not None}


def digest_files(files: Files) -> str:
    """Return one digest for names, sizes and contents."""
    listing = {name: [entry.size_bytes, entry.sha256] for name, entry in files.items()}
    return digest_json(listing)


def _try_lock(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _read_boot() -> str:
    return BOOT_ID.read_text(encoding="ascii").strip() if BOOT_ID.is_file() else ""
