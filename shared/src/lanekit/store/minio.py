"""The artifact store in MinIO: `bucket/name/<files>`, the manifest last; local copies in the host's cache."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from hashlib import sha256
from pathlib import Path

import structlog

from lanekit.errors import LanekitError, StoreError
from lanekit.plan.graph import Locator, StageRun
from lanekit.spec.params import Parameters
from lanekit.store.base import ManifestPolicy
from lanekit.store.cache import ArtifactCache
from lanekit.store.local_sources import fetch_source, find_local_digests, put_local_paths
from lanekit.store.manifest import MANIFEST_NAME, Manifest
from lanekit.store.minio_client import MissingObjectError, StoreClient
from lanekit.store.objects import Place, put_object, read_object
from lanekit.store.scratch import Scratch
from lanekit.store.transfer import download_files, find_differing, upload_files

log = structlog.get_logger()

PUBLISH_ROUNDS = 3
REMEMBERED_FILES = 256
REMEMBERED_FILE_BYTES = 1 << 20


class MinioStore:
    """Artifacts in MinIO's buckets; see store.base.ArtifactStore.

    Args:
        client: made in this process.
        cache: the host's; a process that only looks (the controller, a script) needs none.
    """

    def __init__(self, client: StoreClient, cache: ArtifactCache | None = None) -> None:
        self.client = client
        self._cache = cache
        self._scratch = Scratch(cache.root / "scratch") if cache else None
        self._contents: dict[str, bytes] = {}
        self._manifests = ManifestPolicy()

    def find_artifact(self, locator: Locator) -> Manifest | None:
        """See ArtifactStore. MinIO is asked every time: an artifact may have been deleted."""
        manifest = self._read_manifest(locator.bucket, locator.name)
        return manifest if manifest is not None and manifest.key == locator.key else None

    def read_file(self, locator: Locator, name: str) -> bytes:
        """See ArtifactStore.

        Raises:
            StoreError: there is no such artifact, or no such file in it.
            CorruptArtifactError: the content is not the manifest's.
        """
        place, entry = self._locate(locator), self._require(locator).files.get(name)
        if entry is None:
            raise StoreError(
                f"{place.show(name)}: no such file in the artifact",
                remedy="it was made by another version: run the lanes that make it with this one",
            )
        if entry.sha256 in self._contents:
            return self._contents[entry.sha256]
        try:
            content = read_object(self.client, place.bucket, place.name(name))
        except MissingObjectError:
            raise place.explain_corruption(name, "missing from the artifact") from None
        if len(content) != entry.size_bytes or sha256(content).hexdigest() != entry.sha256:
            raise place.explain_corruption(name, "truncated or changed")
        if len(content) <= REMEMBERED_FILE_BYTES:
            if len(self._contents) >= REMEMBERED_FILES:
                self._contents.pop(next(iter(self._contents)))
            self._contents[entry.sha256] = content
        return content

    def load_run(self, path: str) -> StageRun:
        """See ArtifactStore.

        Raises:
            StoreError: there is no such artifact.
        """
        bucket, _, name = path.partition("/")
        manifest = self._read_manifest(bucket, name)
        if manifest is None:
            raise StoreError(f"{path}: no such artifact in MinIO", remedy="run the lanes that make it again")
        return manifest.make_run()

    @contextmanager
    def open_artifacts(self, locators: Mapping[str, Locator]) -> Iterator[dict[str, Path]]:
        """See ArtifactStore.

        Raises:
            StoreError: an artifact is not there, or the disk is full.
            CorruptArtifactError: an object is not what the manifest says; nothing of it stays here.
        """
        with ExitStack() as stack:
            yield {role: stack.enter_context(self._hold(locator)) for role, locator in locators.items()}

    @contextmanager
    def open_sources(self, params: Parameters) -> Iterator[Parameters]:
        """See ArtifactStore. Sources that `sources.publish_source` stored are brought into the cache."""
        with ExitStack() as stack:
            paths = {
                digest: stack.enter_context(fetch_source(self.client, self.cache, digest))
                for digest in find_local_digests(params)
            }
            yield put_local_paths(params, paths)

    def publish_artifact(self, locator: Locator, folder: Path, manifest: Manifest) -> None:
        """See ArtifactStore. The folder goes into the cache, for the next stage on this host.

        Raises:
            CorruptArtifactError: a file changed since the manifest was made; nothing is committed.
            StoreError: MinIO refuses, or is full.
        """
        with self.cache.claim(f"{locator.bucket}/{locator.name}") as adopt:
            if self._commit(locator, folder, manifest) and adopt is not None:
                try:
                    _write_manifest(folder, manifest)
                    adopt(folder, manifest.files)
                except (LanekitError, OSError) as error:  # it is committed: the cache is a convenience
                    log.warning("cache_not_filled", artifact=locator.name, cause=str(error))
        shutil.rmtree(folder, ignore_errors=True)

    def make_scratch(self, name: str) -> Path:
        """See ArtifactStore."""
        if self._scratch is None:
            raise _explain_no_cache()
        return self._scratch.make(name)

    def clear_scratch(self) -> int:
        """Remove what killed workers of this host left unfinished; that of living ones stays."""
        return self._scratch.clear_dead() if self._scratch else 0

    @property
    def cache(self) -> ArtifactCache:
        """The host's cache.

        Raises:
            StoreError: this store has none.
        """
        if self._cache is None:
            raise _explain_no_cache()
        return self._cache

    def _locate(self, locator: Locator) -> Place:
        return Place(self.client, locator.bucket, locator.name)

    def _require(self, locator: Locator) -> Manifest:
        manifest = self.find_artifact(locator)
        if manifest is None:
            raise StoreError(
                f"{locator.bucket}/{locator.name}: no such artifact in MinIO",
                remedy="run the lanes that make it again",
            )
        return manifest

    def _read_manifest(self, bucket: str, name: str) -> Manifest | None:
        try:
            content = read_object(self.client, bucket, f"{name}/{MANIFEST_NAME}")
        except MissingObjectError:
            return None
        return self._manifests.read(content, f"{bucket}/{name}/{MANIFEST_NAME}")

    @contextmanager
    def _hold(self, locator: Locator) -> Iterator[Path]:
        manifest, place = self._require(locator), self._locate(locator)

        def fetch(folder: Path) -> None:
            download_files(place, folder, manifest.files)
            _write_manifest(folder, manifest)

        with self.cache.hold(f"{locator.bucket}/{locator.name}", manifest.files, fetch) as folder:
            yield folder

    def _commit(self, locator: Locator, folder: Path, manifest: Manifest) -> bool:
        """Send files, then the manifest; return whether the artifact is ours.

        Two workers may hold one job for a while, after one was lost from sight. Whoever is last puts a
        manifest that fits the files that stand there then.
        """
        place, started_at = self._locate(locator), time.monotonic()
        if self.find_artifact(locator) is not None:
            log.info("artifact_there_already", artifact=locator.name)
            return False
        for _ in range(PUBLISH_ROUNDS):
            sent = upload_files(place, folder, manifest.files)
            content = (manifest.model_dump_json(indent=2) + "\n").encode()
            put_object(self.client, place.bucket, place.name(MANIFEST_NAME), content, "application/json")
            if not find_differing(place, manifest.files):
                seconds = round(time.monotonic() - started_at, 3)
                log.info("artifact_published", artifact=locator.name, bucket=locator.bucket,
                         size_bytes=manifest.size_bytes, files_sent=len(sent), seconds=seconds)  # fmt: skip
                return True
        raise StoreError(
            f"{place.bucket}/{place.prefix}: another worker keeps writing the same artifact",
            remedy="stop the worker that is not in `docker compose ps`, then run again",
        )


def _write_manifest(folder: Path, manifest: Manifest) -> None:
    path = folder / MANIFEST_NAME
    path.unlink(missing_ok=True)
    path.write_text(manifest.model_dump_json(indent=2) + "\n", encoding="utf-8")


def _explain_no_cache() -> StoreError:
    return StoreError(
        "this process has no cache: it can look at artifacts, not open or make them",
        remedy="give MinioStore an ArtifactCache",
    )
