"""Folders for unfinished outputs: each process has its own, and what a dead one left is found by its lock."""

from __future__ import annotations

import fcntl
import shutil
import uuid
from pathlib import Path
from typing import IO

from lanekit.errors import explain_os_errors


class Scratch:
    """Unfinished outputs of one process under a root that several processes share."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._folder: Path | None = None
        self._lock: IO[str] | None = None

    def make(self, name: str) -> Path:
        """Return a new empty folder.

        Raises:
            StoreError: it cannot be made.
        """
        with explain_os_errors(f"making room for {name}"):
            folder = self._open_own() / f"{name}-{uuid.uuid4().hex[:8]}"
            folder.mkdir()
        return folder

    def clear_dead(self) -> int:
        """Remove what processes that no longer live left behind; return how many folders that were."""
        count = 0
        for lock_path in self.root.glob("*.lock"):
            with lock_path.open("a") as lock:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    continue
                folder = lock_path.with_suffix("")
                count += len(list(folder.iterdir())) if folder.is_dir() else 0
                shutil.rmtree(folder, ignore_errors=True)
                lock_path.unlink(missing_ok=True)
        return count

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
        self._folder.mkdir(exist_ok=True)
        return self._folder
