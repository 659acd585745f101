"""Trained values rounded to the dtype in which they are stored, so that small updates are not lost. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch

_SIXTEEN_BITS = (torch.bfloat16, torch.float16)


@dataclass(frozen=True)
class RoundedUpdate:
    """Trained tensors in their stored dtypes, and what became of the elements that training changed.

    Of `n_trained` elements `n_changed` have another value than before training; `n_lost` of these have, once
    rounded, their old value. `n_lost_to_nearest` would have it if each were rounded to the nearest.
    """

    tensors: dict[str, torch.Tensor]
    n_trained: int
    n_changed: int
    n_lost: int
    n_lost_to_nearest: int

    @property
    def lost_share(self) -> float:
        """The share of the changed elements that fell back to their old value; 0 where none changed."""
        return self.n_lost / self.n_changed if self.n_changed else 0.0

    @property
    def lost_share_to_nearest(self) -> float:
        """The same, had each been rounded to the nearest."""
        return self.n_lost_to_nearest / self.n_changed if self.n_changed else 0.0


def round_update(
    trained: Mapping[str, torch.Tensor], stored: Mapping[str, torch.Tensor], seed: int
) -> RoundedUpdate:
    """Round trained tensors to the dtypes of those stored, up or down by chance (see `round_by_chance`).

    Rounded to the nearest, each update below half a step of the stored dtype is lost, and all of them pull
    one way. Rounded by chance, as many of them survive as keep their sum: the mean over the elements is what
    was trained (Gupta et al. 2015, "Deep Learning with Limited Numerical Precision"). The seed makes it the
    same every time.
    """
    generator = torch.Generator().manual_seed(seed)
    tensors, n_trained, n_changed, n_lost, n_lost_to_nearest = {}, 0, 0, 0, 0
    for name in sorted(stored):
        before, exact = stored[name].cpu(), trained[name].detach().cpu().float()
        tensors[name] = round_by_chance(exact, before.dtype, generator)
        is_changed = exact != before.float()
        n_trained += exact.numel()
        n_changed += int(is_changed.sum())
        n_lost += int((is_changed & (tensors[name] == before)).sum())
        n_lost_to_nearest += int((is_changed & (exact.to(before.dtype) == before)).sum())
    return RoundedUpdate(tensors, n_trained, n_changed, n_lost, n_lost_to_nearest)


def round_by_chance(exact: torch.Tensor, dtype: torch.dtype, generator: torch.Generator) -> torch.Tensor:
    """Round float32 values to one of their two neighbours in `dtype`, the nearer one more likely.

    A value a third of the way from the lower neighbour to the upper goes up in one case of three. A value
    that the dtype holds stays; so does one beyond its range.
    """
    nearest = exact.to(dtype)
    if dtype not in _SIXTEEN_BITS:
        return nearest
    # The patterns of a 16-bit float, sign aside, ascend with its size: the next one is a neighbour.
    away = torch.where(exact.abs() > nearest.float().abs(), 1, -1).to(torch.int16)
    other = (nearest.view(torch.int16) + away).view(dtype)
    near, far = nearest.float(), other.float()
    share = (exact - near) / (far - near)
    is_other = torch.rand(exact.shape, generator=generator) < share
    return torch.where(is_other & (exact != near) & near.isfinite() & far.isfinite(), other, nearest)
