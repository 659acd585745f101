"""The real vLLM, on whatever device it was built for: a CPU build serves."""

from __future__ import annotations

import importlib.util
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lanekit.benchmarks import Benchmark
from lanekit.params import EngineParams, EvaluateParams, MeasureSpeedParams
from lanekit.pool import ChildProcess
from lanekit.progress import ignore_progress
from lanekit.results import BenchmarkResult, SpeedResult

pytestmark = [
    pytest.mark.vllm,
    pytest.mark.skipif(importlib.util.find_spec("vllm") is None, reason="vLLM is not installed"),
]


@pytest.fixture(scope="module")
def child() -> Iterator[ChildProcess]:
    """One warm child, as a worker has it: engines come and go in it."""
    process = ChildProcess("evaluator", os.environ)
    yield process
    process.stop()


@pytest.fixture(scope="module")
def params() -> EngineParams:
    return EngineParams(engine="vllm", max_model_len=1024, batch_size=8, enforce_eager=True)


def run_stage(child: ChildProcess, stage: str, spec: Any, out: Path, **inputs: Path) -> Any:
    job = {
        "stage": stage,
        "params": spec.model_dump(mode="json"),
        "inputs": {role: str(path) for role, path in inputs.items()},
        "out": str(out),
        "log": str(out / "stage.log"),
    }
    child.run(job, ignore_progress)
    return json.loads((out / "metrics.json").read_text(encoding="utf-8"))


def test_vllm_answers_as_transformers_does(
    child: ChildProcess,
    params: EngineParams,
    benchmarks: dict[str, Benchmark],
    tiny_model: Path,
    suite: Path,
    tmp_path: Path,
) -> None:
    """Both engines decode greedily in float32 on the CPU, so most replies agree to the last token."""
    replies = {}
    for engine in ("vllm", "transformers"):
        out = tmp_path / engine
        out.mkdir()
        spec = EvaluateParams(
            engine=params.model_copy(update={"engine": engine}),
            benchmarks=tuple(benchmarks[name] for name in ("kmmlu_pro", "ko_longrag")),
        )
        metrics = run_stage(child, "evaluate", spec, out, model=tiny_model, suite=suite)
        result = BenchmarkResult.model_validate(metrics["benchmarks"]["kmmlu_pro"])
        assert result.n_items == 9
        lines = (out / "items.jsonl").read_text(encoding="utf-8").splitlines()
        replies[engine] = [json.loads(line)["response"] for line in lines]
        if engine == "vllm":
            report = json.loads((out / "report.json").read_text(encoding="utf-8"))
            assert report["engine"]["kernels"]["UnquantizedLinearMethod"] >= 8  # four a layer, fused
    agreeing = sum(a == b for a, b in zip(replies["vllm"], replies["transformers"], strict=True))
    assert agreeing >= 0.8 * len(replies["vllm"])


def test_vllm_measures_two_models_in_turn(
    child: ChildProcess, params: EngineParams, tiny_model: Path, other_model: Path, tmp_path: Path
) -> None:
    spec = MeasureSpeedParams(engine=params, batch_size=2, prompt_tokens=16, decode_tokens=8)
    metrics = run_stage(child, "measure_speed", spec, tmp_path, model=other_model, baseline=tiny_model)
    result = SpeedResult.model_validate(metrics)
    assert len(result.s_per_token_all) == len(result.baseline_s_per_token_all) == 3
    assert result.s_per_token_all != result.baseline_s_per_token_all
    assert result.engine == "vllm"
    report = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert report["engine_parameters"]["gpu_memory_utilization"] == params.gpu_memory_utilization / 2


def test_vllm_measures_the_baseline_once(
    child: ChildProcess, params: EngineParams, tiny_model: Path, tmp_path: Path
) -> None:
    spec = MeasureSpeedParams(engine=params, batch_size=2, prompt_tokens=16, decode_tokens=8)
    metrics = run_stage(child, "measure_speed", spec, tmp_path, model=tiny_model, baseline=tiny_model)
    result = SpeedResult.model_validate(metrics)
    assert result.s_per_token_all == result.baseline_s_per_token_all


def test_engines_leave_no_process_behind(child: ChildProcess) -> None:
    import psutil

    left = psutil.Process(child.process.pid).children(recursive=True)
    assert not [p.name() for p in left if "resource_tracker" not in " ".join(p.cmdline())]
