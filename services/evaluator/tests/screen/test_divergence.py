"""The screen's numbers against independent computations, and what cannot be compared."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from evaluator.screen import divergence
from evaluator.screen.divergence import TokenScores, compare_logits, summarize_scores
from evaluator.screen.texts import Sequence
from lanekit.errors import InputError

N_TOKENS, VOCAB = 150, 37  # more than two chunks


@pytest.fixture
def logits() -> tuple[torch.Tensor, torch.Tensor, list[int]]:
    generator = torch.Generator().manual_seed(1)
    base = 3 * torch.randn(N_TOKENS, VOCAB, generator=generator)
    candidate = base + torch.randn(N_TOKENS, VOCAB, generator=generator)
    return base, candidate, torch.randint(VOCAB, (N_TOKENS,), generator=generator).tolist()


def test_each_token_is_as_torchs_own_divergence_and_cross_entropy_over_whole_logits(
    logits: tuple[torch.Tensor, torch.Tensor, list[int]],
) -> None:
    base, candidate, targets = logits
    found = compare_logits(base, candidate, targets)
    log_p, log_q = base.double().log_softmax(-1), candidate.double().log_softmax(-1)
    kl = torch.nn.functional.kl_div(log_q, log_p, reduction="none", log_target=True).sum(-1)
    assert found.kl == pytest.approx(kl.tolist(), rel=1e-12)
    wanted = torch.tensor(targets)
    for mine, model in ((found.nll, candidate), (found.base_nll, base)):
        theirs = torch.nn.functional.cross_entropy(model.double(), wanted, reduction="none")
        assert mine == pytest.approx(theirs.tolist(), rel=1e-12)
    same = np.argmax(base.numpy(), -1) == np.argmax(candidate.numpy(), -1)
    assert found.same_top == same.astype(float).tolist() and 0 < same.mean() < 1


def test_the_divergence_is_from_the_base_and_of_a_known_value() -> None:
    base, candidate = torch.tensor([[0.5, 0.5]]).log(), torch.tensor([[0.9, 0.1]]).log()
    forward = 0.5 * math.log(0.5 / 0.9) + 0.5 * math.log(0.5 / 0.1)
    backward = 0.9 * math.log(0.9 / 0.5) + 0.1 * math.log(0.1 / 0.5)
    assert compare_logits(base, candidate, [0]).kl == pytest.approx([forward], rel=1e-6)
    assert compare_logits(candidate, base, [0]).kl == pytest.approx([backward], rel=1e-6)


def test_a_model_against_itself_is_exactly_nought(
    logits: tuple[torch.Tensor, torch.Tensor, list[int]],
) -> None:
    base, _, targets = logits
    found = compare_logits(base.bfloat16(), base.bfloat16(), targets)
    assert set(found.kl) == {0.0} and set(found.same_top) == {1.0} and found.nll == found.base_nll


def test_chunks_change_nothing(
    logits: tuple[torch.Tensor, torch.Tensor, list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = compare_logits(*logits)
    monkeypatch.setattr(divergence, "CHUNK_ROWS", 7)
    pieces = compare_logits(*logits)
    assert pieces.kl == pytest.approx(whole.kl, rel=1e-12) and len(pieces.nll) == N_TOKENS


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_what_is_not_finite_is_refused(bad: float) -> None:
    candidate = torch.tensor([[0.0, bad, 1.0]])
    with pytest.raises(InputError, match="hold NaN or infinity") as error:
        compare_logits(torch.zeros(1, 3), candidate, [0])
    assert error.value.remedy


def test_another_vocabulary_is_refused() -> None:
    with pytest.raises(InputError, match="has 3 tokens, the model's 4") as error:
        compare_logits(torch.zeros(1, 3), torch.zeros(1, 4), [0])
    assert error.value.remedy


def make_scores(seed: int, tokens: list[int]) -> list[TokenScores]:
    rng = np.random.default_rng(seed)
    return [
        TokenScores(
            kl=rng.exponential(0.1, n).tolist(),
            same_top=rng.integers(0, 2, n).astype(float).tolist(),
            nll=rng.exponential(2, n).tolist(),
            base_nll=rng.exponential(2, n).tolist(),
        )
        for n in tokens
    ]


def test_the_summary_is_that_of_numpy_over_all_tokens() -> None:
    tokens = [5, 40, 7, 12]
    scores = make_scores(1, tokens)
    found = summarize_scores([Sequence([1] * (3 + n), 3) for n in tokens], scores)
    kl, same, nll, base = (np.concatenate([getattr(s, name) for s in scores]) for name in vars(scores[0]))
    assert (found.n_tokens, found.n_sequences, found.sequence_tokens) == (64, 4, tokens)
    assert found.kl_mean == pytest.approx(kl.mean()) and found.same_top == pytest.approx(same.mean())
    assert found.kl_median == pytest.approx(np.median(kl))
    assert found.kl_p99 == pytest.approx(np.percentile(kl, 99))
    assert found.ppl == pytest.approx(np.exp(nll.mean())) and found.base_ppl == pytest.approx(
        np.exp(base.mean())
    )
    assert found.ppl_ratio == pytest.approx(found.ppl / found.base_ppl)
    assert found.sequence_kl == pytest.approx([sum(s.kl) for s in scores])


def test_errors_are_those_between_sequences_not_between_tokens() -> None:
    """Every token of a sequence is alike: sixty tokens say no more than the six sequences."""
    values = [0.1, 0.3, 0.2, 0.5, 0.4, 0.3]
    scores = [TokenScores([v] * 10, [0.0] * 10, [1 + v] * 10, [1.0] * 10) for v in values]
    found = summarize_scores([Sequence([1] * 12, 2)] * 6, scores)
    error = np.std(values, ddof=1) / math.sqrt(6)
    assert found.kl_error == pytest.approx(error)
    assert found.same_top_error == 0
    assert found.ppl_ratio_error == pytest.approx(found.ppl_ratio * error)


def test_one_sequence_has_no_error() -> None:
    found = summarize_scores([Sequence([1] * 8, 3)], make_scores(1, [5]))
    assert (found.kl_error, found.same_top_error, found.ppl_ratio_error) == (None, None, None)


def test_a_perplexity_beyond_any_number_is_refused() -> None:
    scores = [TokenScores([1.0], [0.0], [5000.0], [1.0])]
    with pytest.raises(InputError, match="no language model any more") as error:
        summarize_scores([Sequence([1, 1], 1)], scores)
    assert error.value.remedy
