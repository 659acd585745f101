"""Keeping a folder store that is a cache within its bound."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Collection
from pathlib import Path

from lanekit.errors import CorruptArtifactError
from lanekit.files.owned import adopt_folder
from lanekit.files.pruning import Bound, Kept, choose_removals
from lanekit.plan.graph import Locator
from lanekit.plan.keys import SHORT_KEY_CHARACTERS
from lanekit.spec.stages import BUCKETS
from lanekit.store.folder import FolderStore
from lanekit.store.manifest import MANIFEST_NAME, Manifest, parse_manifest

OWN_ENTRIES = (*BUCKETS, "scratch", "logs", "incoming", ".run.lock")


def prune_cache(root: Path, in_use: Collection[Locator], bound: Bound, now: float | None = None) -> list[str]:
    """Remove artifacts of a cache that is this product's alone until its bound holds; return their places.

    Only for a caller that holds the store's run lock. Nothing goes of a folder that holds anything else, and
    no folder that is not an artifact with its manifest.

    Args:
        in_use: what was used just now; it stays, whatever its size.
    """
    if not adopt_folder(root, lambda entry: entry.name in OWN_ENTRIES):
        return []
    moment = time.time() if now is None else now
    store, kept, used_bytes = FolderStore(root), [], 0
    fresh = {store.locate(locator) for locator in in_use}
    for folder in (path for bucket in BUCKETS for path in sorted((root.resolve() / bucket).glob("*-*"))):
        manifest = _read_artifact(folder)
        if manifest is None:
            continue
        place = folder / MANIFEST_NAME
        if folder in fresh:
            os.utime(place, (moment, moment))
            used_bytes += manifest.size_bytes
        else:
            kept.append(Kept(folder, manifest.size_bytes, place.stat().st_mtime))
    rest = Bound(bound.size_bytes - used_bytes, bound.age_s)
    removed = choose_removals(kept, rest, moment)
    for folder in removed:
        (folder / MANIFEST_NAME).unlink(missing_ok=True)  # first: what a kill leaves is no artifact
        shutil.rmtree(folder, ignore_errors=True)
    return [f"{folder.parent.name}/{folder.name}" for folder in removed]


def _read_artifact(folder: Path) -> Manifest | None:
    try:
        manifest = parse_manifest((folder / MANIFEST_NAME).read_bytes(), str(folder))
    except (OSError, CorruptArtifactError):
        return None
    is_named = folder.name == manifest.name and folder.name.endswith(manifest.key[:SHORT_KEY_CHARACTERS])
    return manifest if is_named else None
