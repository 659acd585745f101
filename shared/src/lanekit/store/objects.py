"""Objects of MinIO one by one: where they are, whether they stand there, small ones read and written."""

from __future__ import annotations

import base64
import io
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

from minio.datatypes import Object, Part
from minio.error import S3Error, ServerError

from lanekit.errors import CorruptArtifactError
from lanekit.store.manifest import FileEntry
from lanekit.store.minio_client import BadSizeError, MissingObjectError, StoreClient

SHA256_HEADER = "x-amz-meta-sha256"
CRC32_HEADER = "x-amz-checksum-crc32"
PART_LIFE = timedelta(hours=1)
CHUNK_BYTES = 1 << 20
HTTP_OK = 200


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


def send_part(
    client: StoreClient, bucket: str, name: str, upload_id: str, number: int, content: bytes
) -> Part:
    """Send one part of an unfinished upload; for use within `StoreClient.call`.

    MinIO compares the content with a CRC-32. `Minio._upload_part` would compute a sha256 here and have it
    computed there again, beside the file's own, which is what the manifest holds.
    """
    url = client.minio.get_presigned_url(
        "PUT",
        bucket,
        name,
        expires=PART_LIFE,
        extra_query_params={"uploadId": upload_id, "partNumber": str(number)},
    )
    checksum = base64.b64encode(zlib.crc32(content).to_bytes(4, "big")).decode("ascii")
    response = client.pool.urlopen("PUT", url, body=content, headers={CRC32_HEADER: checksum})
    if response.status != HTTP_OK:
        if response.data.lstrip().startswith(b"<?xml"):
            raise S3Error.fromxml(response)
        raise ServerError(f"status {response.status}", response.status)
    return Part(number, response.headers["ETag"].strip('"'))


def read_from(client: StoreClient, bucket: str, name: str, offset: int, size_bytes: int) -> Iterator[bytes]:
    """Yield the bytes of an object from `offset` on, in chunks; for use within `StoreClient.call`.

    Raises:
        BadSizeError: the object is not of that size.
    """
    response = client.minio.get_object(bucket, name, offset=offset, length=size_bytes - offset)
    try:
        total_bytes = int(response.headers["Content-Range"].rpartition("/")[2])
        if total_bytes != size_bytes:
            raise BadSizeError(f"{bucket}/{name}: {total_bytes} bytes, not {size_bytes}")
        while chunk := response.read(CHUNK_BYTES):
            yield chunk
    finally:
        response.close()
        response.release_conn()
