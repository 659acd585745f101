"""The FP8 KV cache of the transformers engine: FP8's values, kept in the engine's own dtype."""

from __future__ import annotations

from typing import Any

import torch
from transformers import DynamicCache

DTYPE = torch.float8_e4m3fn  # vLLM's `fp8`, at its scale of 1 where a checkpoint gives none


class Fp8Cache(DynamicCache):
    """Rounds keys and values before they are kept, so that answers are those of an FP8 cache.

    It saves no memory and no time: a speed measured with it says nothing of one.
    """

    def update(
        self,
        key_states: torch.Tensor,
        value_states: torch.Tensor,
        layer_idx: int,
        cache_kwargs: dict[str, Any] | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """See transformers' Cache."""
        kept: tuple[torch.Tensor, torch.Tensor] = super().update(
            round_to_fp8(key_states), round_to_fp8(value_states), layer_idx, cache_kwargs
        )
        return kept


def round_to_fp8(states: torch.Tensor) -> torch.Tensor:
    """Return the nearest values that FP8 has; what is beyond its range becomes its end."""
    limit = torch.finfo(DTYPE).max
    return states.clamp(-limit, limit).to(DTYPE).to(states.dtype)
