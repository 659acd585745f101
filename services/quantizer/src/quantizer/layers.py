"""Which linear layers a quantization leaves as they are: named, or chosen by what quantizing them costs."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from compressed_tensors.utils import match_named_modules
from pydantic import BaseModel, ConfigDict

from lanekit.errors import InputError
from lanekit.spec.quantization import (
    AutoRoundParams,
    AwqParams,
    CompressParams,
    Fp8Params,
    GptqParams,
    KeptLayers,
    RoundParams,
)
from quantizer.loading import check_group_size, find_group_size

QuantizingParams = GptqParams | RoundParams | Fp8Params | AwqParams | AutoRoundParams

LAYERS_NAME = "layers.json"
MB = 1_000_000
_LAYER = re.compile(r"(?:^|\.)layers\.(\d+)\.")


class LayerCost(BaseModel):
    """One decoder layer: how far quantizing it alone moves the logits, and the bytes that keeping it adds."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    layer: int
    kl: float
    extra_bytes: int


class LayerCosts(BaseModel):
    """What the stage `sensitivity` found, in layers.json."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    scheme: str
    layers: tuple[LayerCost, ...]


def find_layer(name: str) -> int | None:
    """Return the number of the decoder layer that a module belongs to; None outside of them."""
    found = _LAYER.search(name)
    return int(found[1]) if found else None


def find_kept(spec: CompressParams, inputs: Mapping[str, Path]) -> tuple[int, ...]:
    """Return the layers that stay as they are; none where none is to.

    Raises:
        InputError: the budget is too small for one layer, or large enough for all.
    """
    if spec.keep is None or spec.keep.by is None:
        return spec.keep.layers if spec.keep else ()
    text = (inputs["sensitivity"] / LAYERS_NAME).read_text(encoding="utf-8")
    return choose_kept(LayerCosts.model_validate_json(text), spec.keep)


def choose_kept(costs: LayerCosts, keep: KeptLayers) -> tuple[int, ...]:
    """Return the layers that move the logits most for their bytes, as many as are asked for or have room.

    Raises:
        InputError: that is none, or all.
    """
    left = math.inf if keep.budget_mb is None else keep.budget_mb * MB
    kept: list[int] = []
    for cost in sorted(costs.layers, key=lambda c: (-c.kl / max(c.extra_bytes, 1), c.layer)):
        if cost.extra_bytes <= left and len(kept) < (keep.count or len(costs.layers)):
            kept.append(cost.layer)
            left -= cost.extra_bytes
    if not kept or len(kept) == len(costs.layers):
        least = min((cost.extra_bytes for cost in costs.layers), default=0) / MB
        total = sum(cost.extra_bytes for cost in costs.layers) / MB
        limit = f"count is {keep.count}" if keep.count else f"budget_mb is {keep.budget_mb:g}"
        raise InputError(
            f"keep.{limit}: {'every layer' if kept else 'no layer'} would be kept",
            remedy=f"one of {len(costs.layers)} layers takes {least:.2f} MB, all take {total:.2f}: keep some",
        )
    return tuple(sorted(kept))


def choose_ignored(
    model: Any, spec: QuantizingParams, inputs: Mapping[str, Path]
) -> tuple[tuple[int, ...], list[str]]:
    """Return the layers that are kept, and all that llmcompressor is to leave out.

    Raises:
        InputError: a kept layer is not there or no budget fits, or a width of the others does not divide by
            the scheme's group size.
    """
    kept = find_kept(spec, inputs)
    ignored = list_ignored(model, spec, kept)
    group_size = find_group_size(spec.scheme)
    if group_size:
        check_group_size(model, group_size, ignored)
    return kept, ignored


def report_kept(kept: tuple[int, ...]) -> dict[str, Any]:
    """Return the report's part on kept layers; nothing where none is kept."""
    return {"kept_layers": list(kept)} if kept else {}


def list_ignored(model: Any, spec: CompressParams, kept: tuple[int, ...]) -> list[str]:
    """Return what llmcompressor is to leave out: `ignore` as it is written, then each linear of a kept layer.

    The kept ones are named in full: a pattern may match an attention module too, whose KV scales are wanted.

    Raises:
        InputError: a kept layer is not there.
    """
    by_layer: dict[int, list[str]] = {}
    for name in _list_linears(model):
        number = find_layer(name)
        if number is not None:
            by_layer.setdefault(number, []).append(name)
    missing = [number for number in kept if number not in by_layer]
    if missing:
        raise InputError(
            f"keep.layers names {', '.join(map(str, missing))}, and the model's layers are 0 to "
            f"{max(by_layer, default=-1)}",
            remedy="name layers that the model has at this point of the lane",
        )
    return [*spec.ignore, *(name for number in kept for name in by_layer[number])]


def list_left_out(model: Any, ignored: list[str]) -> list[str]:
    """Return the full names of the linears that `ignored` leaves out, as compressed-tensors reads it."""
    taken = {name for name, _ in match_named_modules(model, ["Linear"], ignored)}
    return [name for name in _list_linears(model) if name not in taken]


def _list_linears(model: Any) -> list[str]:
    return [name for name, module in model.named_modules() if isinstance(module, torch.nn.Linear)]
