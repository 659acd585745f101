"""What may be pushed: a package's zip, a lane's model; with card and licence, or not at all."""

from __future__ import annotations

import json
import struct
import zipfile
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path

import pytest

from lanekit.commands.push.checks import PushError, check_content
from lanekit.commands.push.content import Content, open_content
from lanekit.errors import InputError, StoreError
from lanekit.execute.stage import write_card
from lanekit.files.hashing import hash_file
from lanekit.files.hub_card import read_metadata
from lanekit.plan.graph import StageRun, make_stage_run
from lanekit.results.folder import write_record
from lanekit.results.schema import LaneRecord
from lanekit.sources.locks import SERVICES
from lanekit.spec.params import FetchModelParams, Source
from lanekit.spec.quantization import GptqParams
from lanekit.store.folder import FolderStore
from lanekit.store.manifest import Manifest, make_manifest

DIGESTS = dict.fromkeys(SERVICES, "e")
EXAONE = b"EXAONE AI Model\nLicense Agreement 1.2 - NC\n"
CARD = b"---\nlicense: other\nlicense_name: exaone\nlicense_link: LICENSE\n---\n# it\n"
REPO = "me/EXAONE-4.0-1.2B-top1"


def make_weights() -> bytes:
    header = json.dumps({"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}).encode()
    return struct.pack("<Q", len(header)) + header + bytes(8)


MODEL = {
    "config.json": b'{"quantization_config": {}}', "model.safetensors": make_weights(), "LICENSE": EXAONE,
    "tokenizer.json": b"{}",
}  # fmt: skip
PACKAGE = {**MODEL, "README.md": CARD}


def write_zip(path: Path, files: Mapping[str, bytes], prefix: str = "") -> Path:
    path.parent.mkdir(exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(prefix + name, content)
    return path


def publish(store: FolderStore, run: StageRun, files: Mapping[str, bytes]) -> StageRun:
    folder = store.make_scratch(run.name)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    write_card(run, {}, folder)
    now = datetime.now(timezone.utc)
    store.publish_artifact(run, folder, make_manifest(run, folder, started_at=now, seconds=1.0))
    return run


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path / "store")


@pytest.fixture
def gptq(store: FolderStore) -> StageRun:
    source = Source(source="LGAI-EXAONE/EXAONE-4.0-1.2B", revision="main", digest="a" * 40)
    fetch = make_stage_run("fetch_model", FetchModelParams(name="base", model=source), {}, DIGESTS)
    publish(store, fetch, MODEL)
    run = make_stage_run("gptq", GptqParams(scheme="W4A16", seed=1), {"model": fetch.key}, DIGESTS)
    return publish(store, run, MODEL)


def read(what: str, store: FolderStore, repo: str = REPO) -> tuple[Content, dict[str, bytes]]:
    """Open and check it, and return it with its bytes."""
    root = store.root.parent
    with open_content(what, store, root / "results", root / "submissions") as content:
        check_content(content, repo)
        for name, entry in content.entries.items():
            assert hash_file(content.places[name]) == entry.sha256
        return content, {name: place.read_bytes() for name, place in content.places.items()}


@pytest.mark.parametrize("prefix", ["", "model/"])
def test_a_zip_is_sent_unpacked_and_leaves_nothing_behind(
    tmp_path: Path, store: FolderStore, prefix: str
) -> None:
    path = write_zip(tmp_path / "submissions" / "submit_top1.zip", PACKAGE, prefix)
    content, files = read(str(path), store)
    assert files == PACKAGE and content.size_bytes == sum(map(len, PACKAGE.values()))
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_a_zip_that_is_not_there_names_those_that_are(tmp_path: Path, store: FolderStore) -> None:
    write_zip(tmp_path / "submissions" / "submit_top2.zip", PACKAGE)
    with pytest.raises(InputError, match="no such file") as caught:
        read("submissions/submit_top1.zip", store)
    assert "submit_top2.zip" in caught.value.remedy


def test_a_lanes_model_goes_with_the_hubs_metadata_and_a_manifest_that_is_true(
    tmp_path: Path, store: FolderStore, gptq: StageRun
) -> None:
    write_record(tmp_path / "results", LaneRecord(lane="lane01_gptq", model=gptq.path))
    _, files = read("lane01_gptq", store)
    assert files.items() >= MODEL.items() and set(files) == {*MODEL, "README.md", "manifest.json"}
    metadata = read_metadata(files["README.md"].decode())
    assert metadata is not None and metadata["license_name"] == "exaone"
    assert metadata["base_model"] == "LGAI-EXAONE/EXAONE-4.0-1.2B"
    assert metadata["base_model_relation"] == "quantized" and metadata["license_link"] == "LICENSE"
    manifest = Manifest.model_validate_json(files["manifest.json"])
    for name, entry in manifest.files.items():
        assert entry.size_bytes == len(files[name])
    stored = store.fetch_artifact(gptq) / "README.md"
    assert files["README.md"].endswith(stored.read_bytes()), "the store's own card stays as it is"
    assert read(gptq.path, store)[1] == files


def test_a_damaged_artifact_is_not_handed_on(store: FolderStore, gptq: StageRun) -> None:
    (store.locate(gptq) / "model.safetensors").write_bytes(make_weights()[:-1] + b"x")
    with pytest.raises(StoreError, match="sha256"):
        read(gptq.path, FolderStore(store.root))


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("lane01_gptk", r"no lane 'lane01_gptk' \(did you mean 'lane01_gptq'\?\)"),
        ("lane02_failed", "there is no model of it to push: out of memory"),
        ("data/benchmarks-aaaaaaaaaaaa", "no model"),
        ("models/gptq-bbbbbbbbbbbb", "no such artifact"),
    ],
)
def test_what_is_no_model_is_refused(
    tmp_path: Path, store: FolderStore, gptq: StageRun, what: str, words: str
) -> None:
    write_record(tmp_path / "results", LaneRecord(lane="lane01_gptq", model=gptq.path))
    failed = LaneRecord(lane="lane02_failed", model=gptq.path, status="failed", reason="out of memory")
    write_record(tmp_path / "results", failed)
    with pytest.raises(InputError, match=words) as caught:
        read(what, store)
    assert caught.value.remedy


def drop(*names: str) -> dict[str, bytes]:
    return {name: content for name, content in PACKAGE.items() if name not in names}


@pytest.mark.parametrize(
    ("files", "repo", "words"),
    [
        (drop("LICENSE"), REPO, "no licence file"),
        ({**drop("LICENSE"), "NOTICE": b"x"}, REPO, "no licence file"),
        (drop("README.md"), REPO, "no card"),
        ({**PACKAGE, "README.md": b"# it\n"}, REPO, "its metadata name no licence"),
        ({**PACKAGE, "README.md": b"---\nlicense: [\n---\n"}, REPO, "its metadata name no licence"),
        ({**PACKAGE, "README.md": CARD.replace(b"exaone", b"mine")}, REPO, "license_name: mine"),
        ({**PACKAGE, "README.md": CARD.replace(b": LICENSE", b": TERMS")}, REPO, "link to TERMS"),
        (drop("model.safetensors"), REPO, "safetensors"),
        (PACKAGE, "me/tiny", "name begins with EXAONE"),
        (PACKAGE, "EXAONE-tiny", "the owner is not named"),
        (PACKAGE, "me/EXAONE tiny", "not a hub id"),
    ],
)
def test_what_may_not_be_handed_on_is_refused(
    tmp_path: Path, store: FolderStore, files: dict[str, bytes], repo: str, words: str
) -> None:
    path = write_zip(tmp_path / "submissions" / "p.zip", files)
    with pytest.raises(PushError, match=words) as caught:
        read(str(path), store, repo)
    assert len(caught.value.faults) == 1 and caught.value.remedy


def test_all_that_is_wrong_is_told_at_once(tmp_path: Path, store: FolderStore) -> None:
    path = write_zip(tmp_path / "submissions" / "p.zip", drop("model.safetensors", "README.md"))
    with pytest.raises(PushError, match="3 things stand against handing it on") as caught:
        read(str(path), store, "me/tiny")
    assert len(caught.value.faults) == 3


def test_a_name_is_free_where_the_licence_is_another(tmp_path: Path, store: FolderStore) -> None:
    card = CARD.replace(b"exaone", b"see-license-file")
    path = write_zip(tmp_path / "submissions" / "p.zip", {**PACKAGE, "README.md": card, "LICENSE": b"MIT"})
    assert read(str(path), store, "me/tiny")
