"""Files that are hashed as they are sent and as they arrive."""

from __future__ import annotations

import hashlib
import io
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from lanekit.errors import CorruptArtifactError
from lanekit.store.manifest import FileEntry

CHUNKS_BEHIND = 4


class SentFile(io.FileIO):
    """A file for `Minio.put_object`: its last part comes only if the whole is what the entry says.

    Args:
        check_stopped: called before each part; raises where the transfer is to end.
    """

    def __init__(self, path: Path, entry: FileEntry, check_stopped: Callable[[], None]) -> None:
        super().__init__(path, "rb")
        self._path, self._entry, self._check_stopped = path, entry, check_stopped
        self._digest = hashlib.sha256()

    def __enter__(self) -> SentFile:
        """Look at its size, as an empty file is never read.

        Raises:
            CorruptArtifactError: it is not what its entry says.
        """
        if self._path.stat().st_size != self._entry.size_bytes:
            raise self._explain_change()
        return self

    def read(self, size: int | None = -1, /) -> bytes:
        """Return the next part.

        Raises:
            CorruptArtifactError: this would be the last, and the file is not what its entry says.
        """
        self._check_stopped()
        part = super().read(size) or b""
        self._digest.update(part)
        is_last = not part or self.tell() >= self._entry.size_bytes
        if is_last and self._digest.hexdigest() != self._entry.sha256:
            raise self._explain_change()
        return part

    def _explain_change(self) -> CorruptArtifactError:
        return CorruptArtifactError(
            f"{self._path}: changed after its stage had finished", remedy="run again; nothing was committed"
        )


class ArrivingFile:
    """A file that is fetched; a thread of its own writes and hashes it, a few chunks behind.

    Args:
        path: written from its begin.
    """

    def __init__(self, path: Path) -> None:
        self.size_bytes = 0
        self._stream = path.open("wb")
        self._digest = hashlib.sha256()
        self._writer = ThreadPoolExecutor(1)
        self._pending: deque[Future[None]] = deque()

    def add(self, chunk: bytes) -> None:
        """Take the next bytes.

        Raises:
            OSError: the disk, at this chunk or one before.
        """
        self.size_bytes += len(chunk)
        self._pending.append(self._writer.submit(self._write, chunk))
        if len(self._pending) > CHUNKS_BEHIND:
            self._pending.popleft().result()

    def finish(self) -> str:
        """Wait until all is written, and return its sha256."""
        while self._pending:
            self._pending.popleft().result()
        self._stream.flush()
        return self._digest.hexdigest()

    def _write(self, chunk: bytes) -> None:
        self._digest.update(chunk)
        self._stream.write(chunk)

    def __enter__(self) -> ArrivingFile:
        return self

    def __exit__(self, *_error: object) -> None:
        self._writer.shutdown(cancel_futures=True)
        self._stream.close()
