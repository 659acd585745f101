"""Folders for unfinished outputs: each process has its own, and what a dead one left is found by its lock."""

from __future__ import annotations

import fcntl
import re
import threading
import uuid
from pathlib import Path
from typing import IO

from lanekit.errors import explain_os_errors
from lanekit.files.owned import mark_folder, remove_marked

_LOCK_NAME = re.compile(r"[0-9a-f]{32}\.lock")


class Scratch:
    """Unfinished outputs of one process under a root that several processes, and people, share.

    Nothing is made before the first folder is asked for.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._folder: Path | None = None
        self._lock: IO[str] | None = None
        self._opening = threading.Lock()  # the embedded driver begins stages side by side, in threads

    def make(self, name: str) -> Path:
        """Return a new empty folder.

        Raises:
            StoreError: it cannot be made.
        """
        with explain_os_errors(f"making room for {name}"), self._opening:
            folder = self._open_own() / f"{name}-{uuid.uuid4().hex[:8]}"
            folder.mkdir()
        return folder

    def clear_dead(self) -> int:
        """Remove what processes that no longer live left behind; return how many folders that were.

        What does not bear this product's mark stays.
        """
        count = 0
        for lock_path in [p for p in self.root.glob("*.lock") if _LOCK_NAME.fullmatch(p.name)]:
            with lock_path.open("a") as lock:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    continue
                folder = lock_path.with_suffix("")
                found = [p for p in folder.iterdir() if p.is_dir()] if folder.is_dir() else []
                if remove_marked(folder):
                    count += len(found)
                if not folder.exists():
                    lock_path.unlink(missing_ok=True)
        return count

    def close(self) -> None:
        """Remove this process's own folder, and its lock."""
        if self._folder is None or self._lock is None:
            return
        remove_marked(self._folder)
        self._folder.with_suffix(".lock").unlink(missing_ok=True)
        self._lock.close()
        self._folder = self._lock = None

    def _open_own(self) -> Path:
        """Return this process's folder; it is locked as long as the process lives."""
        if self._folder is None or self._lock is None:
            owner = uuid.uuid4().hex
            self.root.mkdir(parents=True, exist_ok=True)
            # Locked before it has the name by which others look for the dead.
            unnamed = self.root / f"{owner}.new"
            self._lock = unnamed.open("w")
            fcntl.flock(self._lock, fcntl.LOCK_EX)
            unnamed.rename(self.root / f"{owner}.lock")
            self._folder = self.root / owner
        mark_folder(self._folder)
        return self._folder
