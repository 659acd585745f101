"""Records and a small model folder for the ranker's tests."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from lanekit.results import BenchmarkResult, LaneRecord, SpeedResult

CONFIG = {
    "model_type": "exaone4",
    "architectures": ["Exaone4ForCausalLM"],
    "num_hidden_layers": 30,
    "tie_word_embeddings": True,
    "dtype": "bfloat16",
    "quantization_config": {
        "quant_method": "compressed-tensors",
        "config_groups": {
            "group_0": {
                "weights": {"num_bits": 4, "type": "int", "strategy": "group", "group_size": 128},
                "input_activations": None,
            }
        },
    },
}
LICENCE = "EXAONE AI Model\nLicense Agreement 1.2 - NC\n"


@pytest.fixture
def make_record() -> Callable[..., LaneRecord]:
    """Make a lane's record with made-up but plausible numbers."""

    def make(
        lane: str, pro: float = 0.4, redux: float = 0.6, seconds: float = 0.05, **fields: Any
    ) -> LaneRecord:
        speed = SpeedResult(
            s_per_token=seconds, s_per_token_all=[seconds * 1.02, seconds, seconds * 0.98],
            baseline_s_per_token=0.1, baseline_s_per_token_all=[0.1, 0.1, 0.1], batch_size=8,
            prompt_tokens=64, decode_tokens=32, engine="transformers",
            device=fields.pop("device", "cpu: Test Processor, 1 thread"),
            versions={"torch": "2.9.1", "transformers": "4.57.3"},
        )  # fmt: skip
        benchmarks = {
            "kmmlu_pro": BenchmarkResult(
                metric="accuracy", version=1, value=pro, n_items=100, n_unparsed=fields.pop("n_unparsed", 0)
            ),
            "kmmlu_redux": BenchmarkResult(metric="accuracy", version=1, value=redux, n_items=100),
            "komt_bench": BenchmarkResult(metric="judge", version=1, value=None, note="no judge is set"),
        }
        defaults = {
            "title": f"Title of {lane}", "group": "Quantization", "size_bytes": 971_000_000,
            "stage_seconds": {"gptq": 12.25, "evaluate": 30.5}, "benchmarks": benchmarks, "speed": speed,
        }  # fmt: skip
        return LaneRecord(lane=lane, **{**defaults, **fields})

    return make


@pytest.fixture
def records(make_record: Callable[..., LaneRecord]) -> list[LaneRecord]:
    """A baseline, three good lanes, one incomplete and one failed."""
    incomplete = make_record("lane04_fp8", group="Quantization")
    incomplete.benchmarks.pop("kmmlu_redux")
    failed = LaneRecord(
        lane="lane05_sft", title="LoRA SFT", group="SFT", status="failed",
        reason="stage sft: out of memory\n  remedy: lower batch_size | or rows", stage_seconds={},
        log_tail=["loading", "step 1\r\x1b[32mstep 2\x1b[0m", "", "Traceback:", '  File "sft.py", line 9',
                  "    ```loss```", "RuntimeError: no memory for <b>rows</b>"],
    )  # fmt: skip
    return [
        make_record("lane01_w4", pro=0.3, seconds=0.04, n_unparsed=3),
        failed,
        make_record("lane03_slow", seconds=0.2, group="Structural", size_bytes=2_558_000_000),
        incomplete,
        make_record("baseline", seconds=0.1, group="Baseline", title="Base, uncompressed",
                    size_bytes=2_558_000_000, stage_seconds={"evaluate": 41.0}),
        make_record("lane02_w8", pro=0.41, seconds=0.06),
    ]  # fmt: skip


@pytest.fixture
def base_folder(tmp_path: Path) -> Path:
    """A base model's folder: only its licence matters."""
    folder = tmp_path / "base"
    folder.mkdir()
    (folder / "LICENSE").write_text(LICENCE, encoding="utf-8")
    return folder


@pytest.fixture
def model_folder(tmp_path: Path) -> Path:
    """A lane's model with everything that a stage leaves beside it."""
    folder = tmp_path / "model"
    folder.mkdir()
    tensors = {
        "model.embed_tokens.weight": np.ones((16, 8), np.float16),
        "model.norm.weight": np.ones(8, np.float16),
    }
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(CONFIG), encoding="utf-8")
    for name in ("tokenizer.json", "tokenizer_config.json", "generation_config.json", "chat_template.jinja"):
        (folder / name).write_text("{}" * 100, encoding="utf-8")
    strays = (
        "manifest.json", "report.json", "loss.json", "training_log.jsonl", "recipe.yaml", "README.md",
        "pytorch_model.bin", "optimizer.pt", "training_args.bin", "notes.txt", ".hidden.json",
    )  # fmt: skip
    for name in strays:
        (folder / name).write_bytes(b"stray")
    (folder / "logs").mkdir()
    (folder / "logs" / "config.json").write_bytes(b"stray")
    return folder
