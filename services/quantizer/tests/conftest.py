"""The tiny model, a small corpus, and a model whose widths do not divide by 128."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tiny.datasets import build_datasets

FIXTURE = Path(__file__).parents[3] / "scripts" / "tiny" / "fixture"


@pytest.fixture(scope="session")
def tiny_model() -> Path:
    """The committed tiny EXAONE-4 model."""
    return FIXTURE


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus artifact's folder as the trainer lays it out."""
    folder = tmp_path_factory.mktemp("corpus")
    rows = build_datasets(42)["manta"]
    for name, part in {
        "train": rows[:64], "validation": rows[64:80], "calibration": rows[:32],
    }.items():  # fmt: skip
        lines = (json.dumps(row, ensure_ascii=False) for row in part)
        (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def odd_model(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained two-layer model of hidden width 96."""
    return build_model(tiny_model, tmp_path_factory.mktemp("odd"), hidden_size=96, head_dim=24)


@pytest.fixture(scope="session")
def small_model(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained two-layer model whose widths divide by 128."""
    return build_model(tiny_model, tmp_path_factory.mktemp("small"), hidden_size=128, head_dim=32)


def build_model(tiny_model: Path, folder: Path, *, hidden_size: int, head_dim: int) -> Path:
    """Write an untrained two-layer model with the tiny model's tokenizer."""
    import torch
    from transformers import Exaone4Config, Exaone4ForCausalLM

    config = Exaone4Config(
        vocab_size=2048, hidden_size=hidden_size, intermediate_size=2 * hidden_size, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, head_dim=head_dim, sliding_window=None,
        layer_types=["full_attention"] * 2, tie_word_embeddings=True,
    )  # fmt: skip
    torch.manual_seed(1)
    Exaone4ForCausalLM(config).save_pretrained(folder)
    for path in tiny_model.iterdir():
        if path.name.startswith(("tokenizer", "special", "chat")):
            shutil.copy(path, folder)
    return folder


@pytest.fixture(scope="session")
def short_model(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first two layers of the tiny model: enough to see that a method repeats itself."""
    import torch
    from transformers import AutoModelForCausalLM

    folder = tmp_path_factory.mktemp("short")
    shutil.copytree(tiny_model, folder, dirs_exist_ok=True)
    model = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.bfloat16)
    model.model.layers = model.model.layers[:2]
    model.config.num_hidden_layers, model.config.layer_types = 2, model.config.layer_types[:2]
    model.save_pretrained(folder)
    return folder
