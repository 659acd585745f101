"""Folders to MinIO and back: parts in parallel, memory bounded, every byte hashed as it passes.

A file is finished or not there at all, on both sides; so an interrupted transfer goes on file by file.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import queue
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_EXCEPTION, CancelledError, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TypeVar

from minio.datatypes import Part
from urllib3.exceptions import HTTPError

from lanekit.errors import CorruptArtifactError, TransientError
from lanekit.files.hashing import hash_file
from lanekit.store.manifest import FileEntry
from lanekit.store.minio_client import BadSizeError, MissingObjectError
from lanekit.store.objects import SHA256_HEADER, Place, is_stored, read_from, send_part

__all__ = ["SHAPE", "Place", "TransferShape", "download_files", "find_differing", "upload_files"]

A = TypeVar("A")
B = TypeVar("B")

BINARY = "application/octet-stream"
CHUNKS_BEHIND = 8


@dataclass(frozen=True)
class TransferShape:
    """How wide a transfer is; sending takes the product of the three as memory, fetching far less."""

    part_bytes: int = 16 << 20
    files_at_once: int = 4
    parts_ahead: int = 4


SHAPE = TransferShape()


def upload_files(
    place: Place, folder: Path, files: Mapping[str, FileEntry], shape: TransferShape = SHAPE
) -> list[str]:
    """Send the files that do not stand there yet; return their names.

    Raises:
        CorruptArtifactError: a file in the folder is not what its entry says; it is not stored.
        StoreError, TransientError: see minio_client.
    """
    return _move_files(
        files, shape, lambda file, entry, work: _upload_file(place, file, folder / file, entry, work)
    )


def download_files(
    place: Place, folder: Path, files: Mapping[str, FileEntry], shape: TransferShape = SHAPE
) -> list[str]:
    """Fetch the files that are not in the folder yet; return their names.

    Raises:
        CorruptArtifactError: an object is missing or is not what its entry says; it does not stay.
        OSError: the disk.
        StoreError, TransientError: see minio_client.
    """
    return _move_files(
        files, shape, lambda file, entry, work: _download_file(place, file, folder / file, entry, work)
    )


def find_differing(place: Place, files: Mapping[str, FileEntry]) -> list[str]:
    """Return the files whose objects are missing, or of another size or recorded sha256."""
    with ThreadPoolExecutor(SHAPE.files_at_once) as pool:
        stored = pool.map(lambda item: is_stored(place, *item), files.items())
        return [file for file, there in zip(files, stored, strict=True) if not there]


@dataclass(frozen=True)
class _Work:
    """What the moves of one call share; parts have threads of their own, so no file waits for a file."""

    shape: TransferShape
    parts: ThreadPoolExecutor
    stopped: threading.Event


def _move_files(
    files: Mapping[str, FileEntry], shape: TransferShape, move: Callable[[str, FileEntry, _Work], bool]
) -> list[str]:
    """Move files, large ones first; after one has failed the others stop at their next part or chunk."""
    ordered = sorted(files, key=lambda file: -files[file].size_bytes)
    with (
        ThreadPoolExecutor(shape.files_at_once * 2) as parts,
        ThreadPoolExecutor(shape.files_at_once) as pool,
    ):
        work = _Work(shape, parts, threading.Event())
        moves = {file: pool.submit(move, file, files[file], work) for file in ordered}
        try:
            wait(moves.values(), return_when=FIRST_EXCEPTION)
            return [file for file, moved in moves.items() if moved.done() and moved.result()]
        finally:
            work.stopped.set()
            for threads in (pool, parts):
                threads.shutdown(wait=False, cancel_futures=True)


def _map_ahead(work: _Work, function: Callable[[A], B], items: Iterable[A]) -> Iterator[B]:
    """Apply a function in the parts' threads, a few items ahead; results come in the items' order."""
    pending: deque[Future[B]] = deque()
    try:
        for item in items:
            pending.append(work.parts.submit(function, item))
            if len(pending) >= work.shape.parts_ahead:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        for future in pending:
            future.cancel()


def _read_parts(path: Path, entry: FileEntry, part_bytes: int) -> Iterator[bytes]:
    """Yield a file's bytes; at its end they have been compared with the entry."""
    digest, size_bytes = hashlib.sha256(), 0
    with path.open("rb", buffering=0) as stream:
        while part := stream.read(part_bytes):
            digest.update(part)
            size_bytes += len(part)
            yield part
    if size_bytes != entry.size_bytes or digest.hexdigest() != entry.sha256:
        raise CorruptArtifactError(
            f"{path}: changed after its stage had finished", remedy="run again; nothing was committed"
        )


def _upload_file(place: Place, file: str, path: Path, entry: FileEntry, work: _Work) -> bool:
    if is_stored(place, file, entry):
        return False
    parts = _read_parts(path, entry, work.shape.part_bytes)
    if entry.size_bytes <= work.shape.part_bytes:
        content = b"".join(parts)
        place.client.call(
            f"sending {place.show(file)}",
            lambda: place.client.minio.put_object(
                place.bucket, place.name(file), io.BytesIO(content), len(content),
                metadata={"sha256": entry.sha256},
            ),
        )  # fmt: skip
    else:
        _send_parts(place, file, parts, entry, work)
    if not is_stored(place, file, entry):
        raise TransientError(
            f"{place.show(file)}: MinIO does not hold what was sent: the upload was dropped, or somebody "
            "else writes there",
            remedy="run again; finished files are not sent again",
        )
    return True


def _send_parts(place: Place, file: str, parts: Iterator[bytes], entry: FileEntry, work: _Work) -> None:
    """Send one large file as a multipart upload, each part with patience of its own.

    `Minio.put_object` cannot: one part that fails is the whole file's failure, after all others were sent.
    """
    client, minio, doing = place.client, place.client.minio, f"sending {place.show(file)}"
    where = (place.bucket, place.name(file))
    headers = {SHA256_HEADER: entry.sha256, "Content-Type": BINARY}
    upload_id = client.call(doing, lambda: minio._create_multipart_upload(*where, dict(headers)))

    def send(item: tuple[int, bytes]) -> Part:
        return client.call(doing, send_part, client, *where, upload_id, *item)

    try:
        sent = list(_map_ahead(work, send, enumerate(parts, start=1)))
        with contextlib.suppress(MissingObjectError):  # an answer got lost and the call was repeated
            client.call(doing, lambda: minio._complete_multipart_upload(*where, upload_id, sent))
    except BaseException:
        _abort_upload(place, file, upload_id)
        raise


def _abort_upload(place: Place, file: str, upload_id: str) -> None:
    """Drop the parts sent so far; MinIO does so itself a day later where it cannot be reached now."""
    with contextlib.suppress(Exception):  # the error that led here is the one to raise
        place.client.minio._abort_multipart_upload(place.bucket, place.name(file), upload_id)


def _download_file(place: Place, file: str, path: Path, entry: FileEntry, work: _Work) -> bool:
    if path.is_file() and path.stat().st_size == entry.size_bytes and hash_file(path) == entry.sha256:
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.partial")
    try:
        with partial.open("wb", buffering=0) as stream, _Hashed(stream) as hashed:
            while hashed.size_bytes < entry.size_bytes:
                _fetch_piece(place, file, entry, hashed, work)
        if hashed.sha256 != entry.sha256:
            raise place.explain_corruption(file, "the content's sha256 is not the manifest's")
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return True


def _fetch_piece(place: Place, file: str, entry: FileEntry, hashed: _Hashed, work: _Work) -> None:
    """Fetch on from where the file stands; return when the object ends or the connection breaks off.

    Each break is waited out anew: progress in between is a sign of life.
    """
    before_bytes = hashed.size_bytes

    def fetch() -> None:
        try:
            for chunk in read_from(
                place.client, place.bucket, place.name(file), hashed.size_bytes, entry.size_bytes
            ):
                if work.stopped.is_set():
                    raise CancelledError
                hashed.write(chunk)
        except (HTTPError, ConnectionError, TimeoutError):
            if hashed.size_bytes == before_bytes:
                raise

    try:
        place.client.call(f"fetching {place.show(file)}", fetch)
    except MissingObjectError:
        raise place.explain_corruption(file, "missing from the artifact") from None
    except BadSizeError as error:
        raise place.explain_corruption(
            file, f"truncated or changed ({error.message}, as the manifest says)"
        ) from None


class _Hashed:
    """A file being written; a thread of its own hashes it, a few chunks behind."""

    def __init__(self, stream: IO[bytes]) -> None:
        self.size_bytes = 0
        self.sha256 = ""  # known at the end
        self._stream = stream
        self._digest = hashlib.sha256()
        self._chunks: queue.Queue[bytes] = queue.Queue(CHUNKS_BEHIND)
        self._thread = threading.Thread(target=self._hash, daemon=True)

    def write(self, chunk: bytes) -> None:
        """Write a chunk at the end."""
        self._chunks.put(chunk)
        view = memoryview(chunk)
        while view:
            view = view[self._stream.write(view) :]
        self.size_bytes += len(chunk)

    def _hash(self) -> None:
        while chunk := self._chunks.get():
            self._digest.update(chunk)

    def __enter__(self) -> _Hashed:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._chunks.put(b"")
        self._thread.join()
        self.sha256 = self._digest.hexdigest()
