"""The artifact store's interface, and the folder store behind the embedded default."""

from __future__ import annotations

import errno
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Protocol

from lanekit.errors import StoreError
from lanekit.manifest import MANIFEST_NAME, Manifest, check_files, parse_manifest
from lanekit.params import Parameters
from lanekit.plan import Locator, StageRun


class ArtifactStore(Protocol):
    """Where artifacts live: a folder, or MinIO. Both keep the same promises."""

    def find_artifact(self, locator: Locator) -> Manifest | None:
        """Return the manifest of a committed artifact, None where there is none.

        Raises:
            CorruptArtifactError: there is a manifest, but not a readable one.
        """

    def read_file(self, locator: Locator, name: str) -> bytes:
        """Return one small file of a committed artifact, checked against its manifest."""

    def load_run(self, path: str) -> StageRun:
        """Return the run behind a committed artifact named "bucket/name", read from its manifest."""

    def open_artifacts(self, locators: Mapping[str, Locator]) -> AbstractContextManager[dict[str, Path]]:
        """Give local, verified, read-only folders of artifacts for as long as they are used."""

    def open_sources(self, params: Parameters) -> AbstractContextManager[Parameters]:
        """Give parameters whose local sources are readable on this host."""

    def publish_artifact(self, locator: Locator, folder: Path, manifest: Manifest) -> None:
        """Commit a folder's files; the manifest goes last. The folder is the store's from then on."""

    def make_scratch(self, name: str) -> Path:
        """Return a new empty folder for a stage's output."""


@contextmanager
def explain_os_errors(doing: str) -> Iterator[None]:
    """Turn a full disk or a missing right into a StoreError that says what to do."""
    try:
        yield
    except OSError as error:
        remedies = {
            errno.ENOSPC: "free space on that disk, then run again: what is committed is kept",
            errno.EDQUOT: "the disk quota is used up: free space, then run again",
            errno.EACCES: "give this user the right to write there, or pass another --store",
            errno.EPERM: "give this user the right to write there, or pass another --store",
            errno.EROFS: "the file system is read-only: pass another --store",
            errno.ENOTDIR: "a part of this path is a file, not a folder: pass another --store",
            errno.EEXIST: "a file stands where a folder is needed: pass another --store",
        }
        raise StoreError(
            f"{doing}: {error.strerror or error} ({error.filename or 'no file named'})",
            remedy=remedies.get(error.errno or 0, "check the disk, then run again"),
        ) from error


class FolderStore:
    """Artifacts as `root/bucket/name-key12/` folders.

    Raises:
        StoreError: the root cannot be made or written.
    """

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()
        self._verified: set[str] = set()
        with explain_os_errors(f"the store {self.root} is not writable"):
            self.scratch_root.mkdir(parents=True, exist_ok=True)
            probe = self.scratch_root / f".probe-{uuid.uuid4().hex}"
            probe.write_bytes(b"x")
            probe.unlink()

    @property
    def scratch_root(self) -> Path:
        """Where unfinished outputs stand."""
        return self.root / "scratch"

    def locate(self, locator: Locator) -> Path:
        """Return the folder of an artifact, whether it exists or not."""
        return self.root / locator.bucket / locator.name

    def find_artifact(self, locator: Locator) -> Manifest | None:
        """See ArtifactStore."""
        path = self.locate(locator) / MANIFEST_NAME
        if not path.is_file():
            return None
        with explain_os_errors(f"reading {path}"):
            content = path.read_bytes()
        manifest = parse_manifest(content, str(path))
        return manifest if manifest.key == locator.key else None

    def fetch_artifact(self, locator: Locator) -> Path:
        """Return an artifact's verified folder. Content is hashed once per store object, sizes always.

        Raises:
            StoreError: the artifact is not there.
            CorruptArtifactError: it differs from its manifest.
        """
        manifest = self.find_artifact(locator)
        folder = self.locate(locator)
        if manifest is None:
            raise StoreError(f"{folder}: no such artifact", remedy="run the lanes that make it first")
        check_files(manifest, folder, hashes=locator.key not in self._verified)
        self._verified.add(locator.key)
        return folder

    def read_file(self, locator: Locator, name: str) -> bytes:
        """See ArtifactStore."""
        path = self.fetch_artifact(locator) / name
        with explain_os_errors(f"reading {path}"):
            return path.read_bytes()

    @contextmanager
    def open_artifacts(self, locators: Mapping[str, Locator]) -> Iterator[dict[str, Path]]:
        """See ArtifactStore."""
        yield {role: self.fetch_artifact(locator) for role, locator in locators.items()}

    @contextmanager
    def open_sources(self, params: Parameters) -> Iterator[Parameters]:
        """See ArtifactStore. Local sources stand on this host already."""
        yield params

    def load_run(self, path: str) -> StageRun:
        """Return the run behind a committed artifact named "bucket/name", read from its manifest.

        Raises:
            StoreError: there is no such artifact.
        """
        manifest_path = self.root / path / MANIFEST_NAME
        if not manifest_path.is_file():
            raise StoreError(
                f"{self.root / path}: no such artifact", remedy="evaluate the model again with this --store"
            )
        return parse_manifest(manifest_path.read_text(encoding="utf-8"), str(manifest_path)).make_run()

    def publish_artifact(self, locator: Locator, folder: Path, manifest: Manifest) -> None:
        """See ArtifactStore. The folder is moved; an unfinished leftover in its place is replaced."""
        target = self.locate(locator)
        with explain_os_errors(f"publishing {locator.name} to {self.root}"):
            if self.find_artifact(locator) is not None:  # another run was faster: the content is equal
                shutil.rmtree(folder)
                return
            for path in sorted(p for p in folder.rglob("*") if p.is_file()):
                _sync(path)
            if target.exists():
                shutil.rmtree(target)
            target.parent.mkdir(parents=True, exist_ok=True)
            folder.rename(target)
            partial = target / f".{MANIFEST_NAME}.partial"
            partial.write_text(manifest.model_dump_json(indent=2) + "\n", encoding="utf-8")
            _sync(partial)
            partial.rename(target / MANIFEST_NAME)
            _sync(target)
        self._verified.add(locator.key)

    def make_scratch(self, name: str) -> Path:
        """See ArtifactStore."""
        folder = self.scratch_root / f"{name}-{uuid.uuid4().hex[:8]}"
        with explain_os_errors(f"making room for {name}"):
            folder.mkdir(parents=True)
        return folder

    def clear_scratch(self) -> int:
        """Remove what killed runs left behind; only for a caller that holds the store's run lock."""
        leftovers = [p for p in self.scratch_root.iterdir() if p.is_dir()]
        for folder in leftovers:
            shutil.rmtree(folder, ignore_errors=True)
        return len(leftovers)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
