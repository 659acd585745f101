"""What a run at the real size is fed: a random model of the real shape, long enough data, an experiment."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from lanekit.errors import InputError
from lanekit.files.owned import mark_folder, remove_marked
from tiny.datasets import build_datasets, write_datasets

ROOT = Path(__file__).resolve().parents[3]
TOKENIZER = ROOT / "scripts" / "tiny" / "fixture"
REAL = {
    "vocab_size": 102_400, "hidden_size": 2048, "intermediate_size": 4096, "num_attention_heads": 32,
    "num_key_value_heads": 8, "head_dim": 64, "max_position_embeddings": 65_536,
}  # fmt: skip
TINY = {
    "vocab_size": 1408, "hidden_size": 128, "intermediate_size": 256, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 32, "max_position_embeddings": 8192,
}  # fmt: skip
LAYERS = 30
LONG_TALKS = 400  # longer than any max_length of the experiment, so that every sample is cut there
LONG_WORDS = 2500
STEPS = 4
LICENCE = "Random weights in EXAONE-4's architecture: nothing of LG AI Research's models is in them.\n"


def build_model(folder: Path, sizes: dict[str, int], layers: int, device: str, seed: int) -> Path:
    """Write a model folder: random bfloat16 weights, tied head, the tiny model's tokenizer.

    The embedding's rows beyond the tokenizer are zero, so that greedy replies hold only tokens with a text.
    """
    import torch  # seconds, and nothing else here wants it
    from transformers import AutoTokenizer, Exaone4Config, Exaone4ForCausalLM

    tokenizer = AutoTokenizer.from_pretrained(TOKENIZER)
    config = Exaone4Config(
        **sizes,
        num_hidden_layers=layers,
        layer_types=["full_attention"] * layers,
        sliding_window=None,
        rope_theta=1_000_000.0,
        rope_scaling={
            "rope_type": "llama3", "factor": 16.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
            "original_max_position_embeddings": 8192,
        },
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    torch.manual_seed(seed)
    torch.set_default_dtype(torch.bfloat16)
    try:
        with torch.device(device):
            model = Exaone4ForCausalLM(config)
    finally:
        torch.set_default_dtype(torch.float32)
    with torch.no_grad():
        model.model.embed_tokens.weight[len(tokenizer) :].zero_()
    model.save_pretrained(folder)
    for path in TOKENIZER.iterdir():
        if "token" in path.name or path.suffix == ".jinja":
            shutil.copy(path, folder / path.name)
    (folder / "LICENSE").write_text(LICENCE, encoding="utf-8")
    return folder


def make_long_talks(rows: list[dict[str, Any]], seed: int) -> Iterator[dict[str, Any]]:
    """Yield conversations of one question and one very long answer: the corpus's words in random order, so
    that no two are alike."""
    rng = random.Random(seed)
    words = sorted({w for row in rows for turn in row["conversations"] for w in turn["content"].split()})
    for _ in range(LONG_TALKS):
        talk = [
            {"role": "user", "content": " ".join(rng.choices(words, k=12)) + "?"},
            {"role": "assistant", "content": " ".join(rng.choices(words, k=LONG_WORDS))},
        ]
        yield {"conversations": talk, "complexity": round(1 + 4 * rng.random(), 2)}


def write_inputs(folder: Path, *, tiny: bool, device: str, enforce_eager: bool) -> Path:
    """Write model, data and lanes below `folder` unless they stand there; return the experiment file.

    The experiment is lanes/experiment.yaml but for its amounts: few rows, steps and items, with the batch
    sizes and lengths on which memory depends left as they are.
    """
    experiment = folder / "lanes" / "experiment.yaml"
    if experiment.is_file():
        return experiment
    if (folder / "model").exists() and not remove_marked(folder / "model"):
        raise InputError(
            f"{folder / 'model'}: it stands there, and is not this command's",
            remedy="give an empty --folder",
        )
    mark_folder(folder / "model")
    build_model(folder / "model", TINY if tiny else REAL, LAYERS, device, seed=42)
    datasets = build_datasets(42)
    datasets["manta"] = list(make_long_talks(datasets["manta"], seed=42))
    write_datasets(datasets, folder / "data")
    for path in [*(ROOT / "lanes").glob("lane*.yaml"), *(ROOT / "lanes" / "benchmarks").glob("*.yaml")]:
        place = experiment.parent / path.relative_to(ROOT / "lanes")
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, place)
    text = (ROOT / "lanes" / "experiment.yaml").read_text(encoding="utf-8")
    settings = shrink(yaml.safe_load(text), folder)
    settings["evaluation"]["enforce_eager"] = enforce_eager
    if tiny:
        shrink_further(settings)
    experiment.write_text(yaml.safe_dump(settings, allow_unicode=True, sort_keys=False), encoding="utf-8")
    return experiment


def shrink(settings: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Return the real experiment's settings with local sources and small amounts."""
    settings["name"] = "real-size-random"
    settings["base_model"] = {"name": "random-exaone4-1.2b", "source": str(folder / "model")}
    settings["data"] = {name: {"source": str(folder / "data" / f"{name}.jsonl")} for name in settings["data"]}
    settings["corpus"] |= {
        "train_rows": 192, "validation_rows": 8, "calibration_rows": 64, "contamination": "drop",
    }  # fmt: skip
    for stage in ("sft", "distill", "post_sft"):
        settings["stage_defaults"][stage] |= {"steps": STEPS, "log_every_steps": 1}
    settings["limit_calibration_rows"] = 32
    for stage, rows in (("gptq", 32), ("fp8", 32), ("awq", 32), ("autoround", 32), ("prune", 8)):
        settings["stage_defaults"][stage]["calibration_rows"] = rows
    settings["evaluation"] |= {"limit_items": 16, "batch_size": 64}
    settings["speed"] |= {
        "batch_sizes": [1, 32, 256], "decode_tokens": 64, "free_items": 0, "benchmark_items": 64,
        "min_repeat_s": 0.5, "budget_s": 15,
    }  # fmt: skip
    del settings["scoring"]["benchmark_weights"]["komt_bench"]  # no judge; its long replies are not the point
    return settings


def shrink_further(settings: dict[str, Any]) -> None:
    """Make the amounts so small that a CPU is done in minutes; the memory then says nothing."""
    for stage in settings["stage_defaults"].values():
        stage["max_length"] = 64
    settings["evaluation"] |= {"limit_items": 2, "max_model_len": 2048}
    settings["speed"] |= {
        "batch_sizes": [1, 8], "prompt_tokens": 16, "decode_tokens": 8, "prefill_tokens": 32,
        "benchmark_items": 4, "min_repeat_s": 0, "budget_s": 0,
    }  # fmt: skip


def read_model_config(folder: Path) -> dict[str, Any]:
    """Return the model's config.json."""
    loaded: dict[str, Any] = json.loads((folder / "model" / "config.json").read_text(encoding="utf-8"))
    return loaded
