"""What the controller adds to lanekit.store.documents: a cheap listing of runs, and failures that parse."""

from __future__ import annotations

from pydantic import ValidationError

from lanekit.jobs.messages import FailureReport
from lanekit.store.documents import BUCKET, RunDocuments, RunPaths


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
