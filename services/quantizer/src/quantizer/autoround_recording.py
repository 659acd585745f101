"""AutoRound's loss of each decoder layer, and its seed, while llmcompressor runs it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from lanekit.progress import Progress

LayerLosses = dict[str, tuple[float, float]]


class AnyCpu:
    """Stands for the library's look at the CPU: bfloat16 is computed on every one, fast or not.

    On a CPU without its instructions auto-round would turn the layer alone to float32 and fail at its input.
    """

    bf16 = True


@contextmanager
def record_autoround(n_layers: int, seed: int, progress: Progress) -> Iterator[LayerLosses]:
    """Give, by decoder layer, the loss of rounding to nearest and the least that was found.

    The library logs them, and sets a seed of its own; its methods are replaced for the duration.
    """
    from auto_round.compressors import base

    losses: LayerLosses = {}
    seen: list[float] = []
    kind = base.BaseCompressor
    quantize_block, get_loss, cpu = kind.quantize_block, kind._get_loss, base.CpuInfo

    def measure(self: Any, *args: Any, **kwargs: Any) -> Any:
        loss = get_loss(self, *args, **kwargs)
        seen.append(float(loss.detach()))
        return loss

    def quantize(self: Any, block: Any, *args: Any, **kwargs: Any) -> Any:
        seen.clear()
        name = block._tmp_name
        torch.manual_seed(seed + len(losses))
        result = quantize_block(self, block, *args, **kwargs)
        losses[name] = (seen[0], min(seen))
        progress(len(losses), n_layers, f"AutoRound {name}")
        return result

    kind.quantize_block, kind._get_loss, base.CpuInfo = quantize, measure, AnyCpu
    try:
        yield losses
    finally:
        kind.quantize_block, kind._get_loss, base.CpuInfo = quantize_block, get_loss, cpu
