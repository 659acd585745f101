"""The real vLLM, on whatever device it was built for: a CPU build serves."""

from __future__ import annotations

import importlib.util
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from evaluator.quality.outputs import read_items
from lanekit.errors import LanekitError
from lanekit.execute.pool import ChildProcess
from lanekit.progress import ignore_progress
from lanekit.results.collect import ITEMS_NAME
from lanekit.results.schema import BenchmarkResult
from lanekit.results.speed import SpeedResult
from lanekit.spec.benchmark import Benchmark
from lanekit.spec.evaluation import EngineParams, EvaluateParams, MeasureSpeedParams

pytestmark = [
    pytest.mark.vllm,
    pytest.mark.skipif(importlib.util.find_spec("vllm") is None, reason="vLLM is not installed"),
]


STOP = ("q", "6", "7", "f")  # of what the random model says


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
    """Both engines decode greedily in float32 on the CPU, so most replies agree to the last token, also where
    a text stops them."""
    stopped = benchmarks["kmmlu_redux"].model_copy(update={"stop": STOP})
    rows = {}
    for engine in ("vllm", "transformers"):
        out = tmp_path / engine
        out.mkdir()
        spec = EvaluateParams(
            engine=params.model_copy(update={"engine": engine}),
            benchmarks=(benchmarks["kmmlu_pro"], stopped, benchmarks["ko_longrag"]),
        )
        metrics = run_stage(child, "evaluate", spec, out, model=tiny_model, suite=suite)
        result = BenchmarkResult.model_validate(metrics["benchmarks"]["kmmlu_pro"])
        assert result.n_items == 9
        rows[engine] = read_items(out / ITEMS_NAME)
        if engine == "vllm":
            report = json.loads((out / "report.json").read_text(encoding="utf-8"))
            assert report["engine"]["kernels"]["qkv_proj: UnquantizedLinearMethod"] == 2  # one a layer
    pairs = list(zip(rows["vllm"], rows["transformers"], strict=True))
    agreeing = [(a, b) for a, b in pairs if a["response"] == b["response"]]
    assert len(agreeing) >= 0.8 * len(pairs)
    assert all((a["new_tokens"], a["finished"]) == (b["new_tokens"], b["finished"]) for a, b in agreeing)
    early = [row for row in rows["vllm"] if row["benchmark"] == "kmmlu_redux" and row["finished"]]
    assert len(early) >= 3
    assert all(0 < row["new_tokens"] < stopped.max_new_tokens for row in early)
    assert not [row for row in early if any(text in row["response"] for text in STOP)]


@pytest.fixture
def speed(params: EngineParams, benchmarks: dict[str, Benchmark]) -> MeasureSpeedParams:
    pro = benchmarks["kmmlu_pro"].model_copy(update={"max_new_tokens": 6})
    return MeasureSpeedParams(
        engine=params,
        benchmarks=(pro,),
        batch_sizes=(1, 2),
        prompt_tokens=16,
        decode_tokens=8,
        prefill_tokens=32,
        free_items=3,
        benchmark_items=3,
        budget_s=0,
        score_form="decode_b2",
    )


def test_vllm_measures_two_models_in_turn(
    child: ChildProcess,
    speed: MeasureSpeedParams,
    tiny_model: Path,
    other_model: Path,
    suite: Path,
    tmp_path: Path,
) -> None:
    inputs = {"model": other_model, "baseline": tiny_model, "suite": suite}
    metrics = run_stage(child, "measure_speed", speed, tmp_path, **inputs)
    result = SpeedResult.model_validate(metrics)
    assert tuple(result.forms) == ("decode_b1", "decode_b2", "prefill", "free", "benchmark", "matched")
    for form in result.forms.values():
        assert len(form.s_per_token_all) == len(form.baseline_s_per_token_all) == 3
        assert form.s_per_token_all != form.baseline_s_per_token_all
    assert result.forms["prefill"].tokens == 64
    assert 3 <= result.forms["free"].tokens <= 18
    free, matched = result.forms["benchmark"], result.forms["matched"]
    assert matched.tokens == matched.baseline_tokens == free.baseline_tokens
    assert (result.engine, result.batch_size) == ("vllm", 2)
    arguments = result.engine_arguments
    assert arguments["gpu_memory_utilization"] == speed.engine.gpu_memory_utilization / 2
    assert (arguments["max_num_seqs"], arguments["kv_cache_dtype"]) == (2, "auto")
    assert arguments["enforce_eager"] is True and int(arguments["max_num_batched_tokens"]) >= 64
    assert result.cost and result.baseline_cost
    kernels = result.cost.kernels
    for layer in ("qkv_proj", "o_proj", "gate_up_proj", "down_proj"):
        assert kernels[f"{layer}: UnquantizedLinearMethod"] == 3
    assert kernels["embed_tokens: UnquantizedEmbeddingMethod"] == 1
    assert kernels["lm_head: UnquantizedEmbeddingMethod"] == 1
    assert any(name.startswith("attn: ") for name in kernels)
    # The CPU's engine holds the bfloat16 checkpoint in float32; see test_speed_of_two_models for the count.
    layer_bytes = 4 * (128 * 128 * 2 + 64 * 128 * 2 + 3 * 256 * 128 + 2 * 128 + 2 * 32)
    bytes_per_step = result.baseline_cost.weight_bytes_per_step
    if result.is_cpu:
        assert bytes_per_step == 2 * layer_bytes + 4 * (640 * 128 + 128)
        assert result.cost.weight_bytes_per_step == bytes_per_step + layer_bytes
        assert result.cost.kv_cache_dtype == "float32"


def test_vllm_measures_the_baseline_once(
    child: ChildProcess, speed: MeasureSpeedParams, tiny_model: Path, suite: Path, tmp_path: Path
) -> None:
    inputs = {"model": tiny_model, "baseline": tiny_model, "suite": suite}
    metrics = run_stage(child, "measure_speed", speed, tmp_path, **inputs)
    result = SpeedResult.model_validate(metrics)
    assert result.s_per_token_all == result.baseline_s_per_token_all


def test_vllm_on_a_cpu_has_no_fp8_cache(
    child: ChildProcess, speed: MeasureSpeedParams, tiny_model: Path, suite: Path, tmp_path: Path
) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("a GPU has one")
    engine = speed.engine.model_copy(update={"kv_cache_dtype": "fp8"})
    inputs = {"model": tiny_model, "baseline": tiny_model, "suite": suite}
    with pytest.raises(LanekitError, match="vLLM's CPU build has none"):
        run_stage(child, "measure_speed", speed.model_copy(update={"engine": engine}), tmp_path, **inputs)


def test_engines_leave_no_process_behind(child: ChildProcess) -> None:
    import psutil

    left = psutil.Process(child.process.pid).children(recursive=True)  # of the keeper
    alive = [p for p in left if p.status() != psutil.STATUS_ZOMBIE]  # one that was killed holds no memory
    own = ("lanekit.execute.child", "resource_tracker")
    assert not [p.name() for p in alive if not any(word in " ".join(p.cmdline()) for word in own)]
