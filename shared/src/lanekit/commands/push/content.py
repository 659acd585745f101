"""What a person may push: a package's zip, or a lane's model in the store, as files with their digests."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from lanekit.errors import InputError, PermanentError, did_you_mean, explain_os_errors
from lanekit.files.hashing import hash_file
from lanekit.files.hub_card import list_licences, read_metadata, render_metadata
from lanekit.files.model_folder import read_config
from lanekit.files.owned import open_staging
from lanekit.files.zips import find_model_folder, unzip_safely
from lanekit.plan.graph import BASELINE
from lanekit.results.folder import read_records
from lanekit.results.schema import FAILED
from lanekit.spec.experiment_file import is_local
from lanekit.spec.params import FetchModelParams
from lanekit.spec.stages import BUCKETS
from lanekit.store.card import CARD_NAME
from lanekit.store.folder import FolderStore
from lanekit.store.manifest import MANIFEST_NAME, FileEntry, Manifest, describe_files

MODEL_BUCKETS = ("models", "checkpoints")
MODELS_ALONE = (
    "models alone are pushed: a package's zip, a lane by its name, or models/NAME, checkpoints/NAME"
)


@dataclass(frozen=True)
class Content:
    """Files to push: where each stands, and its size and sha256; `what` names the whole for a person."""

    what: str
    folder: Path
    places: Mapping[str, Path]
    entries: Mapping[str, FileEntry]

    @property
    def size_bytes(self) -> int:
        """All files together."""
        return sum(entry.size_bytes for entry in self.entries.values())


@contextmanager
def open_content(what: str, store: FolderStore, results: Path, submissions: Path) -> Iterator[Content]:
    """Give what is named: a zip, a lane of the results folder, or an artifact "bucket/name" of the store.

    Raises:
        InputError: there is no such thing, or it is none that may be pushed.
        StoreError: it is damaged, or there is no room to unpack it.
    """
    if what.lower().endswith(".zip"):
        with _open_zip(Path(what), submissions) as content:
            yield content
        return
    bucket, _, name = what.partition("/")
    place = what if bucket in BUCKETS and name else _find_model(what, results)
    with _open_artifact(place, store) as content:
        yield content


@contextmanager
def _open_zip(archive: Path, submissions: Path) -> Iterator[Content]:
    if not archive.is_file():
        there = ", ".join(str(path) for path in sorted(submissions.glob("*.zip")))
        raise InputError(
            f"{archive}: no such file",
            remedy=f"name one of {there}" if there else "package lanes first: python scripts/run_all.py",
        )
    with open_staging(archive.parent) as staging:
        inside = staging / "package"
        with explain_os_errors(f"unpacking {archive}"):
            unzip_safely(archive, inside)
            folder = find_model_folder(inside)
            entries = describe_files(folder)
        yield Content(str(archive), folder, {name: folder / name for name in entries}, entries)


def _find_model(lane: str, results: Path) -> str:
    """Return the place of a lane's model, as the results folder has it."""
    records = {record.lane: record for record in read_records(results)}
    known = sorted(name for name in records if name != BASELINE)
    if lane not in records:
        raise InputError(
            f"{results}: no lane '{lane}'{did_you_mean(lane, known)}",
            remedy=f"name one of {', '.join(known)}, or a package's zip; a path to a zip ends in .zip",
        )
    record = records[lane]
    if record.status in FAILED or not record.model:
        raise InputError(
            f"{lane}: there is no model of it to push: {record.reason or 'its record names none'}",
            remedy="run the lane again: python scripts/run_all.py --only " + lane,
        )
    return record.model


@contextmanager
def _open_artifact(place: str, store: FolderStore) -> Iterator[Content]:
    bucket = place.partition("/")[0]
    if bucket not in MODEL_BUCKETS:  # data and results hold others' items, under terms of their own
        raise InputError(f"{place}: no model", remedy=MODELS_ALONE)
    try:
        run = store.load_run(place)
    except PermanentError as error:
        raise InputError(
            f"{store.root / place}: no such artifact, or none that this version reads",
            remedy="name another --store, or run the lane again; of the composed stack: python "
            f"scripts/fetch.py --store {store.root}",
        ) from error
    folder, manifest = store.fetch_artifact(run), store.find_artifact(run)
    assert manifest is not None  # it was read twice already
    places = {name: folder / name for name in manifest.files}
    entries = dict(manifest.files)

    def replace(name: str, text: str) -> None:
        places[name] = Path(staging) / name
        places[name].write_text(text, encoding="utf-8")
        entries[name] = FileEntry(size_bytes=len(text.encode()), sha256=hash_file(places[name]))

    with TemporaryDirectory(prefix="lanekit-push-") as staging:
        with explain_os_errors("writing the card"):
            if CARD_NAME in places:
                replace(CARD_NAME, _complete_card(folder, find_hub_id(manifest, store)))
            # The manifest that goes along is true of the card that goes along.
            described = manifest.model_copy(update={"files": dict(entries)})
            replace(MANIFEST_NAME, described.model_dump_json(indent=2) + "\n")
        yield Content(place, folder, places, entries)


def _complete_card(folder: Path, hub_id: str | None) -> str:
    """Return an artifact's card with the metadata that a hub reads; as it is, where it has no licence."""
    card = (folder / CARD_NAME).read_text(encoding="utf-8")
    names = list_licences(path.name for path in folder.iterdir() if path.is_file())
    if not names or read_metadata(card) is not None:
        return card
    texts = {name: (folder / name).read_text(encoding="utf-8", errors="replace") for name in names}
    return render_metadata(texts, hub_id, read_config(folder)) + "\n" + card


def find_hub_id(manifest: Manifest, store: FolderStore) -> str | None:
    """Return the base model's hub id, found along the chain of models; None where it is not known here."""
    seen: Manifest | None = manifest
    while seen is not None:
        try:
            params = seen.make_run().params
        except PermanentError:
            return None
        if isinstance(params, FetchModelParams):
            source = params.model.source
            return None if is_local(source) or "/" not in source else source
        seen = store.find_by_key(seen.inputs.get("model", ""), MODEL_BUCKETS)
    return None
