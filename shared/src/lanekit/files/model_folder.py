"""Model folders as files: what is carried from one stage to the next. No torch."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lanekit.files.hashing import list_files
from lanekit.files.safetensors_header import INDEX_NAME, find_weight_names, read_json_object

WEIGHT_SUFFIXES = (".safetensors", ".bin", ".pt", ".pth", ".gguf", ".onnx")
WEIGHT_INDEX = INDEX_NAME
REPORT_NAME = "report.json"
STAGE_FILES = ("manifest.json", REPORT_NAME, "recipe.yaml", "README.md")


def read_config(folder: Path) -> dict[str, Any]:
    """Return a model folder's config.json.

    Raises:
        InputError: it is missing or not a JSON object.
    """
    return read_json_object(folder / "config.json")


def list_weight_files(folder: Path) -> list[Path]:
    """Return the files that hold a model's weights, in order; see `find_weight_names`."""
    return [folder / name for name in find_weight_names(folder)]


def measure_weights(folder: Path) -> int:
    """Return the weights' size in bytes."""
    return sum(path.stat().st_size for path in list_weight_files(folder))


def carry_files(source: Path, out: Path) -> None:
    """Copy all that is neither weights nor config nor a stage's own file (tokenizer, licence, …)."""
    for path in list_files(source, recursive=False):
        skipped = path.name in (*STAGE_FILES, "config.json", WEIGHT_INDEX)
        if not skipped and path.suffix not in WEIGHT_SUFFIXES:
            shutil.copy2(path, out / path.name)


def write_json(path: Path, value: Any) -> None:
    """Write indented JSON.

    Raises:
        ValueError: a number is not finite.
    """
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
    path.write_text(text + "\n", encoding="utf-8")


def write_report(out: Path, *, notes: Sequence[str] = (), **report: Any) -> None:
    """Write a stage's own report into its output folder.

    Args:
        notes: what was not done as asked, a sentence each: rows left out, amounts lowered, files passed over.
    """
    write_json(out / REPORT_NAME, {**report, "notes": list(notes)} if notes else report)


def read_notes(out: Path) -> tuple[str, ...]:
    """Return the notes of a stage's report; none where it wrote none."""
    path = out / REPORT_NAME
    try:
        report = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    except ValueError:
        return ()
    notes = report.get("notes") if isinstance(report, dict) else None
    return tuple(note for note in notes if isinstance(note, str)) if isinstance(notes, list) else ()
