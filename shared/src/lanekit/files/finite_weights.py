"""NaN and infinity in stored weights, found by tensor name. Each byte is read once, by numpy alone."""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lanekit.errors import InputError, PermanentError
from lanekit.files.safetensors_header import ModelFolder, TensorInfo, check_model_folder
from lanekit.files.tied_head import check_tied_head

MAX_NAMED = 5
CHUNK_BYTES = 1 << 22  # a few MB: two passes over it are one from memory and one from the cache

# A float is not finite where all bits of its exponent are set. Read as an integer with a sign, such a value
# without a sign lies at or above the first pattern; read without a sign, such a negative one lies at or above
# the second. F8_E4M3 knows NaN alone, F8_E8M0 (a scale) has no sign and one NaN. All other dtypes of
# safetensors are integers or floats without such values.
_LOWEST = {
    "F64": (8, 0x7FF0_0000_0000_0000, 0xFFF0_0000_0000_0000),
    "C64": (4, 0x7F80_0000, 0xFF80_0000),  # two F32 each
    "F32": (4, 0x7F80_0000, 0xFF80_0000),
    "F16": (2, 0x7C00, 0xFC00),
    "BF16": (2, 0x7F80, 0xFF80),
    "F8_E5M2": (1, 0x7C, 0xFC),
    "F8_E4M3": (1, 0x7F, 0xFF),
    "F8_E8M0": (1, None, 0xFF),
}


class NonFiniteWeightsError(PermanentError):
    """A stage wrote weights that are not finite."""


@dataclass(frozen=True)
class BadTensor:
    """A tensor with values that are not finite: its file, its name, how many of how many values."""

    file: str
    name: str
    n_bad: int
    n_values: int


def find_bad_tensors(model: ModelFolder) -> list[BadTensor]:
    """Return the tensors of a checked model folder that hold NaN or infinity, in the files' order."""
    return [
        bad
        for file, header in model.headers.items()
        for bad in _scan_file(header.path, file, header.data_start, dict(header.tensors))
    ]


def check_base_weights(folder: Path) -> ModelFolder:
    """Check a model that enters: whole (see `check_model_folder`), and every weight finite.

    Raises:
        InputError: a file is missing or truncated, or a tensor holds NaN or infinity; names the tensors.
    """
    model = check_model_folder(folder)
    bad = find_bad_tensors(model)
    if bad:
        raise InputError(
            f"{folder}: {_describe(bad)}",
            remedy="copy or download the model again; where it was trained so, give an earlier checkpoint",
        )
    return model


def check_written_model(folder: Path, remedy: str) -> ModelFolder:
    """Check a model that a stage has written: whole, the tied head stored once, every weight finite.

    Args:
        remedy: what to change where weights are not finite.

    Raises:
        InputError: a file is missing or truncated, or a tied head is stored.
        NonFiniteWeightsError: names the tensors.
    """
    model = check_model_folder(folder)
    check_tied_head(model)
    bad = find_bad_tensors(model)
    if bad:
        raise NonFiniteWeightsError(f"the stage's weights are not finite: {_describe(bad)}", remedy=remedy)
    return model


def _describe(bad: list[BadTensor]) -> str:
    named = ", ".join(f"{b.name} ({b.n_bad} of {b.n_values} values, in {b.file})" for b in bad[:MAX_NAMED])
    more = f", and {len(bad) - MAX_NAMED} more" if len(bad) > MAX_NAMED else ""
    plural = "tensor holds" if len(bad) == 1 else "tensors hold"
    return f"{len(bad)} {plural} NaN or infinity: {named}{more}"


def _scan_file(path: Path, file: str, data_start: int, tensors: dict[str, TensorInfo]) -> Iterator[BadTensor]:
    import numpy as np

    if not any(info.size_bytes for info in tensors.values()):
        return
    with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
        if hasattr(mmap, "MADV_SEQUENTIAL"):
            content.madvise(mmap.MADV_SEQUENTIAL)
        for name, info in sorted(tensors.items(), key=lambda item: item[1].data_offsets):
            if info.dtype not in _LOWEST or not info.size_bytes:
                continue
            width, _, _ = _LOWEST[info.dtype]
            values = np.frombuffer(
                content, f"<u{width}", info.size_bytes // width, data_start + info.data_offsets[0]
            )
            n_bad = _count_bad(values, info.dtype)
            n_values = len(values)
            del values  # the map cannot be closed while an array looks into it
            if n_bad:
                yield BadTensor(file, name, n_bad, n_values)


def _count_bad(values: Any, dtype: str) -> int:
    """Count the values that are not finite; two maxima tell of most tensors that there is none."""
    width, positive, negative = _LOWEST[dtype]
    signed = values.view(f"<i{width}")
    step = CHUNK_BYTES // width
    n_bad = 0
    for at in range(0, len(values), step):
        part, part_signed = values[at : at + step], signed[at : at + step]
        if part.max() >= negative:
            n_bad += int((part >= negative).sum())
        if positive is not None and part_signed.max() >= positive:
            n_bad += int((part_signed >= positive).sum())
    return n_bad
