"""Which package a zip is, and what was measured here of the very model in it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import ValidationError

from lanekit.errors import CorruptArtifactError, InputError, first_finding
from lanekit.files.hashing import hash_file
from lanekit.plan.keys import SHORT_KEY_CHARACTERS
from lanekit.results.folder import RANKING_NAME
from lanekit.results.ranking import RankedLane, Ranking
from lanekit.spec.lane_file import match_names
from lanekit.store.manifest import MANIFEST_NAME, Manifest, parse_manifest

ZIP_NAME = "submit.zip"
PACKAGES = "submissions"  # the bucket


@dataclass(frozen=True)
class Submitted:
    """A package and its model's local measurements; None and empty where they are not known, `notes` say
    why."""

    lane: str
    package: str
    experiment: str = ""
    local_score: float | None = None
    local_ratio: float | None = None
    device: str = ""
    notes: list[str] = field(default_factory=list)


def find_submitted(
    lane: str, stores: Iterable[Path], results: Path, archive: Path | None = None
) -> Submitted:
    """Return a lane's package: the zip `archive`, or the one that the stores hold.

    Args:
        lane: by name or number; with `archive` any name, for a package that was made elsewhere.

    Raises:
        InputError: there is no such package, there are several, or the zip is another lane's.
    """
    packages = list_packages(stores)
    if archive is not None:
        if not archive.is_file():
            raise InputError(f"{archive}: no such file", remedy="name the zip that was handed in")
        digest = hash_file(archive)
        manifest = packages.get(digest)
        if manifest is None:
            note = f"{archive} is no package of the store: what was measured here of its model is not known"
            return Submitted(lane, digest, notes=[note])
        name = _name_lane(manifest)
        if lane not in (name, name.partition("_")[0]):
            raise InputError(f"{archive}: the package of {name}, not of {lane}", remedy=f"write {name}")
        return _measure(name, digest, manifest, results)
    by_lane: dict[str, list[str]] = {}
    for digest, manifest in packages.items():
        by_lane.setdefault(_name_lane(manifest), []).append(digest)
    if not by_lane:
        raise InputError(
            f"no package in {', '.join(map(str, stores))}",
            remedy="name the zip that was handed in (--package), or the store that holds it (--store)",
        )
    name = match_names(list(by_lane), [lane])[0]
    digests = by_lane[name]
    if len(digests) > 1:
        listed = "".join(f"\n  {digest} {packages[digest].name}" for digest in digests)
        raise InputError(
            f"{name} has {len(digests)} packages:{listed}",
            remedy="name the zip that was handed in: --package submissions/submit_top1.zip",
        )
    return _measure(name, digests[0], packages[digests[0]], results)


def list_packages(stores: Iterable[Path]) -> dict[str, Manifest]:
    """Return the manifests of all packages in some stores by their zip's sha256, the oldest first."""
    found: list[Manifest] = []
    for path in (path for store in stores for path in sorted(store.glob(f"{PACKAGES}/*/{MANIFEST_NAME}"))):
        try:
            manifest = parse_manifest(path.read_bytes(), str(path))
        except (CorruptArtifactError, OSError):
            continue  # it counts as absent, as for every command
        if ZIP_NAME in manifest.files and manifest.parameters.get("lane"):
            found.append(manifest)
    found.sort(key=lambda manifest: manifest.started_at)
    return {manifest.files[ZIP_NAME].sha256: manifest for manifest in found}


def _name_lane(manifest: Manifest) -> str:
    return str(manifest.parameters["lane"])


def _measure(lane: str, digest: str, manifest: Manifest, results: Path) -> Submitted:
    """Add what the last ranking says of a lane, if it is of the model in the package."""
    path = results / RANKING_NAME

    def tell(reason: str) -> Submitted:
        return Submitted(lane, digest, notes=[f"no local score: {reason}"])

    try:
        ranking = Ranking.model_validate_json(path.read_bytes())
    except OSError as error:
        return tell(f"{path}: {error.strerror or error}")
    except ValidationError as error:
        return tell(f"{path}: not a ranking of this version: {first_finding(error)}")
    ranked = next((found for found in ranking.lanes if found.record.lane == lane), None)
    if ranked is None:
        return tell(f"{path} has no {lane}")
    model = manifest.inputs.get("model", "")[:SHORT_KEY_CHARACTERS]
    if not ranked.record.model.endswith(f"-{model}"):
        return tell(
            f"{path} holds another model of {lane} ({ranked.record.model}) than the package ({model})"
        )
    if ranked.score is None:
        return tell(f"{lane} has no score in {path}: {ranked.record.reason or ranked.record.status}")
    return Submitted(
        lane, digest, ranking.experiment, ranked.score, _find_ratio(ranked), _name_device(ranked)
    )


def _find_ratio(ranked: RankedLane) -> float | None:
    return None if ranked.speed_norm is None else 1 - ranked.speed_norm


def _name_device(ranked: RankedLane) -> str:
    speed = ranked.record.speed
    return f"{speed.device}, {speed.form}" if speed else ""
