"""Smoothing: its scales by hand, and what it leaves of a model, bit for bit where it promises so."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from transformers import Exaone4Config, Exaone4ForCausalLM, LlamaConfig, LlamaForCausalLM

from lanekit.errors import InputError
from lanekit.progress import ignore_progress
from trainer.models.smoothed import (
    Smoothing,
    check_layout,
    find_scales,
    measure_inputs,
    measure_spread,
    smooth_model,
)
from trainer.models.smoothing import (
    compute_log_scales,
    fold_heads,
    measure_factor,
    normalize_scales,
    spread_heads,
)

CPU = torch.device("cpu")
TOKENS = torch.tensor([[3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8, 9, 7, 9, 3, 2, 3, 8, 4]])
SAMPLES = [{"input_ids": TOKENS[0].tolist(), "labels": [-100] * 8 + TOKENS[0, 8:].tolist()}]


def make_model(*, tied: bool = True, dtype: torch.dtype = torch.float32) -> Any:
    """Return a small random EXAONE-4 with outliers in a few channels of its stream."""
    torch.manual_seed(7)
    config = Exaone4Config(
        vocab_size=32, hidden_size=32, intermediate_size=48, num_hidden_layers=3, num_attention_heads=4,
        num_key_value_heads=2, head_dim=8, layer_types=["full_attention"] * 3, sliding_window=None,
        tie_word_embeddings=tied, initializer_range=0.3,
    )  # fmt: skip
    model = Exaone4ForCausalLM(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("norm.weight"):
                parameter.copy_(0.5 + torch.rand_like(parameter))
        model.model.embed_tokens.weight[:, 5] *= 40
        model.model.layers[1].post_attention_layernorm.weight[11] *= 60
        model.model.layers[0].self_attn.v_proj.weight[3] *= 30
        model.model.layers[2].mlp.up_proj.weight[7] *= 50
        for parameter in model.parameters():
            parameter.copy_(parameter.bfloat16())
    return model.to(dtype)


def smooth(model: Any, *, power_of_two: bool = True, strength: float = 0.5) -> tuple[Smoothing, int]:
    measured = measure_inputs(model, SAMPLES, CPU, ignore_progress)
    smoothing = find_scales(model, measured, strength, power_of_two=power_of_two)
    return smoothing, smooth_model(model, smoothing, next(model.parameters()).dtype)


@torch.inference_mode()
def run_model(model: Any) -> tuple[list[torch.Tensor], torch.Tensor]:
    """Return the stream before each layer and after the last, before the final norm, and the logits."""
    states: list[torch.Tensor] = []
    watched = [*model.model.layers, model.model.norm]
    hooks = [m.register_forward_pre_hook(lambda _, args: states.append(args[0])) for m in watched]
    logits = model(TOKENS).logits
    for hook in hooks:
        hook.remove()
    return states, logits


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    torch.set_num_threads(1)
    yield


def test_scales_are_smoothquants_with_a_mean_of_one_and_1_for_dead_channels() -> None:
    activations, weights = torch.tensor([4.0, 1.0, 64.0, 0.0, 3.0]), torch.tensor([1.0, 1.0, 4.0, 2.0, 0.0])
    logs = compute_log_scales(activations, weights, 0.5)
    # By hand: sqrt(4/1) = 2, sqrt(1/1) = 1, sqrt(64/4) = 4: log2 is 1, 0, 2, their mean 1.
    assert logs.tolist() == [0.0, -1.0, 1.0, 0.0, 0.0]
    assert compute_log_scales(activations, weights, 1.0)[:3].tolist() == pytest.approx(
        [-2 / 3, -8 / 3, 10 / 3]
    )
    assert compute_log_scales(torch.zeros(2), weights[:2], 0.5).tolist() == [0.0, 0.0]


def test_value_heads_are_grouped_as_attention_reads_them() -> None:
    values = torch.arange(8 * 2).float()  # 8 query heads of width 2, over 2 value heads
    assert fold_heads(values, 2, 2).tolist() == [6.0, 7.0, 14.0, 15.0]
    assert spread_heads(torch.tensor([1.0, 2.0, 3.0, 4.0]), 8, 2).tolist() == [1.0, 2.0] * 4 + [3.0, 4.0] * 4


@pytest.mark.parametrize("power_of_two", [True, False])
def test_the_logits_factor_has_a_mean_of_one(power_of_two: bool) -> None:
    torch.manual_seed(1)
    states, logs = torch.randn(50, 64) * torch.logspace(0, 3, 64), 2 * torch.randn(64).double()
    scales, factor = normalize_scales(logs, states, 1e-6, power_of_two=power_of_two)
    assert factor.mean == pytest.approx(1, abs=0.03 if power_of_two else 1e-9)
    assert factor.lowest < factor.mean < factor.highest
    assert float(measure_factor(states, scales, 1e-6).mean()) == factor.mean
    ratio = scales.log2() - logs
    assert float(ratio.max() - ratio.min()) < (1 if power_of_two else 1e-9), (
        "each is rounded by an octave at most"
    )
    if power_of_two:
        assert bool((scales.log2() == scales.log2().round()).all())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("tied", [True, False])
def test_powers_of_two_leave_the_stream_as_it_was_bit_for_bit(dtype: torch.dtype, tied: bool) -> None:
    before, _ = run_model(make_model(tied=tied, dtype=dtype))
    model = make_model(tied=tied, dtype=dtype)
    smoothing, lost = smooth(model)
    after, _ = run_model(model)
    assert lost == 0
    assert len(set(smoothing.stream.tolist())) > 2
    assert any(len(set(scales.tolist())) > 1 for scales in smoothing.values)
    assert len(before) == 4
    for old, new in zip(before, after, strict=True):
        assert torch.equal(old, new * smoothing.stream.to(dtype))


@pytest.mark.parametrize("power_of_two", [True, False])
@pytest.mark.parametrize("tied", [True, False])
def test_the_logits_are_multiplied_by_one_positive_factor_a_token(tied: bool, power_of_two: bool) -> None:
    states, before = run_model(make_model(tied=tied))
    model = make_model(tied=tied)
    smoothing, _ = smooth(model, power_of_two=power_of_two)
    _, after = run_model(model)
    factor = measure_factor(states[-1][0], smoothing.stream, model.config.rms_norm_eps)
    expected = before[0].double() * factor[:, None]
    assert torch.allclose(after[0].double(), expected, rtol=1e-4, atol=1e-4)
    assert torch.equal(before.argmax(-1), after.argmax(-1))
    assert float(factor[7:-1].mean()) == pytest.approx(1, abs=0.1 if power_of_two else 1e-6)


def test_a_tied_head_stays_the_embedding() -> None:
    model = make_model()
    smooth(model)
    assert model.lm_head.weight is model.model.embed_tokens.weight


def test_outliers_become_smaller_and_int8_activations_lose_less() -> None:
    model, plain = make_model(), make_model()
    measured = measure_inputs(model, SAMPLES, CPU, ignore_progress)
    smoothing = find_scales(model, measured, 0.5, power_of_two=True)
    before, after = measure_spread(measured, smoothing)
    assert after < before / 2
    smooth_model(model, smoothing, torch.float32)
    again = measure_inputs(model, SAMPLES, CPU, ignore_progress)
    assert measure_spread(again, smoothing)[0] == pytest.approx(after, rel=1e-5), "what is promised is found"
    exact = run_model(plain)[1][
        0
    ]  # each token's logits have a factor of their own, which a cosine leaves out
    errors = [1 - torch.cosine_similarity(run_rounded(m)[0], exact).mean() for m in (plain, model)]
    assert errors[1] < 0.7 * errors[0]


def run_rounded(model: Any) -> torch.Tensor:
    """Return the logits with inputs rounded to 8 bits a token, weights to 8 bits an output channel."""

    def round_rows(tensor: torch.Tensor) -> torch.Tensor:
        step = tensor.abs().amax(-1, keepdim=True) / 127
        return (tensor / step).round() * step

    linears = [m for n, m in model.named_modules() if n.endswith("_proj")]
    hooks = [m.register_forward_pre_hook(lambda _, args: (round_rows(args[0]),)) for m in linears]
    kept = [m.weight.detach().clone() for m in linears]
    with torch.no_grad():
        for linear in linears:
            linear.weight.copy_(round_rows(linear.weight))
        logits: torch.Tensor = model(TOKENS).logits
        for linear, weight in zip(linears, kept, strict=True):
            linear.weight.copy_(weight)
    for hook in hooks:
        hook.remove()
    return logits


def test_weights_that_leave_the_range_are_counted() -> None:
    model = make_model(dtype=torch.float16)
    smoothing, _ = smooth(make_model())
    with torch.no_grad():
        model.model.embed_tokens.weight[0, int(smoothing.stream.argmax())] = (
            6e-8  # the smallest that is stored
        )
    assert smooth_model(model, smoothing, torch.float16) >= 1


def test_activations_that_are_not_finite_are_refused() -> None:
    model = make_model()
    with torch.no_grad():
        model.model.layers[1].mlp.up_proj.weight.fill_(float("inf"))
    measured = measure_inputs(model, SAMPLES, CPU, ignore_progress)
    with pytest.raises(InputError, match=r"not finite at model\.layers\.1\.mlp\.down_proj"):
        find_scales(model, measured, 0.5, power_of_two=True)


def test_a_model_with_norms_before_its_linears_is_refused() -> None:
    llama = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=8, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1
        )
    )
    with pytest.raises(InputError, match="it has input_layernorm"):
        check_layout(llama)
    check_layout(make_model())
