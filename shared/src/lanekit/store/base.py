"""The artifact store's interface: a folder and MinIO keep the same promises."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from lanekit.errors import CorruptArtifactError
from lanekit.plan.graph import Locator, StageRun
from lanekit.spec.params import Parameters
from lanekit.store.manifest import Manifest

log = logging.getLogger(__name__)


class ArtifactReader(Protocol):
    """What is read of artifacts without fetching them."""

    def find_artifact(self, locator: Locator) -> Manifest | None:
        """Return the manifest of a committed artifact, None where there is none.

        Raises:
            CorruptArtifactError: there is a manifest, but not a readable one.
        """

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
    """Whether a run's artifact is there; one with an unreadable manifest is not.

    Raises:
        StoreError, TransientError: the store could not be asked.
    """
    try:
        return store.find_artifact(run) is not None
    except CorruptArtifactError as error:  # who needs it meets it as well, and that failure says so
        log.warning("%s", error)
        return False
