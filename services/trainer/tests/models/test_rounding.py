"""Rounding by chance: its neighbours, its mean, and what it counts."""

from __future__ import annotations

import pytest
import torch

from trainer.models.rounding import round_by_chance, round_update
from trainer.stages.post_sft import describe_update


def draw(values: list[float], dtype: torch.dtype, seed: int = 1) -> torch.Tensor:
    return round_by_chance(torch.tensor(values), dtype, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_value_goes_to_one_of_its_two_neighbours(dtype: torch.dtype) -> None:
    torch.manual_seed(3)
    exact = torch.randn(4096) * torch.exp2(torch.randint(-12, 12, (4096,)).float())
    rounded = draw(exact.tolist(), dtype).float()
    step = torch.finfo(dtype).eps * torch.exp2(exact.abs().log2().floor())
    step = step.clamp(min=torch.finfo(dtype).smallest_normal * torch.finfo(dtype).eps)
    error = (rounded - exact).abs()
    assert bool((error < step).all())
    assert float((error > 0.5 * step).float().mean()) > 0.1, "not only the nearest"


def test_the_mean_is_what_was_trained() -> None:
    n, step = 40_000, 2**-7  # of bfloat16 from 1 to 2
    for value in (1 + 0.04 * step, 1 + 0.5 * step, -(1 + 0.3 * step), 1 + 7.9 * step):
        mean = float(draw([value] * n, torch.bfloat16).double().mean())
        assert mean == pytest.approx(value, abs=4 * step * 0.5 / n**0.5)


def test_what_the_dtype_holds_or_cannot_hold_stays() -> None:
    values = [0.0, 1.0, -0.25, 1.0078125, 3e38, float("inf")]
    for seed in range(20):
        assert draw(values[:4], torch.bfloat16, seed).tolist() == values[:4]
        assert draw([70000.0], torch.float16, seed).tolist() == [float("inf")]
    assert draw([1.000001], torch.float32).tolist() == torch.tensor([1.000001]).tolist()
    tiny = 2.0**-25  # half of the smallest number of float16
    assert set(draw([-tiny] * 50, torch.float16).tolist()) == {0.0, -(2.0**-24)}


def test_the_seed_decides() -> None:
    values = torch.linspace(1, 2, 500).tolist()
    first, again, other = (draw(values, torch.bfloat16, seed) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_lost_updates_are_counted() -> None:
    stored = {"a.norm.weight": torch.ones(1000, dtype=torch.bfloat16), "b.norm.weight": torch.ones(10)}
    step = 2**-7
    trained = {name: tensor.float().clone() for name, tensor in stored.items()}
    trained["a.norm.weight"][:400] += 0.25 * step
    trained["a.norm.weight"][400:500] += 3 * step
    trained["b.norm.weight"] += 1e-6
    update = round_update(trained, stored, seed=5)
    assert (update.n_trained, update.n_changed, update.n_lost_to_nearest) == (1010, 510, 400)
    assert 250 < update.n_lost < 350  # three in four of 400
    assert update.lost_share == update.n_lost / 510
    assert update.lost_share_to_nearest == 400 / 510
    assert torch.equal(update.tensors["b.norm.weight"], trained["b.norm.weight"])
    assert update.tensors["a.norm.weight"].dtype == torch.bfloat16
    still = round_update({n: t.float() for n, t in stored.items()}, stored, seed=5)
    assert (still.n_changed, still.lost_share, still.lost_share_to_nearest) == (0, 0.0, 0.0)


def test_notes_tell_of_what_was_in_vain() -> None:
    stored = {"norm.weight": torch.ones(400, dtype=torch.bfloat16)}

    def describe(moved: float, before: float, after: float) -> list[str]:
        update = round_update({"norm.weight": torch.full((400,), 1 + moved)}, stored, seed=5)
        return describe_update(update, before, after)

    assert describe(2**-7, 2.0, 1.9) == []
    (nothing,) = describe(0.0, 2.0, 2.0)
    assert "changed nothing: training moved 0 of 400 weights" in nothing
    lost, worse = describe(0.1 * 2**-7, 2.0, 2.0)
    assert "have their old value once they are stored" in lost
    assert "is 2.0000, and was 2.0000 before training: it helped nothing" in worse
