"""The store in a real MinIO: whole or not there, verified at both ends, patient with outages."""

from __future__ import annotations

import hashlib
import io
import multiprocessing
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from real_services import MinioServer

from lanekit.errors import CorruptArtifactError, InputError, StoreError, TransientError
from lanekit.execute.stage import Measured, execute_stage
from lanekit.files.hashing import hash_source
from lanekit.host.stack_settings import StackSettings
from lanekit.plan.graph import StageRun, make_stage_run
from lanekit.progress import Progress, ignore_progress
from lanekit.spec.params import FetchModelParams, PrepareBenchmarksParams, Source
from lanekit.spec.source import drop_local_paths
from lanekit.spec.stages import BUCKETS
from lanekit.store.cache import ArtifactCache
from lanekit.store.documents import RunDocuments, upload_log
from lanekit.store.local_sources import find_source, publish_source
from lanekit.store.manifest import MANIFEST_NAME, FileEntry, Manifest, describe_files, make_manifest
from lanekit.store.minio import MinioStore
from lanekit.store.minio_client import RetryPolicy, StoreClient, make_client
from lanekit.store.objects import SHA256_HEADER
from lanekit.store.transfer import Place, TransferShape, download_files, upload_files

pytestmark = pytest.mark.slow

MakeFetch = Callable[..., StageRun]
PART_BYTES = 5 << 20
SMALL_PARTS = TransferShape(part_bytes=PART_BYTES, files_at_once=2, parts_ahead=2)
QUICK = RetryPolicy(total_seconds=60.0, first_seconds=0.05, longest_seconds=0.5)
IMPATIENT = RetryPolicy(total_seconds=0.0)


@pytest.fixture
def client(minio_server: MinioServer) -> Iterator[StoreClient]:
    """Root's client of an empty store with all buckets."""
    client = make_client(minio_server.settings(), QUICK)
    for bucket in BUCKETS:
        if not client.minio.bucket_exists(bucket):
            client.minio.make_bucket(bucket)
        for item in list(client.minio.list_objects(bucket, recursive=True)):
            client.minio.remove_object(bucket, str(item.object_name))
    yield client


@pytest.fixture
def store(client: StoreClient, tmp_path: Path) -> MinioStore:
    """A store with a cache of its own."""
    return open_store(client, tmp_path / "cache")


def open_store(client: StoreClient, root: Path) -> MinioStore:
    """Return a store over a cache."""
    return MinioStore(client, ArtifactCache(root, 1 << 30))


def write_files(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write files below a folder."""
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


def publish(store: MinioStore, run: StageRun, files: Mapping[str, bytes]) -> Manifest:
    """Publish files as a run's artifact."""
    folder = store.make_scratch(run.name)
    write_files(folder, files)
    manifest = make_manifest(run, folder, started_at=datetime.now(timezone.utc), seconds=1.0)
    store.publish_artifact(run, folder, manifest)
    return manifest


def list_objects(client: StoreClient, bucket: str, prefix: str = "") -> set[str]:
    """Return the names of the objects."""
    return {str(o.object_name) for o in client.minio.list_objects(bucket, prefix=prefix, recursive=True)}


def read_folder(folder: Path) -> dict[str, bytes]:
    """Return the files of a folder, the manifest left out."""
    return {
        p.relative_to(folder).as_posix(): p.read_bytes()
        for p in folder.rglob("*")
        if p.is_file() and p.name != MANIFEST_NAME
    }


FILES = {"config.json": b"{}", "empty": b"", "sub/weights.bin": os.urandom(1 << 20)}


def test_round_trip_on_another_host(
    client: StoreClient, store: MinioStore, tmp_path: Path, make_fetch: MakeFetch
) -> None:
    run = make_fetch()
    assert store.find_artifact(run) is None
    manifest = publish(store, run, FILES)
    other = open_store(client, tmp_path / "other-host")
    assert other.find_artifact(run) == manifest
    with other.open_artifacts({"model": run}) as folders:
        assert read_folder(folders["model"]) == FILES
        assert (folders["model"] / MANIFEST_NAME).is_file()
    assert other.read_file(run, "config.json") == b"{}"
    assert other.load_run(run.path) == StageRun(run.key, run.type, run.params, {})
    with pytest.raises(StoreError, match="no such file in the artifact"):
        other.read_file(run, "nothing")


def test_what_this_host_made_is_not_fetched(store: MinioStore, make_fetch: MakeFetch) -> None:
    run = make_fetch()
    publish(store, run, FILES)
    for name in FILES:
        store.client.minio.remove_object(run.bucket, f"{run.name}/{name}")
    with store.open_artifacts({"model": run}) as folders:
        assert read_folder(folders["model"]) == FILES
    assert not list((store.cache.root / "scratch").rglob("config.json"))


def test_a_stage_runs_on_it(store: MinioStore, make_fetch: MakeFetch) -> None:
    run = make_fetch()

    def call(run: StageRun, inputs: Mapping[str, Path], out: Path, progress: Progress) -> Measured:
        (out / "a").write_text("1")
        return Measured(seconds=1.0)

    manifest = execute_stage(run, {}, store, call, ignore_progress)
    assert execute_stage(run, {}, store, call, ignore_progress) == manifest


def test_a_deleted_artifact_is_noticed(store: MinioStore, make_fetch: MakeFetch) -> None:
    run = make_fetch()
    publish(store, run, FILES)
    store.client.minio.remove_object(run.bucket, f"{run.name}/{MANIFEST_NAME}")
    assert store.find_artifact(run) is None
    with pytest.raises(StoreError, match="no such artifact"), store.open_artifacts({"model": run}):
        pytest.fail("opened")


def test_a_second_publisher_drops_its_result(store: MinioStore, make_fetch: MakeFetch) -> None:
    run = make_fetch()
    first = publish(store, run, {"a": b"first"})
    publish(store, run, {"a": b"second"})
    assert store.find_artifact(run) == first
    assert store.read_file(run, "a") == b"first"


@pytest.mark.parametrize("damage", ["changed", "truncated", "longer", "missing"])
def test_a_damaged_object_is_refused_and_leaves_nothing(
    client: StoreClient, store: MinioStore, tmp_path: Path, make_fetch: MakeFetch, damage: str
) -> None:
    run, name = make_fetch(), "sub/weights.bin"
    publish(store, run, FILES)
    content = FILES[name]
    bad = {"changed": b"?" + content[1:], "truncated": content[:-1], "longer": content + b"?"}
    client.minio.remove_object(run.bucket, f"{run.name}/{name}")
    if damage in bad:
        body = bad[damage]
        client.minio.put_object(run.bucket, f"{run.name}/{name}", io.BytesIO(body), len(body))
    other = open_store(client, tmp_path / "other-host")
    with pytest.raises(CorruptArtifactError) as caught, other.open_artifacts({"model": run}):
        pytest.fail("opened")
    assert f"{run.bucket}/{run.name}/{name}" in caught.value.message
    assert f"--delete {run.bucket}/{run.name}" in caught.value.remedy
    assert not other.cache.locate(run.path).exists()
    with pytest.raises(CorruptArtifactError):
        other.read_file(run, name)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b'{"format_version": 2}'])
def test_an_artifact_whose_manifest_cannot_be_used_is_absent_told_once_and_made_anew(
    client: StoreClient,
    store: MinioStore,
    make_fetch: MakeFetch,
    content: bytes,
    caplog: pytest.LogCaptureFixture,
) -> None:
    run = make_fetch()
    publish(store, run, {"a": b"first"})
    name = f"{run.name}/{MANIFEST_NAME}"
    client.minio.put_object(run.bucket, name, io.BytesIO(content), len(content))
    assert store.find_artifact(run) is None
    with pytest.raises(StoreError, match="no such artifact in MinIO"):
        store.load_run(run.path)
    assert store.find_artifact(run) is None
    assert len(caplog.messages) == 1
    assert f"{run.bucket}/{name}: not a readable manifest" in caplog.text
    publish(store, run, {"a": b"anew"})
    assert store.read_file(run, "a") == b"anew"


def test_a_file_that_changed_after_its_stage_is_not_committed(
    store: MinioStore, make_fetch: MakeFetch
) -> None:
    run = make_fetch()
    for size_bytes in (10, PART_BYTES * 8):
        folder = store.make_scratch(run.name)
        write_files(folder, {"a": bytes(size_bytes)})
        manifest = make_manifest(run, folder, started_at=datetime.now(timezone.utc), seconds=1.0)
        write_files(folder, {"a": bytes(size_bytes - 1) + b"?"})
        with pytest.raises(CorruptArtifactError, match="changed after its stage"):
            store.publish_artifact(run, folder, manifest)
        assert store.find_artifact(run) is None
        assert not list_objects(store.client, run.bucket)


def test_files_in_many_parts_come_back_identical(client: StoreClient, tmp_path: Path) -> None:
    files = {"a": os.urandom(PART_BYTES * 3 + 7), "b": os.urandom(PART_BYTES * 2), "c": b"c"}
    write_files(tmp_path / "in", files)
    entries, place = describe_files(tmp_path / "in"), Place(client, "models", "m-1")
    assert sorted(upload_files(place, tmp_path / "in", entries, SMALL_PARTS)) == ["a", "b", "c"]
    assert upload_files(place, tmp_path / "in", entries, SMALL_PARTS) == []
    for name in files:
        stat = client.minio.stat_object("models", f"m-1/{name}")
        assert (stat.metadata or {})[SHA256_HEADER] == entries[name].sha256
    arrived: list[int] = []
    fetched = download_files(place, tmp_path / "out", entries, SMALL_PARTS, arrived.append)
    assert sorted(fetched) == ["a", "b", "c"]
    assert read_folder(tmp_path / "out") == files
    assert download_files(place, tmp_path / "out", entries, SMALL_PARTS, arrived.append) == []
    assert sum(arrived) == 2 * sum(map(len, files.values()))


def test_an_upload_whose_answer_got_lost_is_sent_again(
    client: StoreClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_files(tmp_path / "in", {"a": os.urandom(PART_BYTES + 1)})
    entries, place = describe_files(tmp_path / "in"), Place(client, "models", "m-1")
    put, calls = client.minio.put_object, []

    def lose_the_answer(*args: Any, **kwargs: Any) -> object:
        calls.append(args)
        done = put(*args, **kwargs)
        if len(calls) == 1:
            raise ConnectionError
        return done

    monkeypatch.setattr(client.minio, "put_object", lose_the_answer)
    assert upload_files(place, tmp_path / "in", entries, SMALL_PARTS) == ["a"]
    assert len(calls) == 2


def test_an_interrupted_fetch_ends_at_the_next_chunk(client: StoreClient, tmp_path: Path) -> None:
    write_files(tmp_path / "in", {f"{n}": os.urandom(64 << 20) for n in range(2)})
    entries, place = describe_files(tmp_path / "in"), Place(client, "models", "m-1")
    upload_files(place, tmp_path / "in", entries)
    arrived: list[int] = []

    def interrupt(count: int) -> None:
        arrived.append(count)
        if len(arrived) == 1:
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
        time.sleep(0.01)

    with pytest.raises(KeyboardInterrupt):
        download_files(place, tmp_path / "out", entries, SMALL_PARTS, interrupt)
    assert sum(arrived) < 64 << 20
    assert not list((tmp_path / "out").iterdir())


PUBLISHER = textwrap.dedent(
    """
    import sys
    from datetime import datetime, timezone
    from pathlib import Path
    from lanekit.store.cache import ArtifactCache
    from lanekit.store.manifest import make_manifest
    from lanekit.store.minio_client import make_client
    from lanekit.store.minio import MinioStore
    from lanekit.spec.params import FetchModelParams, Source
    from lanekit.plan.graph import make_stage_run
    from lanekit.host.stack_settings import load_stack_settings

    params = FetchModelParams(name="big", model=Source(source="org/big", digest="b" * 40))
    run = make_stage_run("fetch_model", params, {}, {"trainer": "e"})
    folder = Path(sys.argv[1])
    manifest = make_manifest(run, folder, started_at=datetime.now(timezone.utc), seconds=1.0)
    settings = load_stack_settings()
    store = MinioStore(make_client(settings), ArtifactCache(settings.cache, 1 << 30))
    store.publish_artifact(run, folder, manifest)
    """
)


def test_a_killed_upload_goes_on_where_it_was(
    minio_server: MinioServer, client: StoreClient, tmp_path: Path
) -> None:
    params = FetchModelParams(name="big", model=Source(source="org/big", digest="b" * 40))
    run = make_stage_run("fetch_model", params, {}, {"trainer": "e"})
    # Eight files before 24 others, largest first: the kill comes when some are there and some are not.
    files = {f"{n:02}.bin": os.urandom((32 - n) << 20) for n in range(8)}
    folder = tmp_path / "cache" / "made"
    write_files(folder, files)
    command = [sys.executable, "-c", PUBLISHER, str(folder)]
    process = subprocess.Popen(command, env=make_environment(minio_server, tmp_path / "cache"))
    while len(list_objects(client, run.bucket)) < 2:
        assert process.poll() is None, "too fast to be killed"
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    there = list_objects(client, run.bucket)
    assert 2 <= len(there) < len(files)
    store = open_store(client, tmp_path / "cache")
    assert store.find_artifact(run) is None, "found before its manifest"
    written_at = {name: client.minio.stat_object(run.bucket, name).last_modified for name in there}
    subprocess.run(command, env=make_environment(minio_server, tmp_path / "cache"), check=True)
    manifest = store.find_artifact(run)
    assert manifest is not None
    stats = {n: client.minio.stat_object(run.bucket, n) for n in list_objects(client, run.bucket)}
    assert all(stats[name].last_modified == at for name, at in written_at.items()), "sent again"
    newest = max(stat.last_modified for stat in stats.values() if stat.last_modified)
    assert stats[f"{run.name}/{MANIFEST_NAME}"].last_modified == newest
    with open_store(client, tmp_path / "other-host").open_artifacts({"model": run}) as folders:
        assert read_folder(folders["model"]) == files


def make_environment(server: MinioServer, cache: Path) -> dict[str, str]:
    """Return the environment of a worker's process."""
    return {
        **os.environ,
        "LANEKIT_REDIS_URL": "redis://unused",
        "LANEKIT_MINIO_URL": server.url,
        "LANEKIT_MINIO_ACCESS_KEY": server.root_user,
        "LANEKIT_MINIO_SECRET_KEY": server.root_password,
        "LANEKIT_CACHE": str(cache),
    }


@pytest.mark.parametrize("direction", ["up", "down"])
def test_an_outage_is_only_a_delay(
    minio_server: MinioServer,
    client: StoreClient,
    tmp_path: Path,
    direction: str,
) -> None:
    files = {f"{n}.bin": os.urandom(24 << 20) for n in range(6)}
    write_files(tmp_path / "in", files)
    entries, place = describe_files(tmp_path / "in"), Place(client, "models", "m-1")
    if direction == "down":
        upload_files(place, tmp_path / "in", entries)
    failures: list[BaseException] = []
    arrived: list[int] = []

    def transfer() -> None:
        try:
            if direction == "up":
                upload_files(place, tmp_path / "in", entries, SMALL_PARTS)
            else:
                download_files(place, tmp_path / "out", entries, SMALL_PARTS, arrived.append)
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=transfer)
    thread.start()
    time.sleep(0.1)
    with minio_server.outage(signal.SIGKILL):
        time.sleep(5.0)
        assert thread.is_alive(), "finished before the outage"
    thread.join(60)
    assert not failures
    if direction == "up":
        download_files(place, tmp_path / "out", entries)
    else:
        assert sum(arrived) == sum(map(len, files.values())), "what had arrived was fetched again"
    assert read_folder(tmp_path / "out") == files


def test_an_outage_that_lasts_is_said(minio_server: MinioServer, make_fetch: MakeFetch) -> None:
    store = MinioStore(make_client(minio_server.settings(), IMPATIENT))
    with minio_server.outage(), pytest.raises(TransientError) as caught:
        store.find_artifact(make_fetch())
    assert minio_server.url in caught.value.message
    assert "docker compose up" in caught.value.remedy


def test_a_wrong_key_is_said(minio_server: MinioServer, client: StoreClient, make_fetch: MakeFetch) -> None:
    for settings in (
        minio_server.settings("trainer", "wrong-secret"),
        minio_server.settings(secret_key="wrong-secret"),
    ):
        with pytest.raises(StoreError) as caught:
            MinioStore(make_client(settings)).find_artifact(make_fetch())
        assert f"access key '{settings.minio_access_key}' on bucket 'models'" in caught.value.message
        assert "docker compose up setup" in caught.value.remedy
        assert "wrong-secret" not in str(caught.value)
        assert not caught.value.transient


def test_a_missing_bucket_is_said(client: StoreClient, make_fetch: MakeFetch) -> None:
    client.minio.remove_bucket("models")
    with pytest.raises(StoreError, match="no bucket 'models'") as caught:
        MinioStore(client).find_artifact(make_fetch())
    assert caught.value.remedy == "docker compose up setup"


def fetch_in_process(
    settings: StackSettings, run: StageRun, results: multiprocessing.Queue[list[str]]
) -> None:
    """Open an artifact in a process of its own and say which files it had to fetch."""
    from lanekit.store import minio

    fetched: list[str] = []
    download = minio.download_files

    def count(place: Place, folder: Path, files: Mapping[str, FileEntry]) -> list[str]:
        fetched.extend(download(place, folder, files))
        return fetched

    minio.download_files = count
    store = MinioStore(make_client(settings, QUICK), ArtifactCache(settings.cache, 1 << 30))
    with store.open_artifacts({"model": run}) as folders:
        assert hashlib.sha256((folders["model"] / "a").read_bytes()).hexdigest()
    results.put(fetched)


def test_two_processes_of_a_host_fetch_an_artifact_once(
    minio_server: MinioServer, store: MinioStore, tmp_path: Path, make_fetch: MakeFetch
) -> None:
    run = make_fetch()
    publish(store, run, {"a": os.urandom(64 << 20)})
    settings = minio_server.settings(cache=tmp_path / "host")
    context = multiprocessing.get_context("fork")
    results: multiprocessing.Queue[list[str]] = context.Queue()
    workers = [context.Process(target=fetch_in_process, args=(settings, run, results)) for _ in range(2)]
    for worker in workers:
        worker.start()
    assert sorted(results.get(timeout=60) for _ in workers) == [[], ["a"]]
    for worker in workers:
        worker.join()


def test_sources_travel_and_keep_digest_and_names(
    client: StoreClient, store: MinioStore, tmp_path: Path
) -> None:
    write_files(
        tmp_path, {"m/config.json": b"{}", "m/.hidden": b"-", "m/sub/w.bin": b"w", "rows.jsonl": b"{}\n"}
    )
    paths = [tmp_path / "m", tmp_path / "rows.jsonl"]
    digests = [hash_source(path) for path in paths]
    for path, digest in zip(paths, digests, strict=True):
        assert publish_source(client, path, digest)
        assert not publish_source(client, path, digest)
    params = PrepareBenchmarksParams(
        sets={
            "a": Source(source=str(paths[0]), digest=digests[0]),
            "b": Source(source=str(paths[1]), digest=digests[1]),
            "hub": Source(source="org/set", digest="c" * 40),
        }
    )
    stripped = drop_local_paths(params)
    assert {s.source for s in stripped.sets.values()} == {"local", "org/set"}
    lock_digests = {"trainer": "e"}
    keys = {make_stage_run("prepare_benchmarks", p, {}, lock_digests).key for p in (params, stripped)}
    assert len(keys) == 1
    with store.open_sources(stripped) as opened:
        assert isinstance(opened, PrepareBenchmarksParams)
        local = [Path(opened.sets[name].source) for name in ("a", "b")]
        assert [hash_source(path) for path in local] == digests
        assert local[1].name == "rows.jsonl"
        assert opened.sets["hub"].source == "org/set"


def test_a_source_that_is_not_stored_is_said(store: MinioStore, tmp_path: Path) -> None:
    params = FetchModelParams(name="m", model=Source(source="local", digest="d" * 64))
    with pytest.raises(StoreError, match="not in MinIO"), store.open_sources(params):
        pytest.fail("opened")
    write_files(tmp_path, {"rows.jsonl": b"1"})
    with pytest.raises(InputError, match="changed since"):
        publish_source(store.client, tmp_path / "rows.jsonl", "d" * 64)
    assert find_source(store.client, "d" * 64) is None


def test_documents_of_runs(client: StoreClient, tmp_path: Path) -> None:
    documents = RunDocuments(client)
    documents.write("demo-1", "run.json", {"a": "가"})
    documents.write("demo-1", "failures/k.json", b"{}")
    documents.write("demo-1", "summary.md", b"# 1", "text/markdown")
    documents.write("half-2", "failures/run.json", b"{}")
    assert documents.list_runs() == ["demo-1"]
    assert documents.read("demo-1", "run.json") == '{\n  "a": "가"\n}\n'.encode()
    assert documents.read("demo-1", "nothing") is None
    assert documents.list_names("demo-1", "failures/") == ["failures/k.json"]
    documents.copy_to_top("demo-1", ["summary.md"])
    assert client.minio.stat_object("results", "summary.md").content_type == "text/markdown"
    documents.delete("demo-1", "failures/k.json")
    documents.delete("demo-1", "failures/k.json")
    assert documents.list_names("demo-1") == ["run.json", "summary.md"]
    (tmp_path / "log").write_text("line\n")
    upload_log(client, "sft-abc", tmp_path / "log")
    assert list_objects(client, "results", "logs/") == {"logs/sft-abc.log"}
