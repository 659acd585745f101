"""The environment of a stage's process."""

from __future__ import annotations

import os

from lanekit.host.devices import detect_cuda


def make_child_environment() -> dict[str, str]:
    """Return the environment of a stage's process.

    On a CPU one thread a process: two stages then share two cores without contention, and only so are
    two runs of GPTQ bit-identical.
    """
    environment = dict(os.environ)
    environment["PYTHONHASHSEED"] = "42"
    environment["PYTHONUNBUFFERED"] = "1"
    environment["PYTHONUTF8"] = "1"  # whatever the locale: libraries print and open files
    environment["PYTHONIOENCODING"] = "utf-8:replace"
    environment["TOKENIZERS_PARALLELISM"] = "false"
    environment["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"
    environment.setdefault("VLLM_NO_USAGE_STATS", "1")
    environment.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")
    environment.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    if detect_cuda():
        environment.setdefault("CUDA_VISIBLE_DEVICES", "0")  # one stage, one GPU; the trainers would spread
    else:
        for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
            environment[name] = "1"
    return environment
