"""Which prompts go through the model together. Pure."""

from __future__ import annotations

from collections.abc import Sequence

MAX_BATCH_TOKENS = 32_768  # of padded prompt: bounds the attention mask and the activations of the prefill


def plan_batches(
    lengths: Sequence[int], batch_size: int, max_tokens: int = MAX_BATCH_TOKENS
) -> list[list[int]]:
    """Return batches of prompt indexes, longest first, so that little is padded and memory peaks at once.

    A batch holds at most `batch_size` prompts and, unless it holds one, `max_tokens` padded tokens.
    """
    batches: list[list[int]] = []
    for index in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        if batches:
            batch = batches[-1]
            padded = lengths[batch[0]] * (len(batch) + 1)
            if len(batch) < batch_size and padded <= max_tokens:
                batch.append(index)
                continue
        batches.append([index])
    return batches
