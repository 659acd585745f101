"""Small documents of runs in the bucket `results`: `runs/<run_id>/<name>`, logs, and the newest summary."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from minio.commonconfig import CopySource

from lanekit.store.minio_client import MissingObjectError, StoreClient
from lanekit.store.objects import put_object, read_object

BUCKET = "results"
JSON = "application/json"
TEXT = "text/plain; charset=utf-8"


class RunPaths:
    """The names of a run's documents; in the bucket they stand below `runs/<run_id>/`."""

    ROOT = "runs/"
    RUN = "run.json"
    OUTCOME = "outcome.json"
    CANCELLED = "cancelled.json"
    FAILURES = "failures/"

    @classmethod
    def place(cls, run_id: str, name: str = "") -> str:
        """Return where a document stands in the bucket; without a name, the run's folder."""
        return f"{cls.ROOT}{run_id}/{name}"

    @classmethod
    def failure(cls, stage_key: str) -> str:
        """Return the name of a stage's final failure."""
        return f"{cls.FAILURES}{stage_key}.json"

    @classmethod
    def find_stage_key(cls, name: str) -> str | None:
        """Return the stage key that a failure's name holds; None for a document of another kind."""
        is_failure = name.startswith(cls.FAILURES) and name.endswith(".json")
        return name.removeprefix(cls.FAILURES).removesuffix(".json") if is_failure else None


class RunDocuments:
    """The documents of all runs.

    Every method raises TransientError or StoreError as minio_client says.
    """

    def __init__(self, client: StoreClient) -> None:
        self.client = client

    def write(
        self, run_id: str, name: str, content: Mapping[str, Any] | bytes, content_type: str = JSON
    ) -> None:
        """Store a document, in place of an older one."""
        if not isinstance(content, bytes):
            content = (json.dumps(content, ensure_ascii=False, indent=2) + "\n").encode()
        put_object(self.client, BUCKET, RunPaths.place(run_id, name), content, content_type)

    def read(self, run_id: str, name: str) -> bytes | None:
        """Return a document, None where there is none."""
        try:
            return read_object(self.client, BUCKET, RunPaths.place(run_id, name))
        except MissingObjectError:
            return None

    def list_runs(self) -> list[str]:
        """Return the ids of the runs that have a run.json, sorted."""
        parts = (name.split("/") for name in self._list(RunPaths.ROOT))
        return sorted(run_id for _, run_id, *rest in parts if rest == [RunPaths.RUN])

    def list_names(self, run_id: str, prefix: str = "") -> list[str]:
        """Return the names of a run's documents that begin with `prefix`, sorted."""
        start = RunPaths.place(run_id)
        return sorted(name.removeprefix(start) for name in self._list(start + prefix))

    def delete(self, run_id: str, name: str) -> None:
        """Delete a document; one that is not there is no error."""
        path = RunPaths.place(run_id, name)
        self.client.call(f"deleting {BUCKET}/{path}", lambda: self.client.minio.remove_object(BUCKET, path))

    def copy_to_top(self, run_id: str, names: Iterable[str]) -> None:
        """Copy documents of a run to the top of the bucket, where a person looks first."""
        for name in names:
            source = CopySource(BUCKET, RunPaths.place(run_id, name))
            doing = f"copying {name} of {run_id} to the top of {BUCKET}"
            self.client.call(doing, self.client.minio.copy_object, BUCKET, name, source)

    def _list(self, prefix: str) -> list[str]:
        def read() -> list[str]:
            found = self.client.minio.list_objects(BUCKET, prefix=prefix, recursive=True)
            return [str(item.object_name) for item in found]

        return self.client.call(f"listing {BUCKET}/{prefix}", read)


def upload_log(client: StoreClient, name: str, path: Path) -> None:
    """Store a stage's log as `results/logs/<name>.log`; MinIO deletes it after a month."""
    client.call(
        f"writing {BUCKET}/logs/{name}.log",
        lambda: client.minio.fput_object(BUCKET, f"logs/{name}.log", str(path), content_type=TEXT),
    )
