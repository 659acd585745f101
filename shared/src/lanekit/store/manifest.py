"""The manifest: what an artifact holds and how it came to be. It is written last: present means complete."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Any

from pydantic import (
    AliasChoices,
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    ValidationError,
    field_validator,
)

from lanekit.errors import CorruptArtifactError, StoreError, first_finding
from lanekit.files.hashing import hash_file, list_files
from lanekit.plan.graph import StageRun
from lanekit.spec.source import drop_local_paths
from lanekit.spec.stages import STAGE_TYPES

MANIFEST_NAME = "manifest.json"
FORMAT_VERSION = 1


class FileEntry(BaseModel):
    """One file's size in bytes and sha256."""

    model_config = ConfigDict(frozen=True, extra="forbid", serialize_by_alias=True)

    size_bytes: NonNegativeInt
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class Manifest(BaseModel):
    """Contents and provenance of an artifact."""

    model_config = ConfigDict(frozen=True, extra="forbid", serialize_by_alias=True)

    format_version: int = FORMAT_VERSION
    key: str = Field(pattern=r"^[0-9a-f]{64}$")
    name: str
    stage: str
    stage_version: int
    bucket: str
    parameters: dict[str, Any]
    inputs: dict[str, str]
    versions: dict[str, str] = Field(  # of the libraries; stored under an older name
        default={},
        validation_alias=AliasChoices("environment", "versions"),
        serialization_alias="environment",
    )
    started_at: datetime
    seconds: NonNegativeFloat
    peak_rss_bytes: NonNegativeInt = 0
    peak_gpu_bytes: NonNegativeInt = 0
    notes: tuple[str, ...] = ()  # of the stage's report: what was not done as asked
    files: dict[str, FileEntry]

    @field_validator("format_version")
    @classmethod
    def check_version(cls, version: int) -> int:
        """Refuse another version: what its fields mean is not known here."""
        if version != FORMAT_VERSION:
            raise ValueError(f"it is of version {version}, and this product reads version {FORMAT_VERSION}")
        return version

    @field_validator("files")
    @classmethod
    def check_names(cls, files: dict[str, FileEntry]) -> dict[str, FileEntry]:
        """Refuse names that lead out of the artifact's folder."""
        for name in files:
            if not name or PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
                raise ValueError(f"'{name}' is no file of an artifact")
        return files

    @property
    def size_bytes(self) -> int:
        """The sum of the files' sizes."""
        return sum(entry.size_bytes for entry in self.files.values())

    def make_run(self) -> StageRun:
        """Return the stage run that made the artifact, without inputs: what is committed needs none.

        Raises:
            StoreError: this version does not know the stage, or one of its parameters.
        """
        stage_type = STAGE_TYPES.get(self.stage)
        remedy = "run the lanes that make it again with this version"
        if stage_type is None:
            raise StoreError(
                f"{self.bucket}/{self.name}: its stage '{self.stage}' is not known", remedy=remedy
            )
        try:
            params = stage_type.params.model_validate(self.parameters)
        except ValidationError as error:
            message = f"{self.bucket}/{self.name}: made by another version: {first_finding(error)}"
            raise StoreError(message, remedy=remedy) from error
        return StageRun(self.key, stage_type, params, {})


def describe_files(folder: Path) -> dict[str, FileEntry]:
    """Hash every file of a folder, the manifest and hidden files left out."""
    return {
        path.relative_to(folder).as_posix(): FileEntry(size_bytes=path.stat().st_size, sha256=hash_file(path))
        for path in list_files(folder)
        if path.relative_to(folder).as_posix() != MANIFEST_NAME
    }


def make_manifest(run: StageRun, folder: Path, **measured: Any) -> Manifest:
    """Describe a finished run's output folder."""
    return Manifest(
        key=run.key,
        name=run.name,
        stage=run.type.name,
        stage_version=run.type.version,
        bucket=run.type.bucket,
        parameters=drop_local_paths(run.params).model_dump(mode="json"),
        inputs=dict(run.inputs),
        files=describe_files(folder),
        **measured,
    )


def parse_manifest(text: str | bytes, where: str) -> Manifest:
    """Parse a manifest.

    Raises:
        CorruptArtifactError: it is not a manifest; `where` names it.
    """
    try:
        return Manifest.model_validate_json(text)
    except ValidationError as error:
        raise CorruptArtifactError(
            f"{where}: not a readable manifest: {first_finding(error)}",
            remedy="run the lanes that make this artifact: they make it anew",
        ) from error


def check_files(manifest: Manifest, folder: Path, *, hashes: bool = True) -> None:
    """Compare a folder with its manifest.

    Raises:
        CorruptArtifactError: the first file that is missing, of another size, or of other content.
    """
    remedy = f"delete {folder}; the next run makes this artifact anew, and nothing else"
    for name, entry in manifest.files.items():
        path = folder / name
        if not path.is_file():
            raise CorruptArtifactError(f"{path}: missing from the artifact", remedy=remedy)
        size_bytes = path.stat().st_size
        if size_bytes != entry.size_bytes:
            raise CorruptArtifactError(
                f"{path}: truncated or changed: {size_bytes} bytes, the manifest says {entry.size_bytes}",
                remedy=remedy,
            )
        if hashes and hash_file(path) != entry.sha256:
            raise CorruptArtifactError(f"{path}: the content's sha256 is not the manifest's", remedy=remedy)
