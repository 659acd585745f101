"""Evaluation, timing and verification of one model in one process: one start, and the results as from apart.

The engine is transformers' behind vLLM's name, so that the registry keeps it.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from evaluator.engines import registry
from evaluator.engines.registry import EngineRegistry
from evaluator.engines.transformers_engine import TransformersEngine
from evaluator.quality.outputs import read_items
from evaluator.speed.costs import describe_cost
from evaluator.stages import evaluate, measure_speed, verify_package
from lanekit.progress import ignore_progress
from lanekit.results.collect import ITEMS_NAME
from lanekit.spec.benchmark import Benchmark
from lanekit.spec.evaluation import (
    EngineParams,
    EvaluateParams,
    MeasureSpeedParams,
    SpeedSettings,
    VerifyPackageParams,
)

pytestmark = pytest.mark.slow

PARAMS = EngineParams(engine="vllm", max_model_len=1024, batch_size=3, device="cpu")
FOLDERS = ("base-quality", "base-speed", "lane-quality", "lane-speed", "package")


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The models that engines were started on."""
    names: list[str] = []

    def load(model: Path, params: EngineParams) -> Any:
        names.append(model.name)
        return TransformersEngine(model, params)

    monkeypatch.setattr(registry, "load_engine", load)
    monkeypatch.setattr("evaluator.engines.residents.divide_memory", lambda params: 0.85)
    return names


@pytest.fixture
def run_all(
    monkeypatch: pytest.MonkeyPatch, started: list[str], benchmarks: dict[str, Benchmark], tiny_model: Path,
    other_model: Path, suite: Path, tmp_path: Path,
) -> Callable[[int], Path]:  # fmt: skip
    """Run a baseline's and a lane's stages with so many engines kept; return the folder of their results."""
    pro = benchmarks["kmmlu_pro"].model_copy(update={"max_new_tokens": 8})
    quality = EvaluateParams(engine=PARAMS, benchmarks=(pro,))
    speed = MeasureSpeedParams(
        engine=PARAMS, benchmarks=(pro,), batch_sizes=(3,), prompt_tokens=8, decode_tokens=4,
        prefill_tokens=0, free_items=0, benchmark_items=2, budget_s=0, min_repeats=1, score_form="decode_b3",
    )  # fmt: skip
    packages = tmp_path / "package"
    packages.mkdir()
    with zipfile.ZipFile(packages / "submit.zip", "w") as archive:
        for path in other_model.iterdir():
            archive.write(path, path.name)
        archive.writestr("README.md", "the package's own card")

    def run(n_kept: int) -> Path:
        kept = EngineRegistry(n_kept, registry.load_engine)
        monkeypatch.setattr(registry, "get_registry", lambda: kept)
        out = tmp_path / f"kept-{n_kept}"
        for name in FOLDERS:
            (out / name).mkdir(parents=True)
        for lane, model in (("base", tiny_model), ("lane", other_model)):
            inputs = {"model": model, "baseline": tiny_model, "suite": suite}
            evaluate.run(quality, inputs, out / f"{lane}-quality", ignore_progress)
            measure_speed.run(speed, inputs, out / f"{lane}-speed", ignore_progress)
        verify_package.run(
            VerifyPackageParams(engine=PARAMS), {"package": packages}, out / "package", ignore_progress
        )
        kept.close()
        return out

    return run


def read_reports(out: Path) -> list[Any]:
    """Return the stages' own reports, in order."""
    files = [out / name / "report.json" for name in FOLDERS[:-1]] + [out / "package" / "verification.json"]
    return [json.loads(path.read_text(encoding="utf-8")) for path in files]


def test_one_start_a_model_and_the_same_results(
    run_all: Callable[[int], Path], started: list[str], tiny_model: Path, other_model: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    told: list[str] = []
    with monkeypatch.context() as patch:
        patch.setitem(globals(), "ignore_progress", lambda step, total, message="": told.append(message))
        warm = run_all(1)
    assert "starting vLLM (about 40 s)" in told
    assert sum(message.startswith("starting vLLM") for message in told) == 2
    assert started == [tiny_model.name, other_model.name]
    reports = read_reports(warm)
    assert [report["engine_starts"] for report in reports] == [1, 0, 1, 0, 0]
    assert len(reports[3]["load_seconds"]) == 2 and max(reports[3]["load_seconds"]) < 1
    del started[:]
    apart = run_all(0)
    assert len(started) == 6 and started.count(tiny_model.name) == 3
    others = read_reports(apart)
    assert [report["engine_starts"] for report in others] == [1, 1, 1, 2, 1]
    for name in ("base-quality", "lane-quality"):
        assert (warm / name / "metrics.json").read_bytes() == (apart / name / "metrics.json").read_bytes()
        assert read_items(warm / name / ITEMS_NAME) == read_items(apart / name / ITEMS_NAME)
    for one, other in zip(reports, others, strict=True):
        assert one.keys() == other.keys()
    assert reports[4]["response"] == others[4]["response"]
    assert reports[4]["engine"] == others[4]["engine"]
    for name in ("base-speed", "lane-speed"):
        one, other = (json.loads((out / name / "metrics.json").read_text("utf-8")) for out in (warm, apart))
        assert one["engine_arguments"] == other["engine_arguments"]
        for cost in ("cost", "baseline_cost"):
            assert drop_times(one[cost]) == drop_times(other[cost])
        assert one["forms"]["benchmark"]["tokens"] == other["forms"]["benchmark"]["tokens"]


def drop_times(cost: dict[str, Any]) -> dict[str, Any]:
    """Return a cost without what was timed."""
    return {n: value for n, value in cost.items() if n not in ("bounds", "prefill_tokens_per_s")}


def test_the_record_says_how_much_ran_at_once() -> None:
    described = {
        "engine": "vllm", "weight_bytes_per_step": 10, "kernels": {}, "kv_cache_dtype": "bfloat16",
        "max_num_seqs": 256,
        "kv_cache_blocks": 1000, "kv_cache_tokens": 16_000,
    }  # fmt: skip
    cost = describe_cost(described, {}, {}, {}, SpeedSettings(), None)
    assert (cost.max_num_seqs, cost.kv_cache_blocks, cost.kv_cache_tokens) == (256, 1000, 16_000)
