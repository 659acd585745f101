"""Which files of a local source are rows of a data set: the same when it is planned and when it is read."""

from __future__ import annotations

import filecmp
import re
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path

from lanekit.errors import InputError
from lanekit.files.hashing import list_files

SUFFIXES = (".jsonl", ".json", ".parquet")
METADATA_NAMES = (  # what the hub and the `datasets` library lay beside the rows
    "dataset_infos.json", "dataset_info.json", "dataset_dict.json", "state.json", "metadata.json",
    "croissant.json", "manifest.json", "report.json",
)  # fmt: skip
_PROSE_STEMS = ("readme", "license", "licence", "notice", "citation")
_SPLITS = {
    "train": "train", "training": "train",
    "validation": "validation", "valid": "validation", "val": "validation", "dev": "validation",
    "test": "test", "testing": "test", "eval": "test", "evaluation": "test",
}  # fmt: skip
_WORD = re.compile(r"[a-z]+")
_COMPRESSED = (".gz", ".bz2", ".xz", ".zst", ".zip", ".7z", ".tar", ".tgz")
_TABLES = (".csv", ".tsv", ".xlsx", ".xls", ".arrow", ".feather", ".orc", ".avro")


@dataclass(frozen=True)
class DataFiles:
    """The files to read, in order, and those passed over, each with the reason."""

    files: list[Path]
    passed_over: dict[str, str] = field(default_factory=dict)

    def describe(self, name: str) -> list[str]:
        """Return a note for each thing about the choice that whoever gave the folder may not expect."""
        notes = []
        if len(self.files) > 1:
            notes.append(f"{name}: {len(self.files)} files are read as one: {_enumerate(self.files)}")
        by_reason: dict[str, list[str]] = {}
        for file, reason in self.passed_over.items():
            by_reason.setdefault(reason, []).append(file)
        notes += [f"{name}: passed over ({why}): {_enumerate(found)}" for why, found in by_reason.items()]
        return notes


def list_data_files(path: Path, split: str) -> DataFiles:
    """Choose the files of a local source; `split` decides where a folder holds several.

    Raises:
        InputError: there is none, it is of a kind that is not read, the split is not among those of the
            folder, or the folder holds the same rows twice.
    """
    if path.is_file():
        if path.suffix.lower() not in SUFFIXES:
            raise InputError(f"{path}: not one of {', '.join(SUFFIXES)}", remedy=_advise(path))
        return DataFiles([path])
    found: list[Path] = []
    passed_over: dict[str, str] = {}
    for file in list_files(path) if path.is_dir() else ():
        name = file.relative_to(path).as_posix()
        if file.name in METADATA_NAMES:
            passed_over[name] = "metadata of the data set"
        elif file.suffix.lower() in SUFFIXES:
            found.append(file)
        elif file.stem.lower() not in _PROSE_STEMS:
            passed_over[name] = f"not {', '.join(SUFFIXES)}"
    if not found:
        there = f"; it holds {_enumerate(list(passed_over))}" if passed_over else ""
        advice = _advise(path / next(iter(passed_over))) if passed_over else ""
        raise InputError(
            f"{path}: no such file, or a folder without {', '.join(SUFFIXES)}{there}",
            remedy=advice or "correct the path in the experiment file",
        )
    chosen = _choose_split(path, found, split)
    passed_over |= {
        file.relative_to(path).as_posix(): f"another split than '{split}'"
        for file in found
        if file not in chosen
    }
    _refuse_doubles(path, chosen)
    return DataFiles(chosen, passed_over)


def _choose_split(folder: Path, found: list[Path], split: str) -> list[Path]:
    """Return the files of the split where the names tell of more than one, else all of them."""
    splits = {file: _find_split(file.relative_to(folder)) for file in found}
    known = sorted({name for name in splits.values() if name})
    if len(known) < 2:
        return found
    wanted = _SPLITS.get(split.lower(), split)
    if wanted not in known:
        raise InputError(
            f"{folder}: holds the splits {', '.join(known)}, and none of the name '{split}'",
            remedy=f"set `split` of this source in the experiment file to one of {', '.join(known)}, or "
            "give the file itself as the source",
        )
    return [file for file in found if splits[file] == wanted]


def _find_split(path: Path) -> str:
    """Return the split that a name tells, "data/test-00000-of-00001.parquet": the file's own word wins."""
    for part in (path.stem, *reversed(path.parts[:-1])):
        named = [_SPLITS[word] for word in _WORD.findall(part.lower()) if word in _SPLITS]
        if named:
            return named[-1]
    return ""


def _refuse_doubles(folder: Path, files: list[Path]) -> None:
    for first, second in combinations(files, 2):
        is_double = first.with_suffix("") == second.with_suffix("") or (
            first.stat().st_size == second.stat().st_size and filecmp.cmp(first, second, shallow=False)
        )
        if is_double:
            raise InputError(
                f"{folder}: {first.relative_to(folder)} and {second.relative_to(folder)} hold the same rows",
                remedy="take one of them away, or give the file itself as the source",
            )


def _advise(path: Path) -> str:
    suffix = path.suffix.lower()
    if suffix in _COMPRESSED:
        return f"unpack it first (e.g. gunzip --keep {path.name}) and give the unpacked file"
    if suffix in _TABLES:
        return (
            "convert it first, e.g. with pandas: read it, then .to_json(path, orient='records', lines=True)"
        )
    return f"give a file or folder of {', '.join(SUFFIXES)}"


def _enumerate(names: list[Path] | list[str]) -> str:
    shown = [name if isinstance(name, str) else name.name for name in names[:3]]
    return ", ".join(shown) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
