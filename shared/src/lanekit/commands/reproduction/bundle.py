"""What a bundle's bundle.json says: of which commit, sources and environment a package is, and its
digests."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from lanekit.errors import InputError, first_finding
from lanekit.plan.graph import Plan, StageRun
from lanekit.spec.params import PrepareCorpusParams
from lanekit.spec.source import drop_local_paths
from lanekit.store.manifest import FileEntry, Manifest

BUNDLE_NAME = "bundle.json"
LANES, SOURCE_TAR = "lanes", "source.tar"
BASE_MODEL = "base_model"


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


class SourceRecord(_Part):
    """One source; `name` is a hub id, or the name alone of a local file or folder, whose path says nothing.

    `digest` is the commit on the hub, the content's sha256 of what is local. The lane's own stages read those
    that are `needed`; of the others the keys hold the digest.
    """

    name: str
    is_local: bool
    revision: str
    split: str
    digest: str
    licence: str
    needed: bool


class StageRecord(_Part):
    """One stage run on the way to the package, with the digests of what it made."""

    stage: str
    version: int
    key: str
    name: str
    parameters: dict[str, Any]
    inputs: dict[str, str]
    versions: dict[str, str]
    files: dict[str, FileEntry]


class Environment(_Part):
    """The machine and the libraries."""

    device: str
    gpus: tuple[dict[str, str], ...]
    machine: str
    python: str
    packages: dict[str, str]


class Bundle(_Part):
    """All that is needed to make a lane's package again, and to tell whether it is the same.

    `stages` come in an order in which inputs come first; the last one is the package, whose files below
    `package/` and whose zip are what is compared.
    """

    format_version: Literal[1] = 1
    lane: str
    experiment: str
    experiment_file: str
    commit: str
    lock_digests: dict[str, str]
    sources: dict[str, SourceRecord]
    stages: tuple[StageRecord, ...]
    environment: Environment

    @property
    def package(self) -> StageRecord:
        """The last stage."""
        return self.stages[-1]


def is_handed_in(name: str) -> bool:
    """Whether a file of the package's artifact is a part of what is handed in."""
    return name.startswith("package/") or name == "submit.zip"


def describe_stage(run: StageRun, manifest: Manifest) -> StageRecord:
    """Return what a bundle says of a committed run."""
    return StageRecord(
        stage=run.type.name,
        version=run.type.version,
        key=run.key,
        name=run.name,
        parameters=drop_local_paths(run.params).model_dump(mode="json"),
        inputs=dict(run.inputs),
        versions=dict(manifest.versions),
        files=dict(sorted(manifest.files.items())),
    )


def find_needed_sources(plan: Plan) -> set[str]:
    """Return the sources that a plan's stages read: "base_model" and the names of data sets."""
    names: set[str] = set()
    for run in plan.runs.values():
        content = run.params.model_dump()
        names |= {BASE_MODEL} if run.type.name == "fetch_model" else set()
        names |= {run.params.name} if isinstance(run.params, PrepareCorpusParams) else set()
        names |= set(content["sets"]) if run.type.name == "prepare_benchmarks" else set()
    return names


def read_bundle(folder: Path) -> Bundle:
    """Read an unpacked bundle's bundle.json.

    Raises:
        InputError: it is not there, or not one of this version.
    """
    path = folder / BUNDLE_NAME
    try:
        return Bundle.model_validate_json(path.read_bytes())
    except OSError as error:
        raise InputError(
            f"{path}: {error.strerror or error}", remedy="name the folder into which the bundle was unpacked"
        ) from error
    except ValidationError as error:
        raise InputError(
            f"{path}: not a bundle of this version: {first_finding(error)}",
            remedy="use the rebuild.sh of the bundle itself: it runs the code of the bundle's commit",
        ) from error
