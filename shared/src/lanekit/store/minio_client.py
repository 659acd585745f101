"""The connection to MinIO: errors that say what to do, and patience where an error may pass."""

from __future__ import annotations

import http.client
import logging
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import ParamSpec, TypeVar
from urllib.parse import urlsplit

import certifi
import structlog
import urllib3
from minio import Minio
from minio.error import InvalidResponseError, S3Error, ServerError
from tenacity import RetryCallState, Retrying, retry_if_exception_type
from tenacity.wait import wait_exponential_jitter
from urllib3.exceptions import HTTPError, MaxRetryError, SSLError

from lanekit.errors import LanekitError, StoreError, TransientError
from lanekit.host.stack_settings import StackSettings

log = structlog.get_logger()
P = ParamSpec("P")
T = TypeVar("T")

REGION = "us-east-1"  # given, so that no request asks for it
CONNECT_SECONDS = 5.0
READ_SECONDS = 60.0
POOL_CONNECTIONS = 32
HTTP_SERVER_ERROR = 500
HTTP_STORAGE_FULL = 507
REFUSED = {"InvalidAccessKeyId", "SignatureDoesNotMatch", "AccessDenied"}
FULL = {"XMinioStorageFull", "XMinioAdminBucketQuotaExceeded"}
PASSING = {
    "SlowDown", "SlowDownRead", "SlowDownWrite", "InternalError", "ServiceUnavailable", "RequestTimeout",
    "XMinioServerNotInitialized", "IncompleteBody", "XAmzContentChecksumMismatch",
    "NoSuchUpload",  # MinIO dropped it meanwhile: the file begins anew
}  # fmt: skip


class MissingObjectError(StoreError):
    """There is no such object."""


@dataclass(frozen=True)
class RetryPolicy:
    """How long an error that may pass is waited out, in seconds; an outage of half a minute is a delay.

    The time counts from the first failure: a file that was sent for minutes before it is no impatience.
    """

    total_seconds: float = 300.0
    first_seconds: float = 0.2
    longest_seconds: float = 10.0


@dataclass(frozen=True)
class StoreClient:
    """A MinIO client with its account's name and its patience; made in the process that uses it."""

    minio: Minio
    access_key: str
    url: str
    retry: RetryPolicy = field(default_factory=RetryPolicy)

    def call(self, doing: str, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Call a method of the client; what may pass is tried again until the policy's time is over.

        Raises:
            TransientError: it did not pass in that time.
            MissingObjectError, StoreError: as `explain_minio_errors` says.
        """

        failing_since = 0.0

        def is_over(state: RetryCallState) -> bool:
            nonlocal failing_since
            now = time.monotonic()
            if state.attempt_number == 1:
                failing_since = now
            return now - failing_since >= self.retry.total_seconds

        def report(state: RetryCallState) -> None:
            error = state.outcome.exception() if state.outcome else None
            cause = error.message if isinstance(error, LanekitError) else str(error)
            wait_seconds = round(state.next_action.sleep, 1) if state.next_action else 0.0
            log.warning("store_retry", doing=doing, attempt=state.attempt_number, wait_s=wait_seconds,
                        cause=cause)  # fmt: skip

        retrying = Retrying(
            retry=retry_if_exception_type(TransientError),
            stop=is_over,
            wait=wait_exponential_jitter(
                multiplier=self.retry.first_seconds,
                max=self.retry.longest_seconds,
                jitter=self.retry.first_seconds,
            ),
            before_sleep=report,
            reraise=True,
        )

        def attempt() -> T:
            with explain_minio_errors(doing, access_key=self.access_key, url=self.url):
                return function(*args, **kwargs)

        return retrying(attempt)


def make_pool(settings: StackSettings) -> urllib3.PoolManager:
    """Return the HTTP connections to MinIO, with short time limits; retrying is `StoreClient.call`'s."""
    return urllib3.PoolManager(
        timeout=urllib3.Timeout(connect=CONNECT_SECONDS, read=READ_SECONDS),
        maxsize=POOL_CONNECTIONS,
        cert_reqs="CERT_REQUIRED",
        ca_certs=str(settings.ca) if settings.ca else certifi.where(),
        retries=urllib3.Retry(total=1, backoff_factor=0.1),
    )


def parse_endpoint(settings: StackSettings) -> tuple[str, bool]:
    """Return host:port and whether TLS is used; the settings have checked the URL."""
    parts = urlsplit(settings.minio_url)
    return parts.netloc, parts.scheme == "https"


def make_client(settings: StackSettings, retry: RetryPolicy | None = None) -> StoreClient:
    """Return a client; nothing is sent yet."""
    endpoint, secure = parse_endpoint(settings)
    # It would log every connection that it opens again; what fails for good is told by us.
    logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)
    minio = Minio(
        endpoint,
        access_key=settings.minio_access_key,
        secret_key=settings.minio_secret_key.get_secret_value(),
        secure=secure,
        region=REGION,
        http_client=make_pool(settings),
    )
    return StoreClient(minio, settings.minio_access_key, settings.minio_url, retry or RetryPolicy())


@contextmanager
def explain_minio_errors(doing: str, *, access_key: str = "", url: str = "") -> Iterator[None]:
    """Turn what the client raises into errors that name the thing and a remedy.

    Raises:
        TransientError: the network, or a server that is starting, stopping or busy.
        MissingObjectError: there is no such object.
        StoreError: the account is refused, a bucket is missing, MinIO's disk is full, or another answer.
    """
    try:
        yield
    except S3Error as error:
        raise _explain_answer(error, doing, access_key) from error
    except (ServerError, InvalidResponseError) as error:
        status = error.status_code if isinstance(error, ServerError) else int(error._code)
        raise _explain_status(status, doing, url) from error
    except (HTTPError, http.client.HTTPException, ConnectionError, TimeoutError) as error:
        if isinstance(error, MaxRetryError) and isinstance(error.reason, SSLError):
            raise StoreError(
                f"{doing}: the certificate of {url} is not trusted: {error.reason}",
                remedy="set LANEKIT_CA to the file of the CA that signed it",
            ) from error
        raise TransientError(
            f"{doing}: MinIO at {url} does not answer ({type(error).__name__})",
            remedy="docker compose up -d --wait; on another host check LANEKIT_MINIO_URL and the firewall",
        ) from error
    except ElementTree.ParseError as error:
        raise TransientError(
            f"{doing}: MinIO at {url} broke off its answer", remedy="docker compose logs minio"
        ) from error


def _explain_answer(error: S3Error, doing: str, access_key: str) -> LanekitError:
    code, status = error.code or "", error.response.status
    bucket = error.bucket_name or "?"
    if code in {"NoSuchKey", "NoSuchVersion"}:
        return MissingObjectError(
            f"{doing}: no such object: {bucket}/{error.object_name}",
            remedy="run the lanes that make it again",
        )
    if code in REFUSED:
        return StoreError(
            f"{doing}: MinIO refuses access key '{access_key}' on bucket '{bucket}': {code}",
            remedy="check the keys in .env and run: docker compose up setup; "
            "an account may write only what its own stages make",
        )
    if code == "NoSuchBucket":
        return StoreError(f"{doing}: no bucket '{bucket}'", remedy="docker compose up setup")
    if code in FULL or status == HTTP_STORAGE_FULL:
        return StoreError(
            f"{doing}: MinIO's disk is full ({code})",
            remedy="free space on the disk of MinIO's volume, or delete artifacts in its console as "
            "MINIO_ROOT_USER; then run again: what is committed is kept",
        )
    if code == "RequestTimeTooSkewed":
        return StoreError(f"{doing}: the clocks of this host and of MinIO's differ", remedy="set both by NTP")
    if code in PASSING or status >= HTTP_SERVER_ERROR:
        return TransientError(
            f"{doing}: MinIO is not able to answer now: {code}", remedy="docker compose logs minio"
        )
    return StoreError(f"{doing}: MinIO answers {code}: {error.message}", remedy="docker compose logs minio")


def _explain_status(status: int, doing: str, url: str) -> LanekitError:
    if status == HTTP_STORAGE_FULL:
        return StoreError(f"{doing}: MinIO's disk is full", remedy="free space on the disk of MinIO's volume")
    if status >= HTTP_SERVER_ERROR:
        return TransientError(f"{doing}: {url} answers {status}", remedy="docker compose logs minio")
    return StoreError(
        f"{doing}: what answers at {url} is not MinIO's S3 interface (status {status})",
        remedy="give MinIO's S3 port (9000), not the console's (9001)",
    )
