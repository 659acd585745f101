"""The artifact store's interface: a folder and MinIO keep the same promises."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from lanekit.plan.graph import Locator, StageRun
from lanekit.spec.params import Parameters
from lanekit.store.manifest import Manifest


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
