"""The scales of smoothing, for decoders that normalize the outputs of attention and MLP alone. Pure.

SmoothQuant (Xiao et al. 2023, arXiv:2211.10438, equation 4) divides a linear's input channel j by
s_j = max|X_j|^a / max|W_j|^(1-a) and multiplies the weight's column by it: outliers move from activations,
which are quantized a token, to weights, which are quantized a channel. It folds 1/s into the norm before the
linear. EXAONE-4 has no such norm: attention and MLP read the residual stream itself. What can be divided is
therefore the whole stream h, by one d:

    h' = h / d          embedding / d; both norms of each layer's outputs: weight / d
    W' h' = W h         q, k, v, gate, up: columns x d (q_norm and k_norm see the same as before)
    logits' = t logits  final norm: weight x d^2 with a tied head (one d is the head's, which is embedding / d
                        as well), x d with a head of its own; t = rms(h) / rms(h / d), one a token

Only the final norm sees d: it divides by rms(h / d) instead of rms(h). So every reply by argmax is the
same, and a temperature means the same where the mean of t is 1: a number times d is that number times t.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch


def compute_log_scales(activations: torch.Tensor, weights: torch.Tensor, strength: float) -> torch.Tensor:
    """Return log2 of SmoothQuant's scales, their mean 0; 0 where a channel or its weights are always 0.

    Args:
        activations: the largest absolute input by channel.
        weights: the largest absolute weight by input channel.
    """
    inputs, columns = activations.double(), weights.double()
    is_live = (inputs > 0) & (columns > 0)
    logs = strength * inputs.log2() - (1 - strength) * columns.log2()
    if not bool(is_live.any()):
        return torch.zeros_like(inputs)
    return torch.where(is_live, logs - logs[is_live].mean(), 0.0)


def average_log_scales(logs: Sequence[torch.Tensor]) -> torch.Tensor:
    """Return the scales of the stream: the geometric mean of what each of its readers asks for."""
    return torch.stack(list(logs)).mean(dim=0)


def fold_heads(values: torch.Tensor, n_kv_heads: int, head_dim: int) -> torch.Tensor:
    """Return, by channel of the value heads, the largest of the query heads' channels that read it."""
    return values.view(n_kv_heads, -1, head_dim).amax(dim=1).reshape(-1)


def spread_heads(scales: torch.Tensor, n_heads: int, head_dim: int) -> torch.Tensor:
    """Return the value heads' scales, each head's repeated for the query heads that read it."""
    heads = scales.view(-1, head_dim)
    return heads.repeat_interleave(n_heads // heads.shape[0], dim=0).reshape(-1)


def make_scales(logs: torch.Tensor, *, power_of_two: bool) -> torch.Tensor:
    """Return scales from their log2, rounded to the nearest power of two where asked."""
    return torch.exp2(logs.round() if power_of_two else logs)


@dataclass(frozen=True)
class LogitsFactor:
    """The factor t of the logits over some tokens; 1 is the model as it was."""

    mean: float
    lowest: float
    highest: float


def measure_factor(states: torch.Tensor, scales: torch.Tensor, eps: float) -> torch.Tensor:
    """Return each token's factor t; `states` are (tokens, channels), before the final norm."""
    squares = states.double().square()
    return ((squares.mean(-1) + eps) / ((squares / scales.square()).mean(-1) + eps)).sqrt()


def normalize_scales(
    logs: torch.Tensor, states: torch.Tensor, eps: float, *, power_of_two: bool
) -> tuple[torch.Tensor, LogitsFactor]:
    """Return the stream's scales such that the mean of t over `states` is 1, and t.

    Powers of two keep to powers of two: it is the threshold of their rounding that is moved. As it falls by
    one octave, channel after channel is doubled, and so is the mean of t at its end: somewhere in between it
    is a power of two, by which all scales can be divided without a loss.
    """
    scales = _round_normalized(logs, states, eps) if power_of_two else torch.exp2(logs)
    if not power_of_two:
        scales = scales / float(measure_factor(states, scales, eps).mean())
    factor = measure_factor(states, scales, eps)
    return scales, LogitsFactor(float(factor.mean()), float(factor.min()), float(factor.max()))


def _round_normalized(logs: torch.Tensor, states: torch.Tensor, eps: float) -> torch.Tensor:
    low = logs.floor()
    # Channels in the order in which a falling threshold doubles them: the one nearest its next octave first.
    order = (logs - low).argsort(descending=True, stable=True)

    def double_first(count: int) -> torch.Tensor:
        exponents = low.clone()
        exponents[order[:count]] += 1
        return exponents

    def measure_log(exponents: torch.Tensor) -> float:
        return float(measure_factor(states, torch.exp2(exponents), eps).mean().log2())

    target = torch.tensor(measure_log(low)).ceil().item()
    fewest, most = 0, len(logs)
    while fewest < most:  # the mean rises with the number doubled
        middle = (fewest + most) // 2
        if measure_log(double_first(middle)) < target:
            fewest = middle + 1
        else:
            most = middle
    candidates = [double_first(count) for count in range(max(fewest - 1, 0), fewest + 1)]
    best = min(candidates, key=lambda exponents: abs(measure_log(exponents) - target))
    return torch.exp2(best - target)
