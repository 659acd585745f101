"""The store as the controller reads it: what was once seen as committed is not asked for again."""

from __future__ import annotations

from collections.abc import Iterable

from lanekit.plan.graph import Locator, StageRun
from lanekit.store.base import ArtifactReader
from lanekit.store.manifest import Manifest


class CommittedStore:
    """Remembers positive answers: an artifact never changes. `forget` is for those that may be deleted."""

    def __init__(self, store: ArtifactReader) -> None:
        self._store = store
        self._manifests: dict[str, Manifest] = {}
        self._files: dict[tuple[str, str], bytes] = {}
        self._runs: dict[str, StageRun] = {}

    def is_known(self, key: str) -> bool:
        """Whether it was seen as committed; the store is not asked."""
        return key in self._manifests

    def recall(self, key: str) -> Manifest | None:
        """Return the manifest of what was seen as committed; the store is not asked."""
        return self._manifests.get(key)

    def find_artifact(self, locator: Locator) -> Manifest | None:
        """See ArtifactReader."""
        manifest = self._manifests.get(locator.key) or self._store.find_artifact(locator)
        if manifest is not None:
            self._manifests[locator.key] = manifest
        return manifest

    def read_file(self, locator: Locator, name: str) -> bytes:
        """See ArtifactReader."""
        place = (locator.key, name)
        if place not in self._files:
            self._files[place] = self._store.read_file(locator, name)
        return self._files[place]

    def load_run(self, path: str) -> StageRun:
        """See ArtifactReader."""
        if path not in self._runs:
            self._runs[path] = self._store.load_run(path)
        return self._runs[path]

    def forget(self, keys: Iterable[str]) -> None:
        """Ask the store anew for these."""
        gone = set(keys)
        self._manifests = {key: m for key, m in self._manifests.items() if key not in gone}
        self._files = {place: content for place, content in self._files.items() if place[0] not in gone}
        self._runs = {path: run for path, run in self._runs.items() if run.key not in gone}
