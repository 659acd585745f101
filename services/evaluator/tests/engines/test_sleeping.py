"""Shares of the memory, and what a woken engine is given back."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from evaluator.engines.residents import ShortOfMemoryError, check_room
from evaluator.engines.sleeping import can_sleep, divide_memory, keep_kv_scales, restore_after_wake
from lanekit.spec.evaluation import EngineParams


@pytest.fixture
def platform(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Stand in for vLLM's platform: a GPU with sleep mode."""
    there = SimpleNamespace(device_type="cuda")
    there.is_sleep_mode_available = lambda: there.device_type == "cuda"
    module: Any = ModuleType("vllm.platforms")
    module.current_platform = there
    monkeypatch.setitem(sys.modules, "vllm", ModuleType("vllm"))
    monkeypatch.setitem(sys.modules, "vllm.platforms", module)
    monkeypatch.setattr("evaluator.engines.sleeping.find_spec", lambda name: name)
    for name in ("VLLM_ENABLE_V1_MULTIPROCESSING", "PYTORCH_CUDA_ALLOC_CONF"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LANEKIT_WARM_ENGINES", "1")
    return there


VLLM = EngineParams(engine="vllm", gpu_memory_utilization=0.8)


def test_engines_that_take_turns_have_all_of_the_memory_each(platform: SimpleNamespace) -> None:
    assert can_sleep()
    assert divide_memory(VLLM) == 0.8
    assert divide_memory(VLLM.model_copy(update={"engine": "transformers"})) == 0.4
    platform.device_type = "cpu"
    assert not can_sleep()
    assert divide_memory(VLLM) == 0.8  # no share is heeded there


@pytest.mark.usefixtures("platform")
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("VLLM_ENABLE_V1_MULTIPROCESSING", "0"),
        ("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True"),
        ("LANEKIT_WARM_ENGINES", "0"),
    ],
)
def test_engines_that_cannot_sleep_share_the_memory(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    assert not can_sleep()
    assert divide_memory(VLLM) == 0.4


@pytest.mark.usefixtures("platform")
def test_without_its_allocator_no_engine_sleeps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("evaluator.engines.sleeping.find_spec", lambda name: None)
    assert not can_sleep()


def test_an_engine_is_not_woken_into_less_memory_than_it_had() -> None:
    check_room(60 << 30, 60 << 30, "")
    with pytest.raises(
        ShortOfMemoryError, match=r"takes 60\.0 GiB when it wakes, and 59\.0 GiB .* free"
    ) as fault:
        check_room(60 << 30, 59 << 30, "")
    assert "gpu_memory_utilization" in fault.value.remedy


def test_a_woken_engine_has_its_own_scales_and_an_empty_cache() -> None:
    torch = pytest.importorskip("torch")

    model = torch.nn.Module()
    model.attn = torch.nn.Module()
    for name, value in (("_k_scale", 0.25), ("_v_scale", 0.5), ("_q_scale", 2.0)):
        model.attn.register_buffer(name, torch.tensor(value))
    with torch.inference_mode():
        cache = torch.ones(4)
    worker = SimpleNamespace(get_model=lambda: model, model_runner=SimpleNamespace(kv_caches=[cache]))
    assert keep_kv_scales(worker) == 2
    for buffer in model.buffers():
        buffer.fill_(1.0)  # as vLLM wakes an FP8 cache
    assert restore_after_wake(worker) == 2
    assert [float(buffer) for buffer in model.buffers()] == [0.25, 0.5, 1.0]
    assert cache.tolist() == [0.0] * 4
    assert restore_after_wake(SimpleNamespace(get_model=torch.nn.Module, model_runner=None)) == 0
