"""Reading safetensors headers with the standard library alone: no weights are loaded, no torch is needed.

Format: 8 bytes little-endian header length N, N bytes of JSON, then the tensors' bytes without gaps
(https://github.com/huggingface/safetensors, "Format").
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lanekit.errors import InputError
from lanekit.files.hashing import list_files

LENGTH_BYTES = 8
MAX_HEADER_BYTES = 100_000_000  # the limit of the safetensors library itself
INDEX_NAME = "model.safetensors.index.json"
SINGLE_NAME = "model.safetensors"
DTYPE_BITS = {
    "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6, "BOOL": 8, "U8": 8, "I8": 8, "F8_E5M2": 8, "F8_E4M3": 8,
    "F8_E8M0": 8, "I16": 16, "U16": 16, "F16": 16, "BF16": 16, "I32": 32, "U32": 32, "F32": 32,
    "C64": 64, "F64": 64, "I64": 64, "U64": 64,
}  # fmt: skip
REMEDY = "copy or download this file again; if a stage wrote it, delete its artifact and run again"


@dataclass(frozen=True)
class TensorInfo:
    """One tensor: dtype as safetensors names it, shape, and [begin, end) bytes after the header."""

    dtype: str
    shape: tuple[int, ...]
    data_offsets: tuple[int, int]

    @property
    def size_bytes(self) -> int:
        """The tensor's size in the file."""
        return self.data_offsets[1] - self.data_offsets[0]


@dataclass(frozen=True)
class SafetensorsHeader:
    """What a safetensors file says of itself; `data_start` is the offset of the first tensor's bytes."""

    path: Path
    data_start: int
    tensors: Mapping[str, TensorInfo]
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class ModelFolder:
    """A checked model folder: its parsed config.json and the headers of its weights by file name."""

    path: Path
    config: Mapping[str, Any]
    headers: Mapping[str, SafetensorsHeader]

    @property
    def tensor_names(self) -> frozenset[str]:
        """The names of all tensors of all shards."""
        return frozenset(name for header in self.headers.values() for name in header.tensors)


def read_header(path: Path) -> SafetensorsHeader:
    """Read and check one file's header.

    Raises:
        InputError: the file is missing, truncated, longer than it says, or not safetensors; the message
            names the file and the byte counts.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file", remedy=REMEDY)
    file_bytes = path.stat().st_size
    with path.open("rb") as stream:
        start = stream.read(LENGTH_BYTES)
        if len(start) < LENGTH_BYTES:
            raise _malformed(path, f"truncated: {file_bytes} bytes, the header's length alone takes 8")
        header_bytes = int.from_bytes(start, "little")
        data_start = LENGTH_BYTES + header_bytes
        if header_bytes > MAX_HEADER_BYTES:
            raise _malformed(path, f"not a safetensors file: it claims a header of {header_bytes} bytes")
        if data_start > file_bytes:
            raise _malformed(path, f"truncated: {file_bytes} bytes, its header needs {data_start}")
        raw = stream.read(header_bytes)
    try:
        content = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise _malformed(path, f"its header of {header_bytes} bytes is not JSON: {error}") from error
    if not isinstance(content, dict):
        raise _malformed(path, "its header is not a JSON object")
    metadata = content.pop("__metadata__", {})
    tensors = {name: _parse_tensor(path, name, entry) for name, entry in content.items()}
    _check_extent(path, tensors, file_bytes - data_start)
    return SafetensorsHeader(path, data_start, tensors, metadata if isinstance(metadata, dict) else {})


def check_model_folder(folder: Path) -> ModelFolder:
    """Check that a folder holds a whole Hugging Face model: configuration, every shard, every byte count.

    Raises:
        InputError: what is missing, unreadable or truncated, by file.
    """
    config = read_json_object(folder / "config.json")
    weight_map = _read_weight_map(folder)
    headers = {name: read_header(folder / name) for name in find_weight_names(folder)}
    for tensor, name in weight_map.items():
        if tensor not in headers[name].tensors:
            raise InputError(f"{folder / name}: lacks '{tensor}', which {INDEX_NAME} places there",
                             remedy=REMEDY)  # fmt: skip
    return ModelFolder(folder, config, headers)


def find_weight_names(folder: Path) -> list[str]:
    """Return the names of the files that hold a model's weights: those of its index, else the only one.

    Raises:
        InputError: there is none, one of the index is missing, or it is not clear which they are.
    """
    found = [path.name for path in list_files(folder, recursive=False) if path.suffix == ".safetensors"]
    names = sorted(set(_read_weight_map(folder).values()))
    if names:
        missing = [name for name in names if name not in found]
        if missing:
            raise InputError(
                f"{folder}: {len(missing)} of {len(names)} weight files are missing: {', '.join(missing)}",
                remedy=REMEDY,
            )
        if SINGLE_NAME in found and SINGLE_NAME not in names:
            raise InputError(
                f"{folder}: two sets of weights, {SINGLE_NAME} and the {len(names)} files of {INDEX_NAME}: "
                "libraries differ in which they read",
                remedy=f"take away {SINGLE_NAME}, or {INDEX_NAME} and its files",
            )
        return names
    if not found:
        raise InputError(
            f"{folder}: no *.safetensors file",
            remedy="give the folder of a model saved as safetensors (pickled weights are not read)",
        )
    if len(found) > 1:
        raise InputError(
            f"{folder}: {len(found)} weight files but no {INDEX_NAME}: {', '.join(found)}", remedy=REMEDY
        )
    return found


def _read_weight_map(folder: Path) -> dict[str, str]:
    """Return the file of each tensor as the index has it; empty where there is no index."""
    path = folder / INDEX_NAME
    if not path.exists():
        return {}
    weight_map = read_json_object(path).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise InputError(f"{path}: no 'weight_map'", remedy=REMEDY)
    return {tensor: str(name) for tensor, name in weight_map.items()}


def read_json_object(path: Path) -> dict[str, Any]:
    """Read a JSON file that holds an object.

    Raises:
        InputError: it is missing, not UTF-8 JSON, or not an object.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file", remedy="give a model folder as save_pretrained() writes it")
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not valid JSON: {error}", remedy=REMEDY) from error
    if not isinstance(value, dict):
        raise InputError(f"{path}: not a JSON object", remedy=REMEDY)
    return value


def _malformed(path: Path, what: str) -> InputError:
    return InputError(f"{path}: {what}", remedy=REMEDY)


def _parse_tensor(path: Path, name: str, entry: Any) -> TensorInfo:
    fault = _malformed(path, f"the header's entry for '{name}' is malformed: {str(entry)[:80]}")
    if not isinstance(entry, dict):
        raise fault
    dtype: Any = entry.get("dtype")
    shape: Any = entry.get("shape")
    offsets: Any = entry.get("data_offsets")
    if not _is_counts(shape) or not _is_counts(offsets) or len(offsets) != 2 or offsets[0] > offsets[1]:
        raise fault
    if not isinstance(dtype, str) or dtype not in DTYPE_BITS:
        raise _malformed(path, f"tensor '{name}' has the unknown dtype '{dtype}'")
    info = TensorInfo(dtype, tuple(shape), (offsets[0], offsets[1]))
    needed_bytes = math.prod(info.shape) * DTYPE_BITS[dtype] // 8
    if info.size_bytes != needed_bytes:
        raise _malformed(
            path,
            f"tensor '{name}' ({dtype} {list(info.shape)}) takes {info.size_bytes} bytes, not {needed_bytes}",
        )
    return info


def _is_counts(value: Any) -> bool:
    return isinstance(value, list) and all(type(number) is int and number >= 0 for number in value)


def _check_extent(path: Path, tensors: Mapping[str, TensorInfo], data_bytes: int) -> None:
    end = 0
    for name, info in sorted(tensors.items(), key=lambda item: item[1].data_offsets):
        if info.data_offsets[0] != end:
            raise _malformed(path, f"tensor '{name}' begins at byte {info.data_offsets[0]}, not at {end}")
        end = info.data_offsets[1]
    if end != data_bytes:
        word = "truncated" if data_bytes < end else "longer than its header says"
        raise _malformed(path, f"{word}: {data_bytes} bytes of tensors, its header says {end}")
