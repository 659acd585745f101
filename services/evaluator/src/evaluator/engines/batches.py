"""Which prompts go through the model together. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from evaluator.engines.base import Ask

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


def plan_exact_batches(asks: Sequence[Ask], batch_size: int) -> list[list[int]]:
    """Return batches of indexes, those with most new tokens first; equal lengths go together, however many.

    A batch runs to its longest, so that every model does the same work for the same lengths.
    """
    lengths = {ask.max_new_tokens for ask in asks}
    if len(lengths) <= 1:  # a fixed-length form: its batch is what is timed
        return [list(range(len(asks)))] if asks else []
    order = sorted(range(len(asks)), key=lambda i: (-asks[i].max_new_tokens, -len(asks[i].token_ids), i))
    return [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
