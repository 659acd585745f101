"""Saving a model whose generation config transformers reads and refuses to write again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from transformers import Exaone4Config, Exaone4ForCausalLM

from lanekit.files.generation_config import without_generation_config
from trainer.models.dense import save_dense

HUB_STYLE = {"bos_token_id": 1, "eos_token_id": 361, "pad_token_id": 0, "temperature": 0.6, "top_p": 0.95}


def make_model(**values: Any) -> Exaone4ForCausalLM:
    """Return a model of a few thousand parameters."""
    config = Exaone4Config(
        vocab_size=16, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1,
        num_key_value_heads=1, layer_types=["full_attention"], sliding_window=None, **values,
    )  # fmt: skip
    return Exaone4ForCausalLM(config)


def save_source(folder: Path, generation: dict[str, Any] | None, **values: Any) -> Path:
    make_model().save_pretrained(folder)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8")) | values
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    (folder / "generation_config.json").unlink()
    if generation is not None:
        (folder / "generation_config.json").write_text(json.dumps(generation), encoding="utf-8")
    return folder


@pytest.mark.parametrize("values", [{}, {"temperature": 0.6}])
def test_a_generation_config_is_carried_over_as_it_is(tmp_path: Path, values: dict[str, Any]) -> None:
    source = save_source(tmp_path / "source", HUB_STYLE, **values)
    model = Exaone4ForCausalLM.from_pretrained(source)
    own = model.generation_config
    with pytest.raises(ValueError, match="GenerationConfig is invalid"):
        model.save_pretrained(tmp_path / "plain")
    (tmp_path / "out").mkdir()
    save_dense(model, source, tmp_path / "out", "lower the rate")
    written = (tmp_path / "out" / "generation_config.json").read_bytes()
    assert written == (source / "generation_config.json").read_bytes()
    assert model.generation_config is own


def test_without_a_file_the_models_own_is_written(tmp_path: Path) -> None:
    source = save_source(tmp_path / "source", None)
    (tmp_path / "out").mkdir()
    save_dense(Exaone4ForCausalLM.from_pretrained(source), source, tmp_path / "out", "lower the rate")
    assert (tmp_path / "out" / "generation_config.json").is_file()


def test_without_a_file_one_that_cannot_be_written_stops_nothing(tmp_path: Path) -> None:
    source = save_source(tmp_path / "source", None)
    model = Exaone4ForCausalLM.from_pretrained(source)
    model.generation_config.temperature = 0.6
    (tmp_path / "out").mkdir()
    save_dense(model, source, tmp_path / "out", "lower the rate")
    assert (tmp_path / "out" / "model.safetensors").is_file()
    assert not (tmp_path / "out" / "generation_config.json").exists()


def test_the_own_config_is_back_after_a_failure(tmp_path: Path) -> None:
    model = make_model()
    own = model.generation_config
    with pytest.raises(OSError), without_generation_config(model, tmp_path):
        raise OSError("disk")
    assert model.generation_config is own
