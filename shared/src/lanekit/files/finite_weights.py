"""NaN and infinity in stored weights, found by tensor name. Each byte is read once, by numpy alone."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lanekit.errors import InputError, PermanentError
from lanekit.files.safetensors_header import REMEDY, ModelFolder, TensorInfo, check_model_folder
from lanekit.files.tied_head import check_tied_head

MAX_NAMED = 5
CHUNK_BYTES = 1 << 20  # small enough for a processor's cache, where it is looked at twice

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
        for bad in _scan_file(header.path, file, header.data_start, header.tensors)
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


def _scan_file(
    path: Path, file: str, data_start: int, tensors: Mapping[str, TensorInfo]
) -> Iterator[BadTensor]:
    import numpy as np

    buffer = bytearray(CHUNK_BYTES)
    with path.open("rb", buffering=0) as stream:
        for name, info in sorted(tensors.items(), key=lambda item: item[1].data_offsets):
            if info.dtype not in _LOWEST:
                continue
            width, positive, negative = _LOWEST[info.dtype]
            values = np.frombuffer(buffer, f"<u{width}")
            stream.seek(data_start + info.data_offsets[0])
            n_bad, left = 0, info.size_bytes
            while left:
                n_bytes = _fill(stream, memoryview(buffer)[: min(left, CHUNK_BYTES)], path)
                n_bad += _count_bad(values[: n_bytes // width], positive, negative)
                left -= n_bytes
            if n_bad:
                yield BadTensor(file, name, n_bad, info.size_bytes // width)


def _fill(stream: io.FileIO, view: memoryview, path: Path) -> int:
    """Read until the view is full: a read may give less, and a value must not be cut in two."""
    done = 0
    while done < len(view):
        n_bytes = stream.readinto(view[done:])
        if not n_bytes:
            raise InputError(f"{path}: became shorter while it was read", remedy=REMEDY)
        done += n_bytes
    return done


def _count_bad(values: Any, positive: int | None, negative: int) -> int:
    """Count the values that are not finite; two maxima tell of most parts that there is none."""
    n_bad = 0
    if values.max() >= negative:
        n_bad += int((values >= negative).sum())
    if positive is not None:
        signed = values.view(values.dtype.str.replace("u", "i"))
        if signed.max() >= positive:
            n_bad += int((signed >= positive).sum())
    return n_bad
