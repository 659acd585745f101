"""The artifact store's interface, and the folder store behind the embedded default."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from lanekit.errors import StoreError, explain_os_errors
from lanekit.files.atomic import write_text_atomically
from lanekit.plan.graph import Locator, StageRun
from lanekit.plan.keys import SHORT_KEY_CHARACTERS
from lanekit.spec.params import Parameters
from lanekit.store.base import ManifestPolicy
from lanekit.store.manifest import MANIFEST_NAME, Manifest, check_files
from lanekit.store.scratch import Scratch


class FolderStore:
    """Artifacts as `root/bucket/name-key12/` folders. Nothing is written before `prepare` or a commit."""

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()
        self._verified: set[str] = set()
        self._manifests = ManifestPolicy()
        self._scratch = Scratch(self.scratch_root)

    def prepare(self) -> None:
        """Make the root and try to write there, and remove what killed runs left unfinished.

        Raises:
            StoreError: the root cannot be made or written.
        """
        with explain_os_errors(f"the store {self.root} is not writable"):
            self.scratch_root.mkdir(parents=True, exist_ok=True)
            probe = self.scratch_root / f".probe-{uuid.uuid4().hex}"
            probe.write_bytes(b"x")
            probe.unlink()
            self._scratch.clear_dead()

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
        manifest = self._read_manifest(path)
        return manifest if manifest is not None and manifest.key == locator.key else None

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
            StoreError: there is no such artifact, or one of another version.
        """
        manifest_path = self.root / path / MANIFEST_NAME
        manifest = self._read_manifest(manifest_path) if manifest_path.is_file() else None
        if manifest is None:
            raise StoreError(
                f"{self.root / path}: no such artifact", remedy="evaluate the model again with this --store"
            )
        return manifest.make_run()

    def find_by_key(self, key: str, buckets: Iterable[str]) -> Manifest | None:
        """Return the manifest of a committed artifact of which the key alone is known."""
        for bucket in buckets if key else ():
            for path in self.root.glob(f"{bucket}/*-{key[:SHORT_KEY_CHARACTERS]}/{MANIFEST_NAME}"):
                manifest = self._read_manifest(path)
                if manifest is not None and manifest.key == key:
                    return manifest
        return None

    def publish_artifact(self, locator: Locator, folder: Path, manifest: Manifest) -> None:
        """See ArtifactStore. The folder is moved; an unfinished leftover in its place is replaced."""
        target = self.locate(locator)
        with explain_os_errors(f"publishing {locator.name} to {self.root}"):
            if self.find_artifact(locator) is not None:  # another run was faster: the content is equal
                shutil.rmtree(folder)
                return
            for path in sorted(p for p in folder.rglob("*") if p.is_file()):
                _sync(path)
            target.parent.mkdir(parents=True, exist_ok=True)
            replaced = self.make_scratch(f"replaced-{locator.name}")
            if target.exists():
                target.rename(replaced / target.name)
            folder.rename(target)
            shutil.rmtree(replaced, ignore_errors=True)
            text = manifest.model_dump_json(indent=2) + "\n"
            write_text_atomically(target / MANIFEST_NAME, text, durable=True)
            _sync(target)
        self._verified.add(locator.key)

    def make_scratch(self, name: str) -> Path:
        """See ArtifactStore."""
        return self._scratch.make(name)

    def close(self) -> None:
        """Remove this process's unfinished outputs."""
        self._scratch.close()

    def _read_manifest(self, path: Path) -> Manifest | None:
        with explain_os_errors(f"reading {path}"):
            content = path.read_bytes()
        return self._manifests.read(content, str(path))


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
