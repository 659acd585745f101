"""The artifact store's interface: a folder and MinIO keep the same promises."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from lanekit.errors import CorruptArtifactError
from lanekit.plan.graph import Locator, StageRun
from lanekit.spec.params import Parameters
from lanekit.store.manifest import Manifest, parse_manifest

log = logging.getLogger(__name__)


class ArtifactReader(Protocol):
    """What is read of artifacts without fetching them."""

    def find_artifact(self, locator: Locator) -> Manifest | None:
        """Return the manifest of a committed artifact, None where there is none that can be used."""

    def read_file(self, locator: Locator, name: str) -> bytes:
        """Return one small file of a committed artifact, checked against its manifest."""

    def load_run(self, path: str) -> StageRun:
        """Return the run behind a committed artifact named "bucket/name", read from its manifest."""


class ArtifactStore(ArtifactReader, Protocol):
    """Where artifacts live: a folder, or MinIO. Both keep the same promises."""

    def open_artifacts(self, locators: Mapping[str, Locator]) -> AbstractContextManager[dict[str, Path]]:
        """Give local, verified, read-only folders of artifacts for as long as they are used."""

    def open_sources(self, params: Parameters) -> AbstractContextManager[Parameters]:
        """Give parameters whose local sources are readable on this host."""

    def publish_artifact(self, locator: Locator, folder: Path, manifest: Manifest) -> None:
        """Commit a folder's files; the manifest goes last. The folder is the store's from then on."""

    def make_scratch(self, name: str) -> Path:
        """Return a new empty folder for a stage's output."""


def is_committed(store: ArtifactReader, run: StageRun) -> bool:
    """Whether a run's artifact is there.

    Raises:
        StoreError, TransientError: the store could not be asked.
    """
    return store.find_artifact(run) is not None


class ManifestPolicy:
    """What both stores do about a manifest that is damaged, empty or of another version.

    Its artifact counts as absent, so that the next run makes it anew in its place, and each such place is
    told of once.
    """

    def __init__(self) -> None:
        self._told: set[str] = set()
        self._lock = threading.Lock()

    def read(self, content: bytes, where: str) -> Manifest | None:
        """Return the manifest; None where it cannot be used, with a warning that names `where`."""
        try:
            return parse_manifest(content, where)
        except CorruptArtifactError as error:
            self.warn(where, error.message)
            return None

    def warn(self, where: str, message: str) -> None:
        """Say once that what stands at a place counts as absent."""
        with self._lock:
            is_new = where not in self._told
            self._told.add(where)
        if is_new:
            log.warning("%s; it counts as absent, and the run that needs it makes it anew", message)
