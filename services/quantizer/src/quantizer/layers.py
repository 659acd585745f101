"""Which linear layers a quantization leaves as they are."""

from __future__ import annotations

import re
from typing import Any

import torch
from compressed_tensors.utils import match_named_modules

from lanekit.errors import InputError
from lanekit.spec.params import CompressParams

_LAYER = re.compile(r"(?:^|\.)layers\.(\d+)\.")


def list_ignored(model: Any, spec: CompressParams) -> list[str]:
    """Return what llmcompressor is to leave out: `ignore` as it is written, then each linear of a kept layer.

    The kept ones are named in full: a pattern may match an attention module too, whose KV scales are wanted.

    Raises:
        InputError: a kept layer is not there.
    """
    if spec.keep is None:
        return list(spec.ignore)
    by_layer: dict[int, list[str]] = {}
    for name in _list_linears(model):
        found = _LAYER.search(name)
        if found:
            by_layer.setdefault(int(found[1]), []).append(name)
    missing = [number for number in spec.keep.layers if number not in by_layer]
    if missing:
        raise InputError(
            f"keep.layers names {', '.join(map(str, missing))}, and the model's layers are 0 to "
            f"{max(by_layer, default=-1)}",
            remedy="name layers that the model has at this point of the lane",
        )
    return [*spec.ignore, *(name for number in spec.keep.layers for name in by_layer[number])]


def list_left_out(model: Any, ignored: list[str]) -> list[str]:
    """Return the full names of the linears that `ignored` leaves out, as compressed-tensors reads it."""
    taken = {name for name, _ in match_named_modules(model, ["Linear"], ignored)}
    return [name for name in _list_linears(model) if name not in taken]


def _list_linears(model: Any) -> list[str]:
    return [name for name, module in model.named_modules() if isinstance(module, torch.nn.Linear)]
