"""Safetensors headers: files of the real library are read, damaged ones are named with their byte counts."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save_file

from lanekit.errors import InputError
from lanekit.files.safetensors_header import INDEX_NAME, TensorInfo, check_model_folder, read_header

TENSORS: dict[str, Any] = {
    "model.embed_tokens.weight": np.zeros((4, 8), np.float16),
    "model.norm.weight": np.ones(8, np.float32),
    "packed": np.arange(6, dtype=np.int32).reshape(2, 3),
    "scalar": np.array(3, np.int64),
    "empty": np.zeros((0, 5), np.uint8),
}
DATA_BYTES = 64 + 32 + 24 + 8


def write_raw(path: Path, header: Any, data: bytes = b"") -> Path:
    """Write a file with any header, text or JSON."""
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(len(raw).to_bytes(8, "little") + raw + data)
    return path


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    save_file(TENSORS, tmp_path / "model.safetensors", metadata={"format": "pt"})
    return tmp_path / "model.safetensors"


def test_a_file_of_the_real_library_is_read(weights: Path) -> None:
    header = read_header(weights)
    assert {n: t.shape for n, t in header.tensors.items()} == {n: a.shape for n, a in TENSORS.items()}
    assert {n: t.size_bytes for n, t in header.tensors.items()} == {n: a.nbytes for n, a in TENSORS.items()}
    assert {t.dtype for t in header.tensors.values()} == {"F16", "F32", "I32", "I64", "U8"}
    assert header.metadata == {"format": "pt"}
    assert header.data_start + DATA_BYTES == weights.stat().st_size
    begin, end = header.tensors["packed"].data_offsets
    packed = weights.read_bytes()[header.data_start :][begin:end]
    assert packed == TENSORS["packed"].tobytes()


def test_every_truncation_is_refused_with_the_byte_counts(weights: Path) -> None:
    content = weights.read_bytes()
    header_bytes = len(content) - 8 - DATA_BYTES
    for length in range(len(content)):
        weights.write_bytes(content[:length])
        with pytest.raises(InputError) as caught:
            read_header(weights)
        assert str(weights) in caught.value.message and caught.value.remedy
        if length < 8:
            expected = f"truncated: {length} bytes, the header's length alone takes 8"
        elif length < 8 + header_bytes:
            expected = f"truncated: {length} bytes, its header needs {8 + header_bytes}"
        else:
            have = length - 8 - header_bytes
            expected = f"truncated: {have} bytes of tensors, its header says {DATA_BYTES}"
        assert caught.value.message == f"{weights}: {expected}"


def test_bytes_at_the_end_are_refused(weights: Path) -> None:
    weights.write_bytes(weights.read_bytes() + b"xx")
    with pytest.raises(InputError, match=f"longer than its header says: {DATA_BYTES + 2} bytes of tensors"):
        read_header(weights)


ENTRY = {"dtype": "BF16", "shape": [2, 2], "data_offsets": [0, 8]}


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (b"{not json", "is not JSON"),
        (b"\xff\xfe{}", "is not JSON"),
        (b"[" * 5000, "is not JSON"),
        ([1, 2], "is not a JSON object"),
        ({"a": 3}, "the header's entry for 'a' is malformed: 3"),
        ({"a": {**ENTRY, "shape": [2, -2]}}, "entry for 'a' is malformed"),
        ({"a": {**ENTRY, "shape": None}}, "entry for 'a' is malformed"),
        ({"a": {**ENTRY, "data_offsets": [8, 0]}}, "entry for 'a' is malformed"),
        ({"a": {**ENTRY, "data_offsets": [0]}}, "entry for 'a' is malformed"),
        ({"a": {**ENTRY, "data_offsets": [0, 8.0]}}, "entry for 'a' is malformed"),
        ({"a": {**ENTRY, "dtype": "BF17"}}, "tensor 'a' has the unknown dtype 'BF17'"),
        ({"a": {**ENTRY, "dtype": ["BF16"]}}, "unknown dtype"),
        ({"a": {**ENTRY, "shape": [2, 3]}}, r"tensor 'a' \(BF16 \[2, 3\]\) takes 8 bytes, not 12"),
        ({"a": {**ENTRY, "data_offsets": [4, 12]}}, "tensor 'a' begins at byte 4, not at 0"),
        ({"a": ENTRY, "b": ENTRY}, "tensor 'b' begins at byte 0, not at 8"),
    ],
)
def test_malformed_headers_are_refused(tmp_path: Path, header: Any, expected: str) -> None:
    path = write_raw(tmp_path / "bad.safetensors", header, b"\0" * 8)
    with pytest.raises(InputError, match=rf"bad\.safetensors: .*{expected}"):
        read_header(path)


def test_a_pickle_and_an_empty_file_are_no_safetensors(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"\x80\x04\x95" + b"\xff" * 100)
    with pytest.raises(InputError, match="not a safetensors file: it claims a header of"):
        read_header(path)
    path.write_bytes(b"")
    with pytest.raises(InputError, match="truncated: 0 bytes"):
        read_header(path)
    with pytest.raises(InputError, match="no such file"):
        read_header(tmp_path / "none.safetensors")


@pytest.mark.slow
@given(st.binary(max_size=80), st.integers(0, 90))
def test_garbage_is_refused_or_accounts_for_every_byte(content: bytes, length: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for raw in (content, length.to_bytes(8, "little") + b"{" + content):
            path = Path(folder) / "garbage.safetensors"
            path.write_bytes(raw)
            try:
                header = read_header(path)
            except InputError as error:
                assert "garbage.safetensors: " in error.message
            else:  # e.g. a length of 2 and "{}": a whole file without tensors
                assert header.data_start + sum(i.size_bytes for i in header.tensors.values()) == len(raw)


def test_an_entry_tells_its_size() -> None:
    assert TensorInfo("U8", (3,), (5, 8)).size_bytes == 3


def write_folder(
    folder: Path, shards: dict[str, dict[str, Any]], index: dict[str, str] | None = None
) -> Path:
    (folder / "config.json").write_text('{"model_type": "exaone4"}', encoding="utf-8")
    for name, tensors in shards.items():
        save_file(tensors, folder / name)
    if index is not None:
        (folder / INDEX_NAME).write_text(json.dumps({"weight_map": index}), encoding="utf-8")
    return folder


ONE, TWO = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
SHARDS = {ONE: {"a": np.zeros(3)}, TWO: {"b": np.zeros(4)}}


def test_whole_model_folders_pass(tmp_path: Path) -> None:
    (tmp_path / "single").mkdir()
    (tmp_path / "sharded").mkdir()
    single = check_model_folder(write_folder(tmp_path / "single", {"model.safetensors": {"a": np.zeros(3)}}))
    assert set(single.tensor_names) == {"a"}
    assert single.config["model_type"] == "exaone4"
    sharded = check_model_folder(write_folder(tmp_path / "sharded", SHARDS, {"a": ONE, "b": TWO}))
    assert set(sharded.tensor_names) == {"a", "b"}
    assert list(sharded.headers) == [ONE, TWO]


def damage_shard(folder: Path) -> None:
    (folder / TWO).write_bytes((folder / TWO).read_bytes()[:-1])


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        (lambda f: (f / "config.json").unlink(), r"config\.json: no such file"),
        (lambda f: (f / "config.json").write_text("{"), r"config\.json: not valid JSON"),
        (lambda f: (f / "config.json").write_text("[]"), r"config\.json: not a JSON object"),
        (lambda f: (f / "config.json").write_bytes(b"\xff"), r"config\.json: not valid JSON"),
        (lambda f: (f / TWO).unlink(), f"1 of 2 weight files are missing: {TWO}"),
        (damage_shard, f"{TWO}: truncated: 31 bytes of tensors, its header says 32"),
        (lambda f: (f / INDEX_NAME).unlink(), f"2 weight files but no {INDEX_NAME}"),
        (lambda f: (f / INDEX_NAME).write_text("{}"), f"{INDEX_NAME}: no 'weight_map'"),
        (lambda f: save_file({"c": np.zeros(4)}, f / TWO), f"{TWO}: lacks 'b', which {INDEX_NAME} places"),
    ],
)
def test_what_is_missing_or_damaged_is_named(tmp_path: Path, damage: Any, expected: str) -> None:
    write_folder(tmp_path, SHARDS, {"a": ONE, "b": TWO})
    damage(tmp_path)
    with pytest.raises(InputError, match=expected) as caught:
        check_model_folder(tmp_path)
    assert caught.value.remedy


def test_a_folder_of_pickled_weights_is_refused(tmp_path: Path) -> None:
    write_folder(tmp_path, {})
    (tmp_path / "pytorch_model.bin").write_bytes(b"\x80")
    with pytest.raises(InputError, match=r"no \*\.safetensors file"):
        check_model_folder(tmp_path)
