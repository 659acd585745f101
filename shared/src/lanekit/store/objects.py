"""Objects of MinIO one by one: where they are, whether they stand there, small ones read and written."""

from __future__ import annotations

import io
from dataclasses import dataclass

from minio.datatypes import Object

from lanekit.errors import CorruptArtifactError
from lanekit.store.manifest import FileEntry
from lanekit.store.minio_client import MissingObjectError, StoreClient

SHA256_HEADER = "x-amz-meta-sha256"


@dataclass(frozen=True)
class Place:
    """A prefix in a bucket."""

    client: StoreClient
    bucket: str
    prefix: str

    def name(self, file: str) -> str:
        """Return the object's name of a file."""
        return f"{self.prefix}/{file}"

    def show(self, file: str) -> str:
        """Return bucket, prefix and file for a message."""
        return f"{self.bucket}/{self.prefix}/{file}"

    def explain_corruption(self, file: str, what: str) -> CorruptArtifactError:
        """Return the error for a file that is not what its manifest says."""
        return CorruptArtifactError(
            f"{self.show(file)}: {what}", remedy=explain_removal(self.bucket, self.prefix)
        )


def explain_removal(bucket: str, prefix: str) -> str:
    """Return what to do about a damaged artifact."""
    path = f"{bucket}/{prefix.split('/')[0]}"
    return (
        f"docker compose run --rm setup python3 -m controller.setup --delete {path} (or delete it in MinIO's "
        "console as MINIO_ROOT_USER: the operator may not); "
        "then run the same command again: only this is made anew"
    )


def is_stored(place: Place, file: str, entry: FileEntry) -> bool:
    """Whether the object stands there with the size and the sha256 that it was sent with."""
    try:
        stat: Object = place.client.call(
            f"looking at {place.show(file)}", place.client.minio.stat_object, place.bucket, place.name(file)
        )
    except MissingObjectError:
        return False
    return stat.size == entry.size_bytes and (stat.metadata or {}).get(SHA256_HEADER) == entry.sha256


def read_object(client: StoreClient, bucket: str, name: str) -> bytes:
    """Return one small object.

    Raises:
        MissingObjectError: there is none.
        StoreError, TransientError: see minio_client.
    """

    def read() -> bytes:
        response = client.minio.get_object(bucket, name)
        try:
            return response.read()
        finally:
            response.close()
            response.release_conn()

    return client.call(f"reading {bucket}/{name}", read)


def put_object(client: StoreClient, bucket: str, name: str, content: bytes, content_type: str) -> None:
    """Store one small object; see `StoreClient.call` for what it raises."""
    client.call(
        f"writing {bucket}/{name}",
        lambda: client.minio.put_object(
            bucket, name, io.BytesIO(content), len(content), content_type=content_type
        ),
    )
