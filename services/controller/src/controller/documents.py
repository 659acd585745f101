"""The documents of runs, as the controller uses them; see lanekit.store.documents.RunDocuments."""

from __future__ import annotations

from typing import Protocol

from pydantic import ValidationError

from lanekit.jobs.messages import FailureReport
from lanekit.store.documents import BUCKET, RunDocuments, RunPaths

JSON_TYPE = "application/json"


class Documents(Protocol):
    """Documents under `runs/<run_id>/` of the bucket `results`; names are relative to that."""

    def write(self, run_id: str, name: str, content: bytes, content_type: str) -> None:
        """Write one, or replace it."""

    def read(self, run_id: str, name: str) -> bytes | None:
        """Return one; None where there is none."""

    def list_runs(self) -> list[str]:
        """Return the ids of all runs, sorted."""

    def list_names(self, run_id: str, prefix: str) -> list[str]:
        """Return the names that begin with `prefix`."""

    def copy_to_top(self, run_id: str, names: list[str]) -> None:
        """Copy documents of a run to the bucket's top."""


class RunFolders(RunDocuments):
    """The documents, with a listing of runs that costs one entry a run: it is made every second."""

    def list_runs(self) -> list[str]:
        """Return the ids of all runs; one may lack its run.json yet."""

        def read() -> list[str]:
            found = self.client.minio.list_objects(BUCKET, prefix=RunPaths.ROOT, recursive=False)
            return [str(item.object_name) for item in found]

        names = self.client.call(f"listing {BUCKET}/{RunPaths.ROOT}", read)
        return sorted(name.removeprefix(RunPaths.ROOT).rstrip("/") for name in names if name.endswith("/"))


def parse_final_failure(content: bytes) -> FailureReport:
    """Parse a failure document; an unreadable one still is a failure."""
    try:
        return FailureReport.model_validate_json(content)
    except ValidationError:
        return FailureReport(
            message="the stage failed, and the document that says why cannot be read",
            remedy="scripts/retry.py RUN",
        )
