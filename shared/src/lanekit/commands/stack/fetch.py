"""Artifacts of the composed stack to this host: into a folder store, each file verified."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from lanekit.commands.stack.cli import Stack
from lanekit.errors import InputError, LanekitError, StoreError, explain_os_errors
from lanekit.plan.graph import ArtifactRef
from lanekit.plan.run_document import RunSpec
from lanekit.results.course import Outcome, make_verify_run
from lanekit.results.outcome import RunOutcome
from lanekit.results.ranking import Ranking
from lanekit.store.folder import FolderStore
from lanekit.store.manifest import Manifest
from lanekit.store.transfer import Place, download_files

INCOMING = "incoming"  # beside the artifacts; not `scratch`, which an embedded run clears
RANKING_NAME = "ranking.json"


@dataclass(frozen=True)
class Wanted:
    """An artifact to bring here, with its manifest."""

    ref: ArtifactRef
    manifest: Manifest


def build_outcome(stack: Stack, ended: RunOutcome) -> Outcome:
    """Return an ended run's outcome as the embedded default has it, its ranking read from the store.

    Raises:
        InputError: nothing was ranked.
    """
    if ended.summary is None:
        raise InputError(
            f"run {ended.run_id} is {ended.phase}, and nothing was ranked: {ended.reason}",
            remedy=f"python scripts/retry.py {ended.run_id}",
        )
    ranking = Ranking.model_validate_json(stack.store.read_file(ended.summary, RANKING_NAME))
    packages = sorted(ended.packages, key=lambda package: package.position)
    return Outcome(
        ranking,
        ended.summary,
        {package.lane: package for package in packages},
        dict(ended.refused),
        dict(ended.passed_over),
    )


def list_all_refs(spec: RunSpec, outcome: Outcome) -> list[ArtifactRef]:
    """Return every artifact that an embedded run would find committed: stages, ranking, packages, checks."""
    refs = [run.ref for run in spec.make_plan().runs.values()]
    refs.append(outcome.summary)
    own = {lane.record.lane: lane.record.engine for lane in outcome.ranking.lanes}
    for name, package in outcome.packages.items():
        check = make_verify_run(package.key, own[name].apply(spec.engine), spec.lock_digests)
        refs += [package, check.ref]
    return refs


def find_wanted(stack: Stack, refs: Iterable[ArtifactRef], *, must_exist: bool) -> list[Wanted]:
    """Return the artifacts that are committed, with their manifests.

    Raises:
        StoreError: one is not there, and all must be.
    """
    refs = list(refs)
    with ThreadPoolExecutor(8) as pool:
        manifests = list(pool.map(stack.store.find_artifact, refs))
    missing = [ref.path for ref, manifest in zip(refs, manifests, strict=True) if manifest is None]
    if missing and must_exist:
        raise StoreError(
            f"not in MinIO any more: {', '.join(missing)}", remedy="enqueue the run again: it is made anew"
        )
    return [Wanted(ref, m) for ref, m in zip(refs, manifests, strict=True) if m is not None]


def mirror_artifacts(stack: Stack, wanted: Iterable[Wanted], store: FolderStore, console: Console) -> int:
    """Bring artifacts into a folder store, the manifest last, and return the bytes that were fetched.

    What is there stays; an interrupted transfer goes on with the files that are missing. Every file's
    sha256 is compared with the manifest.

    Raises:
        CorruptArtifactError: an artifact is not what its manifest says.
        StoreError: MinIO or the disk.
    """
    distinct = {item.ref.path: item for item in wanted}
    missing = [item for item in distinct.values() if not is_mirrored(store, item.ref)]
    if not missing:
        return 0
    total_bytes = sum(item.manifest.size_bytes for item in missing)
    begin = time.monotonic()
    with show_transfer(console) as progress:
        task = progress.add_task("fetching", total=total_bytes)
        done_bytes = 0
        for item in missing:
            progress.update(task, description=item.ref.path)
            folder = store.root / INCOMING / item.ref.bucket / item.ref.name
            place = Place(stack.client, item.ref.bucket, item.ref.name)
            with explain_os_errors(f"fetching {item.ref.path} to {store.root}"):
                folder.mkdir(parents=True, exist_ok=True)
                download_files(place, folder, item.manifest.files, report=partial(progress.advance, task))
            store.publish_artifact(item.ref, folder, item.manifest)
            done_bytes += item.manifest.size_bytes
            progress.update(task, completed=done_bytes)
            if not console.is_terminal:
                rate = done_bytes / 1e6 / max(time.monotonic() - begin, 1e-3)
                console.print(
                    f"fetched {item.ref.path} {item.manifest.size_bytes / 1e6:.1f} MB "
                    f"({done_bytes / 1e6:.1f} of {total_bytes / 1e6:.1f} MB, {rate:.1f} MB/s)",
                    highlight=False, soft_wrap=True,
                )  # fmt: skip
        progress.update(task, description="fetched")
    _remove_empty(store.root / INCOMING)
    return total_bytes


def _remove_empty(folder: Path) -> None:
    """Remove the folders of what was published; what else stands below stays."""
    inner = sorted((path for path in folder.rglob("*") if path.is_dir()), reverse=True)
    for path in (*inner, folder):
        with suppress(OSError):  # not empty
            path.rmdir()


def is_mirrored(store: FolderStore, ref: ArtifactRef) -> bool:
    """Whether a folder store holds an artifact, whole by its sha256."""
    try:
        if store.find_artifact(ref) is None:
            return False
        store.fetch_artifact(ref)
    except LanekitError:
        return False
    return True


@contextmanager
def show_transfer(console: Console) -> Iterator[Progress]:
    """Give a progress bar with MB/s; it draws nothing where there is no terminal."""
    progress = Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
    )
    with progress:
        yield progress
