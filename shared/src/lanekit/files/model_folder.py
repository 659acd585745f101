"""Model folders as files: what is carried from one stage to the next. No torch."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from lanekit.errors import InputError
from lanekit.files.safetensors_header import INDEX_NAME, read_json_object

WEIGHT_SUFFIXES = (".safetensors", ".bin", ".pt", ".pth", ".gguf", ".onnx")
WEIGHT_INDEX = INDEX_NAME
STAGE_FILES = ("manifest.json", "report.json", "recipe.yaml", "README.md")


def read_config(folder: Path) -> dict[str, Any]:
    """Return a model folder's config.json.

    Raises:
        InputError: it is missing or not a JSON object.
    """
    return read_json_object(folder / "config.json")


def list_weight_files(folder: Path) -> list[Path]:
    """Return a model folder's safetensors files in order.

    Raises:
        InputError: there is none.
    """
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise InputError(
            f"{folder}: no *.safetensors file",
            remedy="convert the model: model.save_pretrained(folder, safe_serialization=True)",
        )
    return files


def measure_weights(folder: Path) -> int:
    """Return the weights' size in bytes."""
    return sum(path.stat().st_size for path in list_weight_files(folder))


def carry_files(source: Path, out: Path) -> None:
    """Copy all that is neither weights nor config nor a stage's own file (tokenizer, licence, …)."""
    for path in sorted(source.iterdir()):
        skipped = path.name in (*STAGE_FILES, "config.json", WEIGHT_INDEX)
        if path.is_file() and not skipped and path.suffix not in WEIGHT_SUFFIXES:
            shutil.copy2(path, out / path.name)


def write_json(path: Path, value: Any) -> None:
    """Write indented JSON.

    Raises:
        ValueError: a number is not finite.
    """
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
    path.write_text(text + "\n", encoding="utf-8")


def write_report(out: Path, **report: Any) -> None:
    """Write a stage's own report into its output folder."""
    write_json(out / "report.json", report)
