"""What was made again against what a bundle says: the first file that differs, and where that begins.
Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lanekit.commands.reproduction.bundle import Bundle, StageRecord, is_handed_in
from lanekit.plan.graph import Plan
from lanekit.store.manifest import FileEntry, Manifest

OUTPUT_SUFFIXES = (".safetensors", ".jsonl")  # what stages hand on; reports and logs may hold times
LOGS = ("training_log.jsonl",)


@dataclass(frozen=True)
class Difference:
    """A file that is not as recorded; `here` is its sha256 and None where it is missing, `recorded`
    likewise."""

    name: str
    recorded: str | None
    here: str | None

    def __str__(self) -> str:
        if self.here is None:
            return f"{self.name} is missing"
        if self.recorded is None:
            return f"{self.name} is one file more than in the bundle"
        return f"{self.name}: sha256 {self.here}, in the bundle {self.recorded}"


def compare_files(recorded: Mapping[str, FileEntry], here: Mapping[str, FileEntry]) -> list[Difference]:
    """Return the files that differ, by name."""
    return [
        Difference(name, *(entry.sha256 if entry else None for entry in (recorded.get(name), here.get(name))))
        for name in sorted({*recorded, *here})
        if recorded.get(name) != here.get(name)
    ]


def compare_package(bundle: Bundle, package: Manifest) -> list[Difference]:
    """Return the files of what is handed in that differ, those of the package before its zip."""
    found = compare_files(*({n: e for n, e in files.items() if is_handed_in(n)}
                            for files in (bundle.package.files, package.files)))  # fmt: skip
    return sorted(found, key=lambda difference: (not difference.name.startswith("package/"), difference.name))


def find_first_stage(
    bundle: Bundle, manifests: Sequence[Manifest]
) -> tuple[StageRecord, Manifest, Difference] | None:
    """Return the first stage whose output differs, with what was made here; None where none does.

    Args:
        manifests: of the stages here, in the bundle's order.
    """
    for record, manifest in zip(bundle.stages, manifests, strict=False):
        found = compare_files(_choose_outputs(record.files), _choose_outputs(manifest.files))
        if found:
            return record, manifest, found[0]
    return None


def _choose_outputs(files: Mapping[str, FileEntry]) -> dict[str, FileEntry]:
    return {
        name: entry
        for name, entry in files.items()
        if (name.endswith(OUTPUT_SUFFIXES) or name == "config.json") and name not in LOGS
    }


def compare_plans(bundle: Bundle, plan: Plan, lock_digests: Mapping[str, str]) -> list[str]:
    """Return why the stages that are to run are not the recorded ones; none where their keys are equal."""
    runs = list(plan.runs.values())
    if [run.key for run in runs] == [record.key for record in bundle.stages]:
        return []
    reasons = [
        f"the requirements lock of the {service} is another"
        for service, digest in bundle.lock_digests.items()
        if lock_digests.get(service) != digest
    ]
    names, recorded = [run.type.name for run in runs], [record.stage for record in bundle.stages]
    if names != recorded:
        return [*reasons, f"the stages are {', '.join(names)}, in the bundle {', '.join(recorded)}"]
    for run, record in zip(runs, bundle.stages, strict=True):
        if run.type.version != record.version:
            reasons.append(f"{record.stage} is of version {run.type.version}, in the bundle {record.version}")
        mine = run.params.model_dump(mode="json")
        changed = [n for n in mine if n in record.parameters and not _is_equal(mine[n], record.parameters[n])]
        if changed:
            reasons.append(f"{record.stage} has another {', '.join(changed)}")
    return reasons or ["the keys of the stages are others"]


def _is_equal(mine: object, recorded: object) -> bool:
    """Whether two parameters are equal but for where their sources stand."""
    if isinstance(mine, dict) and isinstance(recorded, dict):
        if "digest" in mine and "digest" in recorded:
            return bool(mine["digest"] == recorded["digest"])
        return set(mine) == set(recorded) and all(_is_equal(mine[n], recorded[n]) for n in mine)
    return mine == recorded
