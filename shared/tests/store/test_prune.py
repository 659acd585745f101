"""A cache of artifacts keeps its bound, and only this product's own artifacts go."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path

import pytest

from lanekit.files.pruning import DAY_S, Bound
from lanekit.plan.graph import StageRun
from lanekit.store.folder import FolderStore
from lanekit.store.manifest import MANIFEST_NAME, make_manifest
from lanekit.store.prune import prune_cache

NOW = 1_800_000_000.0
WIDE = Bound(size_bytes=10_000, age_s=30 * DAY_S)


@pytest.fixture
def runs(tmp_path: Path, make_fetch: Callable[..., StageRun]) -> list[StageRun]:
    """Four artifacts of 100 bytes, used 40, 30, 20 and 10 days ago."""
    store, runs = FolderStore(tmp_path / "cache"), [make_fetch(digest=c * 40) for c in "abcd"]
    for days, run in zip((40, 30, 20, 10), runs, strict=True):
        folder = store.make_scratch(run.name)
        (folder / "a").write_bytes(b"x" * 100)
        now = datetime.now(timezone.utc)
        store.publish_artifact(run, folder, make_manifest(run, folder, started_at=now, seconds=1.0))
        moment = NOW - days * DAY_S
        os.utime(store.locate(run) / MANIFEST_NAME, (moment, moment))
    store.close()
    return runs


def find_left(root: Path, runs: list[StageRun]) -> str:
    store = FolderStore(root)
    return "".join(name for name, run in zip("abcd", runs, strict=True) if store.find_artifact(run))


@pytest.mark.parametrize(
    ("bound", "left"),
    [
        (WIDE, "bcd"),
        (Bound(10_000, 15 * DAY_S), "d"),
        (Bound(200, 1000 * DAY_S), "cd"),
        (Bound(199, 1000 * DAY_S), "d"),
        (Bound(0, 1000 * DAY_S), ""),
    ],
)
def test_what_was_not_used_for_long_goes_then_the_oldest(
    tmp_path: Path, runs: list[StageRun], bound: Bound, left: str
) -> None:
    removed = prune_cache(tmp_path / "cache", [], bound, NOW)
    assert find_left(tmp_path / "cache", runs) == left
    assert removed == [run.path for name, run in zip("abcd", runs, strict=True) if name not in left]


def test_what_is_in_use_stays_and_counts(tmp_path: Path, runs: list[StageRun]) -> None:
    prune_cache(tmp_path / "cache", [runs[0]], Bound(200, 1000 * DAY_S), NOW)
    assert find_left(tmp_path / "cache", runs) == "ad"
    prune_cache(tmp_path / "cache", [], Bound(100, 1000 * DAY_S), NOW)
    assert find_left(tmp_path / "cache", runs) == "a"  # it was used last


def test_nothing_goes_of_a_folder_that_holds_other_things(tmp_path: Path, runs: list[StageRun]) -> None:
    (tmp_path / "cache" / "thesis").mkdir()
    assert prune_cache(tmp_path / "cache", [], Bound(0, 0.0), NOW) == []
    assert find_left(tmp_path / "cache", runs) == "abcd"


def test_what_is_no_artifact_stays(tmp_path: Path, runs: list[StageRun]) -> None:
    foreign = ["models/my-model/a", "models/my-model/manifest.json", "data/x/a", "models/notes"]
    prune_cache(tmp_path / "cache", [], WIDE, NOW)
    for name in (*foreign, "later/a"):  # the folder bears the mark by now
        (tmp_path / "cache" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "cache" / name).write_text("{}", encoding="utf-8")
    prune_cache(tmp_path / "cache", [], Bound(0, 0.0), NOW)
    assert find_left(tmp_path / "cache", runs) == ""
    assert all((tmp_path / "cache" / name).is_file() for name in (*foreign, "later/a"))
