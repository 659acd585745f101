"""Folders to MinIO and back: parts in parallel, memory bounded, every byte hashed as it passes.

A file is finished or not there at all, on both sides; so an interrupted transfer goes on file by file.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from minio.datatypes import Part

from lanekit.errors import CorruptArtifactError, TransientError
from lanekit.keys import hash_file
from lanekit.manifest import FileEntry
from lanekit.minio_client import BadRangeError, MissingObjectError
from lanekit.objects import SHA256_HEADER, Place, is_stored, read_range

__all__ = ["SHAPE", "Place", "TransferShape", "download_files", "find_differing", "upload_files"]

A = TypeVar("A")
B = TypeVar("B")

BINARY = "application/octet-stream"


@dataclass(frozen=True)
class TransferShape:
    """How wide a transfer is; the most memory it takes is the product of the three."""

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
        files, shape, lambda file, entry, parts: _upload_file(place, file, folder / file, entry, parts, shape)
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
        files,
        shape,
        lambda file, entry, parts: _download_file(place, file, folder / file, entry, parts, shape),
    )


def find_differing(place: Place, files: Mapping[str, FileEntry]) -> list[str]:
    """Return the files whose objects are missing, or of another size or recorded sha256."""
    with ThreadPoolExecutor(SHAPE.files_at_once) as pool:
        stored = pool.map(lambda item: is_stored(place, *item), files.items())
        return [file for file, there in zip(files, stored, strict=True) if not there]


def _move_files(
    files: Mapping[str, FileEntry],
    shape: TransferShape,
    move: Callable[[str, FileEntry, ThreadPoolExecutor], bool],
) -> list[str]:
    """Move files, large ones first; parts have threads of their own, so that files never wait for files."""
    ordered = sorted(files, key=lambda file: -files[file].size_bytes)
    with (
        ThreadPoolExecutor(shape.files_at_once * 2) as parts,
        ThreadPoolExecutor(shape.files_at_once) as pool,
    ):
        moves = {file: pool.submit(move, file, files[file], parts) for file in ordered}
        try:
            return [file for file, moved in moves.items() if moved.result()]
        except BaseException:
            for threads in (pool, parts):  # the other files stop at their next part
                threads.shutdown(wait=False, cancel_futures=True)
            raise


def _map_ahead(
    pool: ThreadPoolExecutor, function: Callable[[A], B], items: Iterable[A], ahead: int
) -> Iterator[B]:
    """Apply a function in the pool, `ahead` items at once at most; results come in the items' order."""
    pending: deque[Future[B]] = deque()
    try:
        for item in items:
            pending.append(pool.submit(function, item))
            if len(pending) >= ahead:
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


def _upload_file(
    place: Place,
    file: str,
    path: Path,
    entry: FileEntry,
    pool: ThreadPoolExecutor,
    shape: TransferShape,
) -> bool:
    if is_stored(place, file, entry):
        return False
    parts = _read_parts(path, entry, shape.part_bytes)
    if entry.size_bytes <= shape.part_bytes:
        content = b"".join(parts)
        place.client.call(
            f"sending {place.show(file)}",
            lambda: place.client.minio.put_object(
                place.bucket, place.name(file), io.BytesIO(content), len(content),
                metadata={"sha256": entry.sha256},
            ),
        )  # fmt: skip
    else:
        _send_parts(place, file, parts, entry, pool, shape.parts_ahead)
    if not is_stored(place, file, entry):
        raise TransientError(
            f"{place.show(file)}: MinIO does not hold what was sent: the upload was dropped, or somebody "
            "else writes there",
            remedy="run again; finished files are not sent again",
        )
    return True


def _send_parts(
    place: Place,
    file: str,
    parts: Iterator[bytes],
    entry: FileEntry,
    pool: ThreadPoolExecutor,
    ahead: int,
) -> None:
    """Send one large file as a multipart upload.

    `Minio.put_object` would send all the rest after a part had failed, and the whole file again for one
    part; so the steps are taken one by one here.
    """
    client, minio, doing = place.client, place.client.minio, f"sending {place.show(file)}"
    where = (place.bucket, place.name(file))
    headers = {SHA256_HEADER: entry.sha256, "Content-Type": BINARY}
    upload_id = client.call(doing, lambda: minio._create_multipart_upload(*where, dict(headers)))

    def send(item: tuple[int, bytes]) -> Part:
        number, part = item
        etag = client.call(doing, lambda: minio._upload_part(*where, part, None, upload_id, number))
        return Part(number, etag)

    try:
        sent = list(_map_ahead(pool, send, enumerate(parts, start=1), ahead))
        with contextlib.suppress(MissingObjectError):  # an answer got lost and the call was repeated
            client.call(doing, lambda: minio._complete_multipart_upload(*where, upload_id, sent))
    except BaseException:
        _abort_upload(place, file, upload_id)
        raise


def _abort_upload(place: Place, file: str, upload_id: str) -> None:
    """Drop the parts sent so far; MinIO does so itself a day later where it cannot be reached now."""
    with contextlib.suppress(Exception):  # the error that led here is the one to raise
        place.client.minio._abort_multipart_upload(place.bucket, place.name(file), upload_id)


def _download_file(
    place: Place,
    file: str,
    path: Path,
    entry: FileEntry,
    pool: ThreadPoolExecutor,
    shape: TransferShape,
) -> bool:
    if path.is_file() and path.stat().st_size == entry.size_bytes and hash_file(path) == entry.sha256:
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.partial")
    digest = hashlib.sha256()
    offsets = range(0, entry.size_bytes, shape.part_bytes)
    try:
        with partial.open("wb") as stream:
            for part in _map_ahead(
                pool,
                lambda offset: _fetch_part(place, file, entry, offset, shape),
                offsets,
                shape.parts_ahead,
            ):
                digest.update(part)
                stream.write(part)
        if digest.hexdigest() != entry.sha256:
            raise place.explain_corruption(file, "the content's sha256 is not the manifest's")
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return True


def _fetch_part(place: Place, file: str, entry: FileEntry, offset: int, shape: TransferShape) -> bytes:
    size_bytes = min(shape.part_bytes, entry.size_bytes - offset)
    try:
        part, total_bytes = place.client.call(
            f"fetching {place.show(file)}",
            lambda: read_range(place.client, place.bucket, place.name(file), offset, size_bytes),
        )
    except MissingObjectError:
        raise place.explain_corruption(file, "missing from the artifact") from None
    except BadRangeError:
        raise place.explain_corruption(file, "truncated") from None
    if total_bytes != entry.size_bytes or len(part) != size_bytes:
        raise place.explain_corruption(
            file, f"truncated or changed: {total_bytes} bytes, the manifest says {entry.size_bytes}"
        )
    return part
