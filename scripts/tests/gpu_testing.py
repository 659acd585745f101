"""What the tests on a GPU share: when they run, a warm child for each service, and tokens compared."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from evaluator.engines.base import Generation
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
    child: ChildProcess, stage: str, spec: Parameters, inputs: Mapping[str, Path], out: Path
) -> dict[str, Any]:
    """Run a stage in a child and return its report; the child says what it took of the GPU."""
    out.mkdir(parents=True, exist_ok=True)
    job = {
        "stage": stage,
        "params": spec.model_dump(mode="json"),
        "inputs": {role: str(path) for role, path in inputs.items()},
        "out": str(out),
        "log": str(out.parent / f"{out.name}.log"),
    }
    measured = child.run(job, ignore_progress)
    report: dict[str, Any] = json.loads((out / "report.json").read_text(encoding="utf-8"))
    return {**report, "peak_gpu_bytes": measured.peak_gpu_bytes}


def share_equal(ours: Sequence[Generation], others: Sequence[Generation]) -> float:
    """Return the share of tokens that agree, place by place, over all replies; a missing one differs."""
    equal = total = 0
    for mine, other in zip(ours, others, strict=True):
        equal += sum(a == b for a, b in zip(mine.token_ids, other.token_ids, strict=False))
        total += max(len(mine.token_ids), len(other.token_ids))
    return equal / total
