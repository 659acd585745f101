"""The folder store: what is published comes back identical; what is not whole is never taken for whole."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lanekit.errors import CorruptArtifactError, InputError, StoreError
from lanekit.execute.driver import hold_store
from lanekit.execute.stage import Measured, execute_stage
from lanekit.files.owned import MARK
from lanekit.plan.graph import StageRun, make_stage_run
from lanekit.progress import Progress, ignore_progress
from lanekit.sources.locks import SERVICES
from lanekit.spec.params import FetchModelParams, Source
from lanekit.store.base import is_committed
from lanekit.store.folder import FolderStore
from lanekit.store.manifest import MANIFEST_NAME, make_manifest

MakeFetch = Callable[..., StageRun]
NAMES = st.from_regex(r"[A-Za-z0-9_]([A-Za-z0-9_.-]{0,8})", fullmatch=True)
PATHS = st.lists(NAMES, min_size=1, max_size=3).map("/".join)
FILES = st.dictionaries(PATHS, st.binary(max_size=200), min_size=1, max_size=5).filter(
    lambda files: (
        MANIFEST_NAME not in files
        and not any(a != b and b.lower().startswith(f"{a.lower()}/") for a in files for b in files)
    )
)


def publish(store: FolderStore, run: StageRun, files: Mapping[str, bytes]) -> None:
    """Publish files as a run's artifact."""
    folder = store.make_scratch(run.name)
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    now = datetime.now(timezone.utc)
    store.publish_artifact(run, folder, make_manifest(run, folder, started_at=now, seconds=1.0))


@pytest.mark.slow
@settings(max_examples=30)
@given(FILES, st.binary(min_size=20, max_size=20))
def test_what_is_published_comes_back_identical(files: dict[str, bytes], digest: bytes) -> None:
    params = FetchModelParams(name="m", model=Source(source="org/m", digest=digest.hex()))
    run = make_stage_run("fetch_model", params, {}, dict.fromkeys(SERVICES, "e"))
    with tempfile.TemporaryDirectory() as root:
        publish(FolderStore(Path(root)), run, files)
        folder = FolderStore(Path(root)).fetch_artifact(run)
        names = [p for p in folder.rglob("*") if p.is_file() and p.name != MANIFEST_NAME]
        assert {p.relative_to(folder).as_posix(): p.read_bytes() for p in names} == files
        manifest = FolderStore(Path(root)).find_artifact(run)
        assert manifest is not None
        assert manifest.key == run.key
        assert manifest.size_bytes == sum(len(content) for content in files.values())
        assert not list_unfinished(FolderStore(Path(root)))


def test_nothing_is_found_before_it_is_published(tmp_path: Path, make_fetch: MakeFetch) -> None:
    store = FolderStore(tmp_path)
    assert store.find_artifact(make_fetch()) is None
    with pytest.raises(StoreError, match="no such artifact") as caught:
        store.fetch_artifact(make_fetch())
    assert caught.value.remedy


def test_another_run_with_the_same_short_key_is_not_taken_for_it(
    tmp_path: Path, make_fetch: MakeFetch
) -> None:
    run = make_fetch()
    publish(FolderStore(tmp_path), run, {"a": b"1"})
    twin = StageRun(run.key[:12] + "0" * 52, run.type, run.params, run.inputs)
    assert FolderStore(tmp_path).locate(twin) == FolderStore(tmp_path).locate(run)
    assert FolderStore(tmp_path).find_artifact(twin) is None


def test_the_second_of_two_equal_runs_changes_nothing(tmp_path: Path, make_fetch: MakeFetch) -> None:
    store, run = FolderStore(tmp_path), make_fetch()
    publish(store, run, {"a": b"1"})
    before = store.find_artifact(run)
    publish(FolderStore(tmp_path), run, {"a": b"1"})
    assert store.find_artifact(run) == before


def damage_truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def damage_flip(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(bytes([content[0] ^ 1]) + content[1:])


def list_unfinished(store: FolderStore) -> list[Path]:
    """Return what stands in the processes' own folders of a store's scratch."""
    return [path for path in store.scratch_root.glob("*/*") if path.name != MARK]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (damage_truncate, "truncated or changed: 9 bytes, the manifest says 10"),
        (damage_flip, "the content's sha256 is not the manifest's"),
        (Path.unlink, "missing from the artifact"),
    ],
)
def test_a_damaged_file_is_named(
    tmp_path: Path, make_fetch: MakeFetch, damage: Callable[[Path], None], message: str
) -> None:
    run = make_fetch()
    publish(FolderStore(tmp_path), run, {"config.json": b"{}", "model.safetensors": b"0123456789"})
    store = FolderStore(tmp_path)
    damaged = store.locate(run) / "model.safetensors"
    damage(damaged)
    with pytest.raises(CorruptArtifactError) as caught:
        store.fetch_artifact(run)
    assert caught.value.message == f"{damaged}: {message}"
    assert caught.value.remedy.startswith(f"delete {store.locate(run)};")


def change_manifest(content: bytes, **changes: Any) -> bytes:
    return json.dumps(json.loads(content) | changes).encode()


UNUSABLE_MANIFESTS: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda _: b"",
    "cut": lambda content: content[:300],
    "not of ours": lambda _: b'{"key": "x"}',
    "not UTF-8": lambda _: b"\xff\xfe\x00",
    "of a newer version": lambda content: change_manifest(content, format_version=2),
    "with a field of a newer version": lambda content: change_manifest(content, signature="x"),
    "with a negative size": lambda c: change_manifest(c, files={"a": {"size_bytes": -1, "sha256": "0" * 64}}),
    "with a file outside": lambda c: change_manifest(
        c, files={"../a": {"size_bytes": 1, "sha256": "0" * 64}}
    ),
}


@pytest.mark.parametrize("damage", UNUSABLE_MANIFESTS.values(), ids=UNUSABLE_MANIFESTS)
def test_an_artifact_whose_manifest_cannot_be_used_is_absent_told_once_and_made_anew(
    tmp_path: Path, make_fetch: MakeFetch, damage: Callable[[bytes], bytes], caplog: pytest.LogCaptureFixture
) -> None:
    run = make_fetch()
    publish(FolderStore(tmp_path), run, {"a": b"1", "old": b"2"})
    store = FolderStore(tmp_path)
    manifest = store.locate(run) / MANIFEST_NAME
    manifest.write_bytes(damage(manifest.read_bytes()))

    def call(run: StageRun, inputs: Mapping[str, Path], out: Path, progress: Progress) -> Measured:
        (out / "a").write_bytes(b"anew")
        return Measured(1.0)

    assert store.find_artifact(run) is None
    assert not is_committed(store, run)
    with pytest.raises(StoreError, match="no such artifact"):
        store.fetch_artifact(run)
    with pytest.raises(StoreError, match="no such artifact"):
        store.load_run(run.path)
    execute_stage(run, {}, store, call, ignore_progress)
    assert len(caplog.messages) == 1
    assert f"{manifest}: not a readable manifest" in caplog.text and "makes it anew" in caplog.text
    assert (store.fetch_artifact(run) / "a").read_bytes() == b"anew"
    assert not (store.locate(run) / "old").exists()


def test_a_run_that_another_version_made_is_told_by_its_stage(tmp_path: Path, make_fetch: MakeFetch) -> None:
    store, run = FolderStore(tmp_path), make_fetch()
    publish(store, run, {"a": b"1"})
    manifest = store.locate(run) / MANIFEST_NAME
    content = manifest.read_bytes()
    for changes, reason in (
        ({"stage": "sharpen"}, "its stage 'sharpen' is not known"),
        ({"parameters": {"name": "m"}}, "made by another version: model"),
    ):
        manifest.write_bytes(change_manifest(content, **changes))
        with pytest.raises(StoreError, match=reason) as caught:
            store.load_run(run.path)
        assert caught.value.remedy


def test_a_damage_after_the_first_look_is_still_seen_by_its_size(
    tmp_path: Path, make_fetch: MakeFetch
) -> None:
    store, run = FolderStore(tmp_path), make_fetch()
    publish(store, run, {"a": b"0123456789"})
    damage_truncate(store.fetch_artifact(run) / "a")
    with pytest.raises(CorruptArtifactError, match="truncated or changed"):
        store.fetch_artifact(run)


KILLED_PUBLISHER = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from lanekit.store.folder import FolderStore
from lanekit.store.manifest import MANIFEST_NAME
from lanekit.spec.params import FetchModelParams, Source
from lanekit.plan.graph import make_stage_run
from lanekit.sources.locks import SERVICES
from test_folder import publish

params = FetchModelParams(name="write", model=Source(source="org/model", digest="a" * 40))
run = make_stage_run("fetch_model", params, {{}}, dict.fromkeys(SERVICES, "test-environment"))

def die_at_victim(move):
    def move_or_die(path, target):
        if Path(target).name == {victim}:
            os.kill(os.getpid(), signal.SIGKILL)
        return move(path, target)
    return move_or_die

Path.rename, Path.replace = die_at_victim(Path.rename), die_at_victim(Path.replace)
publish(FolderStore(Path({root!r})), run, {{"model.safetensors": b"whole"}})
"""


@pytest.mark.parametrize("victim", ["MANIFEST_NAME", "run.name"])
@pytest.mark.slow
def test_a_publisher_killed_before_the_manifest_leaves_no_artifact(
    tmp_path: Path, make_fetch: MakeFetch, victim: str
) -> None:
    code = KILLED_PUBLISHER.format(tests=str(Path(__file__).parent), root=str(tmp_path), victim=victim)
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    store, run = FolderStore(tmp_path), make_fetch()
    leftovers = [store.locate(run)] if victim == "MANIFEST_NAME" else list_unfinished(store)
    whole = [folder / "model.safetensors" for folder in leftovers if (folder / "model.safetensors").exists()]
    assert [path.read_bytes() for path in whole] == [b"whole"]
    assert store.find_artifact(run) is None
    with hold_store(store):
        assert not list_unfinished(store)
        publish(store, run, {"model.safetensors": b"again"})
    assert (FolderStore(tmp_path).fetch_artifact(run) / "model.safetensors").read_bytes() == b"again"


def test_a_store_under_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    for root in (tmp_path / "file" / "store", tmp_path / "file"):
        with pytest.raises(StoreError, match=r"the store .*file.* is not writable") as caught:
            FolderStore(root).prepare()
        assert "pass another --store" in caught.value.remedy


def test_a_read_only_store_is_refused(read_only_disk: Path) -> None:
    with pytest.raises(StoreError, match="is not writable: Read-only file system") as caught:
        FolderStore(read_only_disk / "store").prepare()
    assert caught.value.remedy == "the file system is read-only: pass another --store"


def test_a_full_disk_loses_nothing_and_says_so(small_disk: Path, make_fetch: MakeFetch) -> None:
    store, kept, lost = FolderStore(small_disk / "store"), make_fetch(), make_fetch(digest="b" * 40)
    publish(store, kept, {"a": b"1" * 1000})
    folder = store.make_scratch(lost.name)
    (folder / "a").write_bytes(b"2" * 1000)
    manifest = make_manifest(lost, folder, started_at=datetime.now(timezone.utc), seconds=1.0)
    ballast = small_disk / "ballast"
    with pytest.raises(OSError, match="No space left"), ballast.open("wb", buffering=0) as stream:
        while True:
            stream.write(b"x" * 4096)
    with pytest.raises(StoreError, match=f"publishing {lost.name} to .*No space left") as caught:
        store.publish_artifact(lost, folder, manifest)
    assert caught.value.remedy.startswith("free space on that disk")
    fresh = FolderStore(store.root)
    assert fresh.find_artifact(lost) is None
    assert (fresh.fetch_artifact(kept) / "a").read_bytes() == b"1" * 1000
    with pytest.raises(StoreError, match="No space left"):
        FolderStore(small_disk / "store").prepare()
    ballast.unlink()
    publish(FolderStore(small_disk / "store"), lost, {"a": b"2" * 1000})
    assert (fresh.fetch_artifact(lost) / "a").read_bytes() == b"2" * 1000


def list_tree(root: Path) -> dict[str, bytes | None]:
    return {p.relative_to(root).as_posix(): p.read_bytes() if p.is_file() else None for p in root.rglob("*")}


@pytest.mark.slow
def test_a_store_in_a_folder_of_other_things_clears_only_what_bears_its_mark(
    tmp_path: Path, make_fetch: MakeFetch
) -> None:
    foreign = ("scratch/thesis-data/results.csv", "scratch/run-0a1b2c3d/a", "scratch/notes.txt",
               f"scratch/{'ab' * 16}/a", f"scratch/{'ab' * 16}.lock", "scratch/own.lock", "scratch/own/a",
               "models/mine/a", "logs/a", "incoming/a")  # fmt: skip
    for name in foreign:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name, encoding="utf-8")
    code = "import sys, os; from pathlib import Path; from lanekit.store.folder import FolderStore;"
    code += "(FolderStore(Path(sys.argv[1])).make_scratch('m') / 'half').write_text('x'); os._exit(9)"
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
    assert list(tmp_path.glob("scratch/*/m-*/half"))
    with hold_store(FolderStore(tmp_path)):
        assert not list(tmp_path.glob("scratch/*/m-*"))
    for name in foreign:
        assert (tmp_path / name).read_text(encoding="utf-8") == name


def test_a_store_that_is_only_read_writes_nothing(tmp_path: Path, make_fetch: MakeFetch) -> None:
    run = make_fetch()
    publish(FolderStore(tmp_path / "store"), run, {"a": b"1"})
    (tmp_path / "foreign" / "scratch" / "thesis").mkdir(parents=True)
    before = list_tree(tmp_path)
    for root in ("store", "foreign", "absent"):
        store = FolderStore(tmp_path / root)
        assert is_committed(store, run) is (root == "store")
    assert list_tree(tmp_path) == before


def test_one_run_at_a_time_holds_a_store(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    second = hold_store(FolderStore(tmp_path))
    with hold_store(store), pytest.raises(InputError, match="another run uses the store") as caught, second:
        raise AssertionError("two runs hold one store")
    assert "--store" in caught.value.remedy
    with hold_store(store):
        pass


def test_a_stage_is_executed_once_and_a_failed_one_leaves_nothing(
    tmp_path: Path, make_fetch: MakeFetch
) -> None:
    store, run, calls = FolderStore(tmp_path), make_fetch(), 0

    def call(run: StageRun, inputs: Mapping[str, Path], out: Path, progress: Progress) -> Measured:
        nonlocal calls
        calls += 1
        (out / "half").write_bytes(b"half")
        if calls == 1:
            raise InputError("bad data")
        return Measured(2.5, versions={"python": "3"})

    with pytest.raises(InputError, match="bad data"):
        execute_stage(run, {}, store, call, ignore_progress)
    assert store.find_artifact(run) is None
    assert not list_unfinished(store)
    first = execute_stage(run, {}, store, call, ignore_progress)
    second = execute_stage(run, {}, store, call, ignore_progress)
    assert (calls, first.seconds, second) == (2, 2.5, first)
    shutil.rmtree(store.locate(run))
    execute_stage(run, {}, FolderStore(tmp_path), call, ignore_progress)
    assert calls == 3
