"""A user's own model folder or data file, stored in MinIO so that workers on any host can read it.

`data/source-<digest12>/files/...`, and last `source.json`: the digest that is in the stages' keys, and the
files. Which path it had on the user's machine is not kept (see spec.source).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from lanekit.errors import InputError, StoreError, first_finding
from lanekit.files.hashing import digest_json, hash_file, list_files
from lanekit.plan.keys import SHORT_KEY_CHARACTERS
from lanekit.spec.params import Parameters
from lanekit.spec.source import LOCAL, list_sources, put_local_paths
from lanekit.store.base import ManifestPolicy
from lanekit.store.cache import ArtifactCache
from lanekit.store.manifest import FileEntry
from lanekit.store.minio_client import MissingObjectError, StoreClient
from lanekit.store.objects import Place, put_object, read_object
from lanekit.store.transfer import download_files, upload_files

__all__ = [
    "SourceListing", "describe_source", "fetch_source", "find_local_digests", "find_source",
    "publish_source", "put_local_paths",
]  # fmt: skip

BUCKET = "data"
LISTING_NAME = "source.json"

_policy = ManifestPolicy()


class SourceListing(BaseModel):
    """What a stored source holds; a single file keeps its name, because its suffix says how to read it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format_version: Literal[1] = 1
    digest: str
    single_file: bool
    files: dict[str, FileEntry]

    def locate(self, folder: Path) -> Path:
        """Return the source's path, given the folder of its files."""
        return folder / next(iter(self.files)) if self.single_file else folder


def describe_source(path: Path) -> SourceListing:
    """Hash a file or folder; the digest is that of keys.hash_source.

    Raises:
        InputError: there is no such path, or no file in it.
    """
    single_file = path.is_file()
    folder = path.parent if single_file else path
    paths = [path] if single_file else (list_files(path) if path.is_dir() else [])
    if not paths:
        raise InputError(f"{path}: no such file, or a folder without files", remedy="correct the path")
    files = {
        p.relative_to(folder).as_posix(): FileEntry(size_bytes=p.stat().st_size, sha256=hash_file(p))
        for p in paths
    }
    hashes = {name: entry.sha256 for name, entry in files.items()}
    digest = hashes[path.name] if single_file else _digest(hashes)
    return SourceListing(digest=digest, single_file=single_file, files=files)


def find_source(client: StoreClient, digest: str) -> SourceListing | None:
    """Return a stored source's listing, None where it is not, or not completely, there.

    A damaged one counts as absent, as a manifest does.
    """
    name = _name(digest)
    try:
        content = read_object(client, BUCKET, f"{name}/{LISTING_NAME}")
    except MissingObjectError:
        return None
    try:
        listing = SourceListing.model_validate_json(content)
    except ValidationError as error:
        where = f"{BUCKET}/{name}/{LISTING_NAME}"
        _policy.warn(where, f"{where}: not a readable listing: {first_finding(error)}")
        return None
    return listing if listing.digest == digest else None


def publish_source(client: StoreClient, path: Path, digest: str) -> bool:
    """Store a local source, unless it is there; return whether anything was sent.

    Raises:
        InputError: the path is not there, or its content is not the digest's any more.
        StoreError, TransientError: see minio_client.
    """
    if find_source(client, digest) is not None:
        return False
    listing = describe_source(path)
    if listing.digest != digest:
        raise InputError(f"{path}: changed since it was read", remedy="run the command again")
    folder = path.parent if listing.single_file else path
    upload_files(_place(client, digest), folder, listing.files)
    content = (listing.model_dump_json(indent=2) + "\n").encode()
    put_object(client, BUCKET, f"{_name(digest)}/{LISTING_NAME}", content, "application/json")
    return True


@contextmanager
def fetch_source(client: StoreClient, cache: ArtifactCache, digest: str) -> Iterator[Path]:
    """Give a stored source's verified local path for as long as it is used.

    Raises:
        StoreError: it is not in the store.
        CorruptArtifactError: an object is not what the listing says.
    """
    listing = find_source(client, digest)
    if listing is None:
        raise StoreError(
            f"{BUCKET}/{_name(digest)}: this local source is not in MinIO",
            remedy="enqueue the run again from the machine that has it: scripts/run_all.py sends it",
        )
    place = _place(client, digest)
    with cache.hold(
        f"{BUCKET}/{_name(digest)}",
        listing.files,
        lambda folder: download_files(place, folder, listing.files),
    ) as folder:
        yield listing.locate(folder)


def find_local_digests(params: Parameters) -> list[str]:
    """Return the digests of the sources inside the parameters whose path was left out."""
    digests = (source.digest for source in list_sources(params) if source.source == LOCAL)
    return list(dict.fromkeys(filter(None, digests)))


def _digest(hashes: Mapping[str, str]) -> str:
    return digest_json(hashes)


def _name(digest: str) -> str:
    return f"source-{digest[:SHORT_KEY_CHARACTERS]}"


def _place(client: StoreClient, digest: str) -> Place:
    return Place(client, BUCKET, f"{_name(digest)}/files")
