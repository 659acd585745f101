"""vLLM's sleep mode: whether engines can take turns with the whole memory, and what a wake-up must mend.

Asleep (level 1) an engine keeps its weights in host memory and gives up its KV cache; the CUDA context and
what its graphs hold stay on the GPU.
"""

from __future__ import annotations

import os
from importlib.util import find_spec
from typing import Any

from lanekit.host.settings import load_host_settings
from lanekit.spec.evaluation import EngineParams

RESIDENTS = 2
# Attention's own scales. vLLM 0.14.1 sets them to 1 when it wakes, also those that a checkpoint brought.
KV_SCALES = ("._k_scale", "._v_scale")
_KEPT = "_lanekit_kv_scales"


def can_sleep() -> bool:
    """Whether engines are to sleep here (LANEKIT_WARM_ENGINES), and this vLLM's can. Imports vLLM.

    Its allocator serves one engine a process, so each engine must have a process of its own, and it cannot
    live with torch's expandable segments.
    """
    if not load_host_settings().warm_engines:
        return False
    from vllm.platforms import current_platform

    if not current_platform.is_sleep_mode_available() or find_spec("vllm.cumem_allocator") is None:
        return False
    is_apart = os.environ.get("VLLM_ENABLE_V1_MULTIPROCESSING", "1") == "1"
    segments = "expandable_segments:True" in os.environ.get("PYTORCH_CUDA_ALLOC_CONF", "")
    return is_apart and not segments


def divide_memory(params: EngineParams) -> float:
    """Return the share of the GPU's memory that each of two engines of one measurement gets.

    All that may be used where one sleeps while the other works; half where both stay awake. vLLM's CPU build
    takes its memory otherwise and heeds no share, but an engine that is to stay has its stage's arguments.
    """
    if params.engine == "vllm" and load_host_settings().warm_engines:
        from vllm.platforms import current_platform

        if can_sleep() or current_platform.device_type == "cpu":
            return params.gpu_memory_utilization
    return params.gpu_memory_utilization / RESIDENTS


def measure_pool(worker: Any) -> tuple[int, int]:
    """Return the bytes that an engine gives up asleep, and those free on the GPU. Runs in vLLM's worker."""
    import torch
    from vllm.device_allocator.cumem import CuMemAllocator

    return int(CuMemAllocator.get_instance().get_current_usage()), int(torch.cuda.mem_get_info()[0])


def keep_kv_scales(worker: Any) -> int:
    """Note a model's KV scales as they were loaded; return how many. Runs inside vLLM's worker process."""
    model = worker.get_model()
    kept = {
        name: buffer.detach().cpu().clone()
        for name, buffer in model.named_buffers()
        if name.endswith(KV_SCALES)
    }
    setattr(model, _KEPT, kept)
    return len(kept)


def restore_after_wake(worker: Any) -> int:
    """Make a woken engine what it was at its start: an empty KV cache, and the KV scales that it had.

    The memory that comes back holds whatever was there, and vLLM sets the scales of an FP8 cache to 1.
    Returns how many scales were restored. Runs inside vLLM's worker process.
    """
    import torch

    model = worker.get_model()
    kept: dict[str, Any] = getattr(model, _KEPT, {})
    with torch.inference_mode():
        for cache in getattr(worker.model_runner, "kv_caches", ()):
            if isinstance(cache, torch.Tensor):
                cache.zero_()
        for name, buffer in model.named_buffers():
            if name in kept:
                buffer.copy_(kept[name])
        if torch.cuda.is_available():
            torch.cuda.synchronize()
    return len(kept)
