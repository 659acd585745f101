"""What the tests on a GPU share: when they run, a warm child for each service, and tokens compared."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from evaluator.engines.base import Generation
from evaluator.engines.sleeping import KV_SCALES, keep_kv_scales, restore_after_wake
from lanekit.execute.pool import ChildProcess
from lanekit.host.devices import detect_cuda
from lanekit.progress import ignore_progress
from lanekit.spec.params import Parameters

FIXTURE = Path(__file__).parents[1] / "tiny" / "fixture"
HAS_VLLM = importlib.util.find_spec("vllm") is not None
GPU_TESTS = [
    pytest.mark.gpu,
    pytest.mark.slow,
    pytest.mark.skipif(not detect_cuda(), reason="no NVIDIA GPU here"),
    pytest.mark.skipif(not HAS_VLLM, reason="vLLM is not installed: ./scripts/dev setup on a GPU host"),
]


def run_stage(
    child: ChildProcess,
    stage: str,
    spec: Parameters,
    inputs: Mapping[str, Path],
    out: Path,
    name: str = "report.json",
) -> dict[str, Any]:
    """Run a stage in a child and return its report `name`; the child says what it took of the GPU."""
    out.mkdir(parents=True, exist_ok=True)
    job = {
        "stage": stage,
        "params": spec.model_dump(mode="json"),
        "inputs": {role: str(path) for role, path in inputs.items()},
        "out": str(out),
        "log": str(out.parent / f"{out.name}.log"),
    }
    measured = child.run(job, ignore_progress)
    report: dict[str, Any] = json.loads((out / name).read_text(encoding="utf-8"))
    return {**report, "peak_gpu_bytes": measured.peak_gpu_bytes}


def share_equal(ours: Sequence[Generation], others: Sequence[Generation]) -> float:
    """Return the share of tokens that agree, place by place, over all replies; a missing one differs."""
    equal = total = 0
    for mine, other in zip(ours, others, strict=True):
        equal += sum(a == b for a, b in zip(mine.token_ids, other.token_ids, strict=False))
        total += max(len(mine.token_ids), len(other.token_ids))
    return equal / total


def set_and_restore_scales(worker: Any) -> list[float]:
    """Give a model KV scales as a checkpoint would, lose them as vLLM does on waking; return those restored.

    It stands here, not in a test's file: vLLM's worker process imports it.
    """
    buffers = dict(worker.get_model().named_buffers())
    scales = [buffer for name, buffer in buffers.items() if name.endswith(KV_SCALES)]
    for scale in scales:
        scale.fill_(0.25)
    keep_kv_scales(worker)
    for scale in scales:
        scale.fill_(1.0)
    restore_after_wake(worker)
    return [float(scale) for scale in scales]
