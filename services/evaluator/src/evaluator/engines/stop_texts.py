"""Stop texts for the transformers engine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from transformers import StoppingCriteria

_SPARE_TOKENS = 8  # beside one a byte: special tokens, which decode to nothing, and a first one cut in half


class StopTexts(StoppingCriteria):  # type: ignore[misc]
    """End each row whose continuation holds one of the texts.

    `ends` says, by row, how many new tokens it had when that happened. transformers' own StopStringCriteria
    reads each token as text by itself, and so misses characters whose bytes are spread over tokens, as
    Korean ones often are.
    """

    def __init__(self, tokenizer: Any, texts: Sequence[str], prompt_width: int) -> None:
        self.tokenizer = tokenizer
        self.texts = tuple(texts)
        self.prompt_width = prompt_width
        self.window = max(len(text.encode()) for text in texts) + _SPARE_TOKENS
        self.ends: dict[int, int] = {}

    def __call__(self, input_ids: torch.Tensor, scores: Any, **kwargs: Any) -> torch.Tensor:
        """Return, for each row of `input_ids` (rows, width), whether it is over."""
        length = input_ids.shape[1] - self.prompt_width
        tails = input_ids[:, self.prompt_width :][:, -self.window :].tolist()
        open_rows = [row for row in range(len(tails)) if row not in self.ends]
        decoded = self.tokenizer.batch_decode([tails[row] for row in open_rows], skip_special_tokens=True)
        for row, text in zip(open_rows, decoded, strict=True):
            if any(stop in text for stop in self.texts):
                self.ends[row] = length
        over = [row in self.ends for row in range(len(tails))]
        return torch.tensor(over, dtype=torch.bool, device=input_ids.device)
