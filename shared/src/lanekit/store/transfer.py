"""Folders to MinIO and back by minio's own calls: files in parallel, memory bounded, every byte hashed.

A file is finished or not there at all, on both sides; so an interrupted transfer goes on file by file. Where
a connection breaks off, a file is sent again from its begin, and fetched on from where it stands.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_EXCEPTION, CancelledError, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path

from urllib3.exceptions import HTTPError

from lanekit.errors import TransientError
from lanekit.files.hashing import hash_file
from lanekit.store.hashed_files import ArrivingFile, SentFile
from lanekit.store.manifest import FileEntry
from lanekit.store.minio_client import MissingObjectError
from lanekit.store.objects import Place, is_stored

__all__ = ["SHAPE", "Place", "TransferShape", "download_files", "find_differing", "upload_files"]


@dataclass(frozen=True)
class TransferShape:
    """How wide a transfer is; sending takes `parts_ahead + 1` parts of memory a file, fetching far less."""

    part_bytes: int = 16 << 20
    files_at_once: int = 4
    parts_ahead: int = 4


SHAPE = TransferShape()
CHUNK_BYTES = 1 << 20


def ignore_bytes(_count: int) -> None:
    """Show no progress."""


@dataclass(frozen=True)
class _Work:
    """What the moves of one call share."""

    place: Place
    folder: Path
    shape: TransferShape
    report: Callable[[int], object] = ignore_bytes
    stopped: threading.Event = field(default_factory=threading.Event)

    def check_stopped(self) -> None:
        if self.stopped.is_set():
            raise CancelledError


def upload_files(
    place: Place, folder: Path, files: Mapping[str, FileEntry], shape: TransferShape = SHAPE
) -> list[str]:
    """Send the files that do not stand there yet; return their names.

    Raises:
        CorruptArtifactError: a file in the folder is not what its entry says; it is not stored.
        StoreError, TransientError: see minio_client.
    """
    return _move_files(files, _Work(place, folder, shape), _upload_file)


def download_files(
    place: Place,
    folder: Path,
    files: Mapping[str, FileEntry],
    shape: TransferShape = SHAPE,
    report: Callable[[int], object] = ignore_bytes,
) -> list[str]:
    """Fetch the files that are not in the folder yet; return their names.

    Args:
        report: called in several threads with the number of bytes that arrived, or were there already.

    Raises:
        CorruptArtifactError: an object is missing or is not what its entry says; it does not stay.
        OSError: the disk.
        StoreError, TransientError: see minio_client.
    """
    return _move_files(files, _Work(place, folder, shape, report), _download_file)


def find_differing(place: Place, files: Mapping[str, FileEntry]) -> list[str]:
    """Return the files whose objects are missing, or of another size or recorded sha256."""
    with ThreadPoolExecutor(SHAPE.files_at_once) as pool:
        stored = pool.map(lambda item: is_stored(place, *item), files.items())
        return [file for file, there in zip(files, stored, strict=True) if not there]


def _move_files(
    files: Mapping[str, FileEntry], work: _Work, move: Callable[[_Work, str, FileEntry], bool]
) -> list[str]:
    """Move files, large ones first; after one has failed the others stop at their next part or chunk."""
    ordered = sorted(files, key=lambda file: -files[file].size_bytes)
    with ThreadPoolExecutor(work.shape.files_at_once) as pool:
        moves = {file: pool.submit(move, work, file, files[file]) for file in ordered}
        try:
            wait(moves.values(), return_when=FIRST_EXCEPTION)
            return [file for file, moved in moves.items() if moved.done() and moved.result()]
        finally:
            work.stopped.set()
            pool.shutdown(wait=False, cancel_futures=True)


def _upload_file(work: _Work, file: str, entry: FileEntry) -> bool:
    place = work.place
    if is_stored(place, file, entry):
        return False

    def send() -> None:
        with SentFile(work.folder / file, entry, work.check_stopped) as stream:
            place.client.minio.put_object(
                place.bucket, place.name(file), stream, entry.size_bytes, metadata={"sha256": entry.sha256},
                part_size=work.shape.part_bytes, num_parallel_uploads=work.shape.parts_ahead,
            )  # fmt: skip

    place.client.call(f"sending {place.show(file)}", send)
    if not is_stored(place, file, entry):
        raise TransientError(
            f"{place.show(file)}: MinIO does not hold what was sent: the upload was dropped, or somebody "
            "else writes there",
            remedy="run again; finished files are not sent again",
        )
    return True


def _download_file(work: _Work, file: str, entry: FileEntry) -> bool:
    place, path = work.place, work.folder / file
    if path.is_file() and path.stat().st_size == entry.size_bytes and hash_file(path) == entry.sha256:
        work.report(entry.size_bytes)
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.partial")
    try:
        with ArrivingFile(partial) as arriving:
            while arriving.size_bytes < entry.size_bytes:
                _fetch_rest(work, file, entry, arriving)
            if arriving.finish() != entry.sha256:
                raise place.explain_corruption(file, "the content's sha256 is not the manifest's")
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return True


def _fetch_rest(work: _Work, file: str, entry: FileEntry, arriving: ArrivingFile) -> None:
    """Fetch on from where the file stands; return when the object ends or the connection breaks off.

    Each break is waited out anew: progress in between is a sign of life. `Minio.fget_object` would begin
    the file anew, and gives its chunks to nobody: reading them again for the sha256 took longer than this.
    """
    place, begin = work.place, arriving.size_bytes

    def fetch() -> None:
        work.check_stopped()
        response = place.client.minio.get_object(place.bucket, place.name(file), offset=begin)
        try:
            total_bytes = begin + int(response.headers["Content-Length"])
            if total_bytes != entry.size_bytes:
                raise place.explain_corruption(
                    file, f"truncated or changed: {total_bytes} bytes, not {entry.size_bytes}"
                )
            for chunk in response.stream(CHUNK_BYTES):
                work.check_stopped()
                arriving.add(chunk)
                work.report(len(chunk))
        except (HTTPError, ConnectionError, TimeoutError):
            if arriving.size_bytes == begin:
                raise
        finally:
            response.close()
            response.release_conn()

    try:
        place.client.call(f"fetching {place.show(file)}", fetch)
    except MissingObjectError:
        raise place.explain_corruption(file, "missing from the artifact") from None
