"""A random two-layer EXAONE-4 model with a byte-level tokenizer, and a suite, built once a session."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["HF_HUB_OFFLINE"] = "1"
sys.path.insert(0, str(Path(__file__).parent))  # for evaluator_testing, in every import mode of pytest

import pytest
from evaluator_testing import build_model, choice_row, document_row, quantize_model, write_rows
from hypothesis import settings

from lanekit.spec.benchmark import Benchmark
from lanekit.spec.evaluation import EngineParams
from lanekit.spec.experiment_file import load_benchmark

settings.register_profile("evaluator", deadline=None, derandomize=True)
settings.load_profile("evaluator")

# Python 3.10 and 3.12 run the unit tests in an environment without torch.
WITH_TORCH = ["engines/test_modelopt.py", "screen/test_divergence.py", "stages/test_compare_logits.py",
              "stages/test_warm_engines.py"]  # fmt: skip
collect_ignore = [] if find_spec("torch") else WITH_TORCH
BENCHMARKS = Path(__file__).parents[3] / "lanes" / "benchmarks"


@pytest.fixture(scope="session")
def benchmarks() -> dict[str, Benchmark]:
    return {path.stem: load_benchmark(path) for path in sorted(BENCHMARKS.glob("*.yaml"))}


@pytest.fixture(scope="session")
def engine_params() -> EngineParams:
    return EngineParams(engine="transformers", max_model_len=2048, batch_size=8, device="cpu")


@pytest.fixture(scope="session")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four benchmarks of a few rows each; one document is longer than the tests' token budget."""
    folder = tmp_path_factory.mktemp("suite")
    write_rows(folder / "kmmlu_pro.jsonl", [choice_row(i, 5) for i in range(1, 10)])
    write_rows(folder / "kmmlu_redux.jsonl", [choice_row(i, 4) for i in range(1, 10)])
    write_rows(folder / "ko_longrag.jsonl", [document_row(i, 40 if i == 2 else 2) for i in range(1, 5)])
    write_rows(folder / "komt_bench.jsonl", [{"turns": ["첫 질문", "다음 질문"], "reference": [None, None]}])
    return folder


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_model(tmp_path_factory.mktemp("models") / "tiny", seed=1)


@pytest.fixture(scope="session")
def other_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_model(tmp_path_factory.mktemp("models") / "other", seed=2, layers=3)


@pytest.fixture(scope="session")
def quantize(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return a function that quantizes the tiny model with a preset scheme, once each."""
    made: dict[str, Path] = {}

    def make(scheme: str) -> Path:
        if scheme not in made:
            made[scheme] = quantize_model(tiny_model, scheme, tmp_path_factory.mktemp(scheme.lower()))
        return made[scheme]

    return make
