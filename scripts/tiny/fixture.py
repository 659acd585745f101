"""Write and read the fixture folder: weights in bf16, tokenizer, licence, notes, training log."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from transformers import (
    AutoTokenizer,
    Exaone4ForCausalLM,
    GenerationConfig,
    PreTrainedTokenizerFast,
)

from .notes import LICENCE, MODEL_NOTES, describe_training
from .tokenizer import BOS_ID, END_ID, PAD_ID

LOG = "training_log.jsonl"


def save_fixture(
    model: Exaone4ForCausalLM, tokenizer: PreTrainedTokenizerFast, folder: Path
) -> Exaone4ForCausalLM:
    """Save weights and tokenizer, then return the model as it loads back, in float32."""
    folder.mkdir(parents=True, exist_ok=True)
    model.generation_config = GenerationConfig(
        bos_token_id=BOS_ID, eos_token_id=END_ID, pad_token_id=PAD_ID, do_sample=False
    )
    model.to("cpu", torch.bfloat16).save_pretrained(folder)
    (folder / "model.safetensors").chmod(0o644)
    tokenizer.save_pretrained(folder)
    (folder / "LICENSE").write_text(LICENCE, encoding="utf-8")
    (folder / "README.md").write_text(MODEL_NOTES, encoding="utf-8")
    return load_fixture(folder)[0]


def load_fixture(folder: Path) -> tuple[Exaone4ForCausalLM, PreTrainedTokenizerFast]:
    """Load the model, in float32, and its tokenizer."""
    model = Exaone4ForCausalLM.from_pretrained(folder, dtype=torch.float32)
    return model, AutoTokenizer.from_pretrained(folder)


def read_log(folder: Path) -> list[dict]:
    """Read the training log of a fixture folder, empty if it has none."""
    path = folder / LOG
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return [json.loads(line) for line in lines]


def write_log(folder: Path, log: list[dict]) -> None:
    """Write the training log, and TRAINING.md from it."""
    lines = [json.dumps(entry, ensure_ascii=False) + "\n" for entry in log]
    (folder / LOG).write_text("".join(lines), encoding="utf-8")
    (folder / "TRAINING.md").write_text(describe_training(log), encoding="utf-8")
