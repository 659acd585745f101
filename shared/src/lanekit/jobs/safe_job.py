"""Jobs that are data: nothing that stands in Redis chooses what code runs here.

RQ's own job class unpickles, imports the function and the callbacks that a job names, and calls webhooks.
This one reads a bounded JSON payload and a few plain fields, and ignores the rest of the hash. Its data is
[FUNCTION, null, [], {"payload": <messages.StageJob>}].
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from datetime import datetime
from typing import Any, NoReturn

from redis import Redis
from rq.job import Job, JobStatus, validate_job_id
from rq.queue import Queue
from rq.serializers import JSONSerializer
from rq.utils import str_to_date

from lanekit.errors import InputError
from lanekit.jobs import messages

# A word that every job holds and that is compared, never imported: older workers and queues know it by this.
FUNCTION = "lanekit.stage_worker.perform"
MAX_DATA_BYTES = 16 << 20
MAX_TTL_SECONDS = 7 * 24 * 3600
RESULT_TTL_SECONDS = 3600
FAILURE_TTL_SECONDS = 3600
NO_TIMEOUT = -1
REMEDY = "only the controller fills the queues: see who else has the password of Redis"


class SafeJob(Job):
    """A job whose hash may be anybody's: reading it never raises, and never imports or unpickles."""

    def __init__(
        self, id: str | None = None, connection: Redis | None = None, serializer: Any = None
    ) -> None:
        super().__init__(id=id, connection=connection, serializer=JSONSerializer)
        self.unreadable = ""

    def restore(self, raw_data: Mapping[bytes, bytes]) -> None:
        """Take what is known of a hash; `unreadable` says why its payload cannot be read."""
        fields = {name.decode(errors="replace"): value for name, value in raw_data.items()}

        def text(name: str) -> str:
            return fields.get(name, b"").decode(errors="replace")

        self._data, self.unreadable = unpack_data(fields.get("data"))
        self.created_at = _read_date(text("created_at")) or self.created_at
        self.enqueued_at = _read_date(text("enqueued_at"))
        self.started_at = _read_date(text("started_at"))
        self.origin = text("origin")
        self.worker_name = text("worker_name") or None
        self.description = text("description")[:200]
        self.timeout = NO_TIMEOUT
        self.result_ttl = _read_ttl(text("result_ttl"), RESULT_TTL_SECONDS)
        self.failure_ttl = _read_ttl(text("failure_ttl"), FAILURE_TTL_SECONDS)
        known = text("status") in {status.value for status in JobStatus}
        self._status = JobStatus(text("status")) if known else JobStatus.CREATED

    def read_stage_job(self) -> messages.StageJob:
        """Return the payload.

        Raises:
            InputError: it is no stage job for our one function.
        """
        if self.unreadable:
            raise InputError(f"the queue holds a job that is none: {self.unreadable}", remedy=REMEDY)
        try:
            parts = json.loads(self.data)
        except (ValueError, RecursionError) as error:
            raise InputError(
                f"the queue holds a job that is none: its data is not JSON: {error}", remedy=REMEDY
            ) from error
        if not isinstance(parts, list) or len(parts) != 4:
            raise InputError("the queue holds a job that is none: not four parts", remedy=REMEDY)
        function, instance, arguments, keywords = parts
        if function != FUNCTION or instance is not None:
            named = str(function)[:80]
            raise InputError(
                f"the queue holds a job that names another function: {named!r} (not {FUNCTION})",
                remedy=REMEDY,
            )
        if arguments != [] or not isinstance(keywords, dict) or list(keywords) != ["payload"]:
            raise InputError("the queue holds a job that is none: payload alone is wanted", remedy=REMEDY)
        if not isinstance(keywords["payload"], dict):
            raise InputError("the queue holds a job that is none: its payload is no object", remedy=REMEDY)
        return messages.parse_stage_job(keywords["payload"])

    # What RQ would import, unpickle or call.

    @property
    def func(self) -> Any:
        """Nothing: see read_stage_job."""
        return None

    @property
    def success_callback(self) -> Any:
        """Nothing."""
        return None

    @property
    def failure_callback(self) -> Any:
        """Nothing."""
        return None

    @property
    def stopped_callback(self) -> Any:
        """Nothing."""
        return None

    def perform(self) -> NoReturn:
        """Refuse: stages run in the worker's children alone."""
        raise InputError("a stage job does not run itself", remedy="run python -m lanekit.worker")

    def send_webhooks(self, status: Any, *, exc_string: str | None = None) -> None:
        """Call nobody."""


def unpack_data(raw: bytes | None) -> tuple[bytes, str]:
    """Return a job's data, at most MAX_DATA_BYTES of it, and why it cannot be read."""
    if raw is None:
        return b"", "it has no data"
    try:
        unpacker = zlib.decompressobj()
        data = unpacker.decompress(raw, MAX_DATA_BYTES)
    except zlib.error as error:
        return b"", f"its data is not compressed as RQ does: {error}"
    if unpacker.unconsumed_tail:
        return b"", f"its data is larger than {MAX_DATA_BYTES >> 20} MiB"
    return data, "" if unpacker.eof else "its data is cut off"


def find_job(job_id: str, client: Redis) -> SafeJob | None:
    """Return a job, None where there is none by this id; the id may be anything."""
    try:
        validate_job_id(job_id)
    except ValueError:
        return None
    fields = client.hgetall(SafeJob.key_for(job_id))
    if not fields:
        return None
    job = SafeJob(job_id, connection=client)
    job.restore(fields)  # type: ignore[arg-type]
    return job


def make_queue(name: str, client: Redis) -> Queue:
    """Return a queue of stage jobs."""
    return Queue(name, connection=client, job_class=SafeJob, serializer=JSONSerializer)


def _read_date(text: str) -> datetime | None:
    try:
        return str_to_date(text.encode()) if text else None
    except (ValueError, TypeError):
        return None


def _read_ttl(text: str, default: int) -> int:
    """A life of nought or for ever, or a number that is none, is not the sender's to choose."""
    if not text.isascii() or not text.isdigit() or len(text) > 9:
        return default
    return int(text) if 0 < int(text) <= MAX_TTL_SECONDS else default
