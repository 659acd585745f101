"""NaN and infinity in weights: found in every float dtype, by name, and never where there is none."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from lanekit.errors import InputError
from lanekit.files import finite_weights
from lanekit.files.finite_weights import (
    BadTensor,
    NonFiniteWeightsError,
    check_base_weights,
    check_written_model,
    find_bad_tensors,
)
from lanekit.files.safetensors_header import INDEX_NAME, check_model_folder

# By dtype: its bytes a value, and the bit patterns of its largest finite value, of infinity and of NaN.
PATTERNS: dict[str, tuple[int, list[int], list[int]]] = {
    "F64": (8, [0x7FEFFFFFFFFFFFFF], [0x7FF0000000000000, 0xFFF0000000000000, 0x7FF8000000000000, 2**64 - 1]),
    "F32": (4, [0x7F7FFFFF, 0xFF7FFFFF], [0x7F800000, 0xFF800000, 0x7FC00000, 0xFFC00001, 0xFFFFFFFF]),
    "C64": (4, [0x7F7FFFFF, 0xFF7FFFFF], [0x7F800000, 0xFF800000, 0x7FC00000]),
    "F16": (2, [0x7BFF, 0xFBFF], [0x7C00, 0xFC00, 0x7E00, 0xFFFF]),
    "BF16": (2, [0x7F7F, 0xFF7F], [0x7F80, 0xFF80, 0x7FC0, 0xFFFF]),
    "F8_E5M2": (1, [0x7B, 0xFB], [0x7C, 0xFC, 0x7F, 0xFF]),
    "F8_E4M3": (1, [0x7E, 0xFE], [0x7F, 0xFF]),
    "F8_E8M0": (1, [0xFE, 0x7F, 0x80], [0xFF]),
}


def write_raw(path: Path, tensors: dict[str, tuple[str, bytes]]) -> None:
    """Write a safetensors file of one-dimensional tensors, from their bytes."""
    header, data = {}, b""
    for name, (dtype, raw) in tensors.items():
        width = {"C64": 8}.get(dtype) or PATTERNS[dtype][0]
        entry = {
            "dtype": dtype,
            "shape": [len(raw) // width],
            "data_offsets": [len(data), len(data) + len(raw)],
        }
        header[name] = entry
        data += raw
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)


def make_folder(folder: Path, tensors: dict[str, tuple[str, bytes]]) -> Path:
    (folder / "config.json").write_text("{}")
    write_raw(folder / "model.safetensors", tensors)
    return folder


def encode(dtype: str, patterns: list[int]) -> bytes:
    return b"".join(pattern.to_bytes(PATTERNS[dtype][0], "little") for pattern in patterns)


@pytest.mark.parametrize("dtype", PATTERNS)
def test_the_largest_values_of_a_dtype_are_finite(tmp_path: Path, dtype: str) -> None:
    finite = [0, 1, *PATTERNS[dtype][1]] * 2
    folder = make_folder(tmp_path, {"a": (dtype, encode(dtype, finite))})
    assert find_bad_tensors(check_model_folder(folder)) == []


@pytest.mark.parametrize(
    ("dtype", "pattern"), [(dtype, bad) for dtype, (_, _, all_bad) in PATTERNS.items() for bad in all_bad]
)
def test_one_value_that_is_not_finite_is_found_by_name(tmp_path: Path, dtype: str, pattern: int) -> None:
    zeros = encode(dtype, [0] * 8)
    bad = encode(dtype, [0] * 5 + [pattern, 0, 0])
    folder = make_folder(tmp_path, {"first": (dtype, zeros), "second": (dtype, bad), "third": (dtype, zeros)})
    n_values = 8
    assert find_bad_tensors(check_model_folder(folder)) == [
        BadTensor("model.safetensors", "second", 1, n_values)
    ]


def test_integers_are_never_taken_for_floats(tmp_path: Path) -> None:
    packed = {
        "weight_packed": np.full(64, -1, np.int32),
        "mask": np.ones(3, bool),
        "u8": np.full(9, 255, np.uint8),
    }
    save_file(packed, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text("{}")
    assert find_bad_tensors(check_model_folder(tmp_path)) == []


def test_every_chunk_and_every_file_is_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(finite_weights, "CHUNK_BYTES", 16)
    (tmp_path / "config.json").write_text("{}")
    values = np.zeros((5, 7), np.float32)
    for place in (0, 17, 34):
        bad = values.copy()
        bad.flat[place] = [np.nan, np.inf, -np.inf][place % 3]
        save_file({"a": values, "b": bad}, tmp_path / "one.safetensors")
        save_file({"c": np.array([np.nan, 1, -np.inf]), "empty": np.zeros(0)}, tmp_path / "two.safetensors")
        weight_map = {"a": "one.safetensors", "b": "one.safetensors", "c": "two.safetensors"}
        (tmp_path / INDEX_NAME).write_text(json.dumps({"weight_map": weight_map}))
        assert find_bad_tensors(check_model_folder(tmp_path)) == [
            BadTensor("one.safetensors", "b", 1, 35), BadTensor("two.safetensors", "c", 2, 3),
        ]  # fmt: skip


def test_who_brings_such_a_model_is_told_its_tensors(tmp_path: Path) -> None:
    bad = encode("BF16", [0x7FC0, 0])
    names = {f"model.layers.{i}.mlp.up_proj.weight": ("BF16", bad) for i in range(7)}
    folder = make_folder(tmp_path, names)
    with pytest.raises(InputError, match="7 tensors hold NaN or infinity") as caught:
        check_base_weights(folder)
    assert "model.layers.0.mlp.up_proj.weight (1 of 2 values, in model.safetensors)" in caught.value.message
    assert "and 2 more" in caught.value.message and "download" in caught.value.remedy


def test_what_a_stage_wrote_is_refused_with_the_stages_remedy(tmp_path: Path) -> None:
    folder = make_folder(tmp_path, {"a.weight_scale": ("BF16", encode("BF16", [0xFF80]))})
    with pytest.raises(
        NonFiniteWeightsError, match=r"1 tensor holds NaN or infinity: a\.weight_scale"
    ) as caught:
        check_written_model(folder, "raise dampening")
    assert caught.value.remedy == "raise dampening"
