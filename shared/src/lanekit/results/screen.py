"""The screen's numbers: how far a model's next-token distributions lie from the base model's."""

from __future__ import annotations

from math import fsum, sqrt

from pydantic import BaseModel, ConfigDict


class ScreenResult(BaseModel):
    """Candidate against base on the same held-out answer tokens (`evaluator.screen.divergence`).

    KL is in nats for each token, base ‖ candidate; `same_top` is how often both hold the same token most
    likely; `ppl_ratio` is candidate over base. An `_error` is the standard error over sequences, None for
    fewer than two. `text` is the digest of what was read: `sequence_kl`, each sequence's sum, can be paired
    with another lane's where it is equal.
    """

    model_config = ConfigDict(extra="forbid", protected_namespaces=())

    n_tokens: int
    n_sequences: int
    kl_mean: float
    kl_error: float | None = None
    kl_median: float
    kl_p99: float
    same_top: float
    same_top_error: float | None = None
    ppl: float
    base_ppl: float
    ppl_ratio: float
    ppl_ratio_error: float | None = None
    text: str = ""
    sequence_tokens: list[int] = []
    sequence_kl: list[float] = []


class ScreenDifference(BaseModel):
    """One lane's screen less another's; `kl_error` is of the paired sequences, None where they differ."""

    model_config = ConfigDict(extra="forbid")

    kl: float
    kl_error: float | None = None
    same_top: float
    ppl_ratio: float


def subtract_screens(b: ScreenResult, a: ScreenResult) -> ScreenDifference | None:
    """Return B's screen less A's; None where they were read on different text."""
    if b.text != a.text:
        return None
    sums = [y - x for x, y in zip(a.sequence_kl, b.sequence_kl, strict=False)]
    return ScreenDifference(
        kl=b.kl_mean - a.kl_mean,
        kl_error=measure_mean_error(sums, b.sequence_tokens) if sums else None,
        same_top=b.same_top - a.same_top,
        ppl_ratio=b.ppl_ratio - a.ppl_ratio,
    )


def measure_mean_error(sums: list[float], tokens: list[int]) -> float | None:
    """Return the standard error, over sequences, of a mean over tokens; None for fewer than two sequences.

    The mean is Σ sums / Σ tokens, a ratio: its error is that of the linearized ratio (Cochran, Sampling
    Techniques, 3rd ed. 1977, 2.11). llama.cpp takes every token for a draw of its own, which makes it too
    small: tokens of one text go wrong together.
    """
    n = len(sums)
    if n < 2:
        return None
    total = fsum(tokens)
    mean = fsum(sums) / total
    squares = fsum((part - mean * count) ** 2 for part, count in zip(sums, tokens, strict=True))
    return sqrt(n / (n - 1) * squares) / total
