"""Which kernels vLLM chose. Runs inside vLLM's worker process."""

from __future__ import annotations

from collections import Counter
from typing import Any


def count_kernels(model: Any) -> dict[str, int]:
    """Return how many layers each linear method, scheme and kernel serves, as "method/scheme/kernel": count.

    The kernel is what compressed-tensors schemes keep in `kernel` (Marlin, Machete, AllSpark …); it depends
    on the GPU, so speeds of one kernel say nothing of another.
    """
    counts: Counter[str] = Counter()
    for module in model.modules():
        method = getattr(module, "quant_method", None)
        if method is None:
            continue
        scheme = getattr(module, "scheme", None)
        kernel = getattr(scheme, "kernel", None) or getattr(method, "kernel", None)
        counts["/".join(type(part).__name__ for part in (method, scheme, kernel) if part is not None)] += 1
    return dict(sorted(counts.items()))
