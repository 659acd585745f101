"""One stage run, from its inputs in the store to its artifact in the store."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Protocol

from lanekit.errors import explain_os_errors
from lanekit.files.hashing import list_files
from lanekit.files.model_folder import read_notes
from lanekit.plan.graph import Locator, StageRun
from lanekit.progress import Progress
from lanekit.store.base import ArtifactStore
from lanekit.store.card import CARD_NAME, render_card
from lanekit.store.manifest import Manifest, make_manifest

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Measured:
    """What the worker saw of a stage: seconds, peak bytes of memory, versions of its libraries."""

    seconds: float
    peak_rss_bytes: int = 0
    peak_gpu_bytes: int = 0
    versions: dict[str, str] = field(default_factory=dict)


class StageCaller(Protocol):
    """Runs a stage's function somewhere: in a child process, or in this one."""

    def __call__(self, run: StageRun, inputs: Mapping[str, Path], out: Path, progress: Progress) -> Measured:
        """Run the stage; raise LanekitError where it fails."""


def execute_stage(
    run: StageRun,
    inputs: Mapping[str, Locator],
    store: ArtifactStore,
    call: StageCaller,
    progress: Progress,
) -> Manifest:
    """Run a stage on its committed inputs and commit its artifact, unless it is committed already.

    Raises:
        LanekitError: an input is corrupt, the stage fails, or the result cannot be written. Nothing
            half-written is ever committed.
    """
    existing = store.find_artifact(run)
    if existing is not None:
        return existing
    scratch = store.make_scratch(run.name)
    try:
        started_at = datetime.now(timezone.utc)
        with store.open_artifacts(inputs) as folders, store.open_sources(run.params) as params:
            measured = call(replace(run, params=params), folders, scratch, progress)
        with explain_os_errors(f"reading the result of {run.name}"):
            write_card(run, inputs, scratch)
            manifest = make_manifest(
                run,
                scratch,
                started_at=started_at,
                seconds=measured.seconds,
                peak_rss_bytes=measured.peak_rss_bytes,
                peak_gpu_bytes=measured.peak_gpu_bytes,
                versions=measured.versions,
                notes=read_notes(scratch),
            )
        store.publish_artifact(run, scratch, manifest)
        return manifest
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def write_card(run: StageRun, inputs: Mapping[str, Locator], folder: Path) -> None:
    """Write an artifact's README.md, the model card that people read in the store's browser."""
    sizes = {path.relative_to(folder).as_posix(): path.stat().st_size for path in list_files(folder)}
    places = {role: f"{locator.bucket}/{locator.name}" for role, locator in inputs.items()}
    (folder / CARD_NAME).write_text(render_card(run, places, sizes), encoding="utf-8")
