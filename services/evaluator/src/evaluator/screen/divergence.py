"""Two sets of logits for the same tokens, compared token by token.

The definitions are those of llama.cpp's perplexity tool under --kl-divergence (ggml-org/llama.cpp,
tools/perplexity/perplexity.cpp, commit 050fc7f): KLD in nats, base ‖ candidate, Σ p_base (log p_base − log
p_cand) over the vocabulary; same top p, whether the most likely token is the same; PPL, e to the mean
negative log-likelihood of the text's own tokens, and its ratio, candidate over base; percentiles by linear
interpolation. It rounds the base's log-probabilities to 16 bits, which makes some of its KLD negative; here
nothing is rounded. Its errors are over tokens, ours over sequences (`measure_mean_error`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import exp, fsum

import torch

from evaluator.screen.texts import Sequence as TextSequence
from evaluator.screen.texts import digest_sequences
from lanekit.errors import InputError
from lanekit.results.screen import ScreenResult, measure_mean_error

CHUNK_ROWS = 64  # of float64 over the vocabulary at a time: 52 MB each at 102,400
MAX_MEAN_NLL = 300.0


@dataclass
class TokenScores:
    """One entry a token: KL, 1.0 where the most likely token is the same, negative log-likelihoods."""

    kl: list[float] = field(default_factory=list)
    same_top: list[float] = field(default_factory=list)
    nll: list[float] = field(default_factory=list)
    base_nll: list[float] = field(default_factory=list)


@torch.inference_mode()
def compare_logits(base: torch.Tensor, candidate: torch.Tensor, targets: Sequence[int]) -> TokenScores:
    """Return the scores of tokens `targets` under two models' logits, of one row a token.

    Computed in float64, CHUNK_ROWS rows at a time.

    Raises:
        InputError: the vocabularies differ in size, or logits are NaN or infinite.
    """
    if base.shape != candidate.shape:
        raise InputError(
            f"the base model's vocabulary has {base.shape[-1]} tokens, the model's {candidate.shape[-1]}: "
            "their distributions cannot be compared",
            remedy="keep the base's vocabulary; without it the lane is ranked all the same, by its score",
        )
    scores = TokenScores()
    wanted = torch.tensor(list(targets), device=base.device)
    for begin in range(0, len(wanted), CHUNK_ROWS):
        rows = slice(begin, begin + CHUNK_ROWS)
        log_p, log_q = (x[rows].double().log_softmax(dim=-1) for x in (base, candidate))
        places = wanted[rows].unsqueeze(-1)
        # Never below 0 but for the last bit of a sum over the vocabulary.
        kl = (log_p.exp() * (log_p - log_q)).sum(dim=-1).clamp(min=0)
        scores.kl += kl.tolist()
        scores.same_top += (log_p.argmax(dim=-1) == log_q.argmax(dim=-1)).double().tolist()
        scores.nll += (-log_q.gather(-1, places).squeeze(-1)).tolist()
        scores.base_nll += (-log_p.gather(-1, places).squeeze(-1)).tolist()
    if not torch.isfinite(torch.tensor([*scores.kl, *scores.nll, *scores.base_nll])).all():
        raise InputError(
            "the logits of the base model or of the model hold NaN or infinity",
            remedy="look at the lane's evaluation: the model, or its stage, is at fault; with screen.dtype: "
            "float16 it may be an overflow: set float32",
        )
    return scores


def summarize_scores(sequences: Sequence[TextSequence], scores: Sequence[TokenScores]) -> ScreenResult:
    """Return the numbers over all tokens, with their standard errors over sequences.

    Raises:
        InputError: the perplexity is beyond any number.
    """
    tokens = [sequence.n_counted for sequence in sequences]
    kl, same, nll, base_nll = (
        [fsum(getattr(s, name)) for s in scores] for name in ("kl", "same_top", "nll", "base_nll")
    )
    total = sum(tokens)
    every = torch.tensor([value for s in scores for value in s.kl], dtype=torch.float64)
    median, p99 = torch.quantile(every, torch.tensor([0.5, 0.99], dtype=torch.float64)).tolist()
    gaps = [mine - base for mine, base in zip(nll, base_nll, strict=True)]
    if max(fsum(nll), fsum(base_nll)) / total > MAX_MEAN_NLL:
        raise InputError(
            f"the perplexity of the text is above e^{MAX_MEAN_NLL:.0f}: this is no language model any more",
            remedy="look at the lane's evaluation: the model, or its stage, is at fault",
        )
    ratio, gap_error = exp(fsum(gaps) / total), measure_mean_error(gaps, tokens)
    return ScreenResult(
        n_tokens=total,
        n_sequences=len(tokens),
        kl_mean=fsum(kl) / total,
        kl_error=measure_mean_error(kl, tokens),
        kl_median=median,
        kl_p99=p99,
        same_top=fsum(same) / total,
        same_top_error=measure_mean_error(same, tokens),
        ppl=exp(fsum(nll) / total),
        base_ppl=exp(fsum(base_nll) / total),
        ppl_ratio=ratio,
        ppl_ratio_error=None if gap_error is None else ratio * gap_error,
        text=digest_sequences(list(sequences)),
        sequence_tokens=tokens,
        sequence_kl=kl,
    )
