"""Records and a small model folder for the ranker's tests."""

from __future__ import annotations

import json
import math
import random
import statistics
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import save_file

from lanekit.results.schema import BenchmarkResult, LaneRecord, PartResult
from lanekit.results.speed import FormBound, ModelCost, SpeedForm, SpeedResult
from lanekit.spec.lane_engine import LaneEngine

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
            device_kind=fields.pop("device_kind", "cpu"),
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
            "contamination": {},
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


COLUMNS = (
    "benchmark", "index", "id", "turn", "part", "task", "question", "prompt_tokens", "new_tokens", "finished",
    "response", "parsed", "gold", "value", "exact", "context_tokens", "kept_tokens", "answer_lost", "note",
)  # fmt: skip
TYPES = {"index": pa.int32(), "turn": pa.int8(), "prompt_tokens": pa.int32(), "new_tokens": pa.int32(),
         "context_tokens": pa.int32(), "kept_tokens": pa.int32()}  # fmt: skip
SCHEMA = {
    "value": pa.float64(),
    "finished": pa.bool_(),
    "exact": pa.bool_(),
    "answer_lost": pa.bool_(),
    **TYPES,
}


def write_items(path: Path, rows: Iterable[dict[str, Any]]) -> Path:
    """Write items.parquet with all columns that the evaluator writes; each row names those that matter."""
    blank = {
        "turn": 1, "part": "", "task": "", "question": "물음?", "prompt_tokens": 9, "new_tokens": 3,
        "finished": True, "response": "정답: A", "parsed": "A", "gold": "A", "exact": None,
        "context_tokens": None, "kept_tokens": None, "answer_lost": None, "note": "",
    }  # fmt: skip
    schema = pa.schema([(name, SCHEMA.get(name, pa.string())) for name in COLUMNS])
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist([blank | row for row in rows], schema=schema), path)
    return path


def draw_values(name: str, metric: str, n_items: int, shift: float) -> list[float]:
    """Return one lane's values: correlated with any other lane's of the same benchmark, worse by `shift`."""
    shared, own = random.Random(name), random.Random(f"{name} {shift}")
    levels = [shared.random() + 0.3 * (own.random() - 0.5) for _ in range(n_items)]
    if metric == "accuracy":
        return [float(level > 0.5 + shift) for level in levels]
    return [round(min(1.0, max(0.0, level - shift)), 3) for level in levels]


def make_speed(gain: float, *, is_base: bool, sitting: str, **fields: Any) -> SpeedResult:
    """Make a GPU's measurement with all forms; `gain` = 1 − s/token over the baseline's."""
    bases = {
        "decode_b1": 0.009,
        "decode_b8": 0.0012,
        "decode_b32": 0.0004,
        "prefill": 0.00002,
        "free": 0.0005,
    }
    forms = {}
    for place, (form, base) in enumerate(bases.items()):
        seconds = base * (1 - gain * (1 - 0.15 * place))
        tokens = 2048 if form != "free" else 1800 + int(500 * gain)
        times, base_times = [seconds * 1.01, seconds, seconds * 0.995], [base * 1.004, base, base * 0.99]
        ratio = statistics.median(mine / theirs for mine, theirs in zip(times, base_times, strict=True))
        forms[form] = SpeedForm(
            kind="decode" if form.startswith("decode") else form,  # type: ignore[arg-type]
            s_per_token=seconds, s_per_token_all=times,
            baseline_s_per_token=base, baseline_s_per_token_all=base_times,
            ratio=ratio, ratio_low=0.98 * ratio, ratio_high=1.02 * ratio,
            n_sequences=8, tokens=tokens, baseline_tokens=2048 if form != "free" else 1800,
            seconds=seconds * tokens, baseline_seconds=base * 2048,
        )  # fmt: skip
    if is_base:
        for measured in forms.values():
            measured.s_per_token_all = measured.baseline_s_per_token_all
            measured.ratio = measured.ratio_low = measured.ratio_high = 1.0
    scored = forms["decode_b8"]
    kernel = "BF16" if is_base else "Marlin"
    cost = ModelCost(
        weight_bytes_per_step=2_558_000_000 if is_base else 971_000_000, roofline_ratio=0.71 - gain / 4,
        kv_cache_dtype="bfloat16", kernels={f"linear: {kernel}": 210, "embedding: BF16": 1},
        kv_bytes_per_context_token=61_440, roofline_form="decode_b8", compute_dtype="bfloat16",
        peak_operations_per_s=121e12, prefill_tokens_per_s=1 / forms["prefill"].s_per_token,
        bounds={
            "decode_b1": FormBound(
                seconds=0.004, read_bytes=1e9, operations=2e9, host_share=0.625, memory_share=0.25,
                compute_share=0.01, verdict="" if is_base else "host",
            ),
            "decode_b8": FormBound(
                seconds=0.009, read_bytes=2.6e9, operations=2e10, host_share=0.2,
                memory_share=0.71 - gain / 4, compute_share=0.02, verdict="memory bandwidth",
            ),
            "prefill": FormBound(
                seconds=1.2, read_bytes=2.5e9, operations=9e13, memory_share=0.01, compute_share=0.64,
                verdict="compute",
            ),
        },
    )  # fmt: skip
    content: dict[str, Any] = {
        "s_per_token": scored.s_per_token, "s_per_token_all": scored.s_per_token_all,
        "baseline_s_per_token": scored.baseline_s_per_token,
        "baseline_s_per_token_all": scored.baseline_s_per_token_all, "batch_size": 8, "prompt_tokens": 512,
        "decode_tokens": 256, "engine": "vllm", "device": "NVIDIA L4", "device_kind": "cuda",
        "form": "decode_b8", "forms": forms,
        "sitting": sitting, "gpu": {"name": "NVIDIA L4", "driver": "550.54", "sm_clock_before_mhz": "2040",
                                    "sm_clock_after_mhz": "1995"},
        "engine_arguments": {"max_model_len": 8192, "dtype": "auto"}, "bandwidth_bytes_per_s": 300e9,
        "cost": cost, "versions": {"torch": "2.9.1", "vllm": "0.14.1"},
    }  # fmt: skip
    return SpeedResult.model_validate(content | fields)


Run = tuple[list[LaneRecord], dict[str, Path]]
SHAPES = {
    # lane: group, shift of the values, speed gain, bytes
    "baseline": ("Baseline", 0.0, 0.0, 2_558_000_000),
    "lane01_w4": ("Quantization", 0.05, 0.55, 971_000_000),
    "lane02_w4_damp": ("Quantization", 0.052, 0.552, 971_000_000),
    "lane03_w8": ("Quantization", 0.002, 0.30, 1_500_000_000),
    "lane04_prune": ("Structural", 0.25, 0.62, 900_000_000),
    "lane05_sft": ("SFT", 0.01, 0.0, 2_558_000_000),
}


@pytest.fixture
def rich_run(tmp_path: Path) -> Run:
    """Records of a GPU with every field, and the folders of their items, KoMT-Bench judged apart."""
    sizes = {"kmmlu_pro": ("accuracy", 200), "kmmlu_redux": ("accuracy", 160), "ko_longrag": ("f1", 60)}
    records, inputs = [], {}
    for lane, (group, shift, gain, size_bytes) in SHAPES.items():
        rows: list[dict[str, Any]] = []
        benchmarks = {}
        for name, (metric, n_items) in sizes.items():
            values = draw_values(name, metric, n_items, shift)
            rows += [
                {"benchmark": name, "index": i, "id": f"{name}-{i:03d}", "value": v, "exact": v == 1.0}
                for i, v in enumerate(values)
            ]
            benchmarks[name] = BenchmarkResult(
                metric=metric, version=1, value=math.fsum(values) / n_items, n_items=n_items,
                n_cut=41 if metric == "f1" else 0, n_gold_lost=7 if metric == "f1" else 0,
                exact_match=sum(v == 1.0 for v in values) / n_items,
            )  # fmt: skip
        benchmarks["ko_longrag"].parts = {
            "answerable": PartResult(n_items=50, value=0.51, exact_match=0.3),
            "unanswerable": PartResult(n_items=10, value=0.4 - shift, exact_match=0.4),
        }
        questions = [
            {"benchmark": "komt_bench", "index": i, "id": str(81 + i), "turn": turn, "value": None}
            for i in range(12) for turn in (1, 2)
        ]  # fmt: skip
        write_items(tmp_path / lane / "evaluate" / "items.parquet", rows + questions)
        ratings = draw_values("komt_bench", "judge", 24, shift)
        judged = [row | {"value": rating} for row, rating in zip(questions, ratings, strict=True)]
        write_items(tmp_path / lane / "judge" / "items.parquet", judged)
        benchmarks["komt_bench"] = BenchmarkResult(
            metric="judge", version=1, value=math.fsum(ratings) / 24, n_items=12
        )
        inputs |= {f"items.{lane}": tmp_path / lane / "evaluate", f"judged.{lane}": tmp_path / lane / "judge"}
        records.append(
            LaneRecord(
                lane=lane,
                title=f"Title of {lane}",
                group=group,
                benchmarks=benchmarks,
                size_bytes=size_bytes,
                speed=make_speed(gain, is_base=lane == "baseline", sitting=f"sitting of {lane}"),
                contamination={"kmmlu_pro": 3} if group == "SFT" else {},
                stage_seconds={"gptq": 612.0, "evaluate": 1833.5, "judge": 90.0, "measure_speed": 210.0},
            )
        )
    records[4].speed = None  # not measured
    records[3].engine = LaneEngine(kv_cache_dtype="fp8")
    return records, inputs
