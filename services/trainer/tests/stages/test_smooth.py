"""The smoothing stage on the tiny model, to whose stream outliers are given."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from lanekit.errors import InputError
from lanekit.files.conversations import read_conversations
from lanekit.files.model_folder import read_config
from lanekit.files.safetensors_header import check_model_folder
from lanekit.progress import ignore_progress
from lanekit.spec.params import SmoothParams
from trainer.models.dense import load_dense, load_tokenizer, save_dense
from trainer.models.smoothed import Smoothing, smooth_model
from trainer.models.smoothing import LogitsFactor
from trainer.stages import smooth

pytestmark = pytest.mark.slow

CPU = torch.device("cpu")
N_PROMPTS = 6
OPTIONS: dict[str, Any] = {"calibration_rows": 16, "max_length": 256}


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    torch.set_num_threads(1)
    yield


@pytest.fixture(scope="module")
def spread(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model with outliers: eight channels of its stream are up to 128 times as large."""
    out = tmp_path_factory.mktemp("spread")
    model = load_dense(tiny_model, CPU, torch.float32)
    n_layers, config = len(model.model.layers), model.config
    stream = torch.ones(config.hidden_size)
    stream[:8] = torch.exp2(-torch.arange(8.0))
    sizes = (64, config.hidden_size, config.intermediate_size)
    values, heads, ups = ([torch.ones(size)] * n_layers for size in sizes)
    smooth_model(model, Smoothing(stream, values, heads, ups, LogitsFactor(1, 1, 1)), torch.bfloat16)
    save_dense(model, tiny_model, out, "lower the outliers")
    return out


@pytest.fixture(scope="module")
def smoothed(spread: Path, corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("smoothed")
    smooth.run(SmoothParams(**OPTIONS), {"model": spread, "corpus": corpus}, out, ignore_progress)
    return out


def read_report(folder: Path) -> dict[str, Any]:
    report: dict[str, Any] = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    return report


@torch.inference_mode()
def generate(folder: Path, corpus: Path) -> list[list[int]]:
    """Return greedy replies of the model in its stored dtype, BF16."""
    tokenizer = load_tokenizer(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype="auto").eval()
    assert model.dtype == torch.bfloat16
    replies = []
    for messages in read_conversations(corpus / "validation.jsonl", N_PROMPTS):
        prompt = tokenizer.apply_chat_template(
            messages[:1], add_generation_prompt=True, enable_thinking=False, return_tensors="pt"
        )
        reply = model.generate(prompt, max_new_tokens=24, do_sample=False, pad_token_id=0)
        replies.append(reply[0, prompt.shape[1] :].tolist())
    return replies


def test_greedy_replies_in_bfloat16_are_the_same(spread: Path, smoothed: Path, corpus: Path) -> None:
    before = generate(spread, corpus)
    assert generate(smoothed, corpus) == before
    assert sum(map(len, before)) > N_PROMPTS


def test_the_smoothed_model_is_whole_and_told_of(spread: Path, smoothed: Path) -> None:
    folder = check_model_folder(smoothed)
    assert read_config(smoothed)["tie_word_embeddings"] is True
    assert not any("lm_head.weight" in header.tensors for header in folder.headers.values())
    assert (smoothed / "LICENSE").read_bytes() == (spread / "LICENSE").read_bytes()
    report = read_report(smoothed)
    assert report["weights_that_lost_bits"] == 0
    assert report["stream_octaves"]["lowest"] < report["stream_octaves"]["highest"]
    assert report["logits_factor"]["mean"] == pytest.approx(1, abs=0.02)
    assert report["input_spread_after"] < 0.5 * report["input_spread_before"]
    assert report["calibration_sequences"] == 16
    assert "notes" not in report


@torch.inference_mode()
def test_every_state_of_the_stream_is_the_same_bit_for_bit(spread: Path, smoothed: Path) -> None:
    states, tables = [], []
    for folder in (spread, smoothed):
        model = AutoModelForCausalLM.from_pretrained(folder, dtype="auto").eval()
        kept: list[torch.Tensor] = []
        for module in (*model.model.layers, model.model.norm):
            module.register_forward_pre_hook(lambda _, args, kept=kept: kept.append(args[0]))
        model(torch.tensor([[1, 50, 60, 70, 80, 90]]))
        states.append(kept)
        tables.append(model.get_input_embeddings().weight)
    scales = tables[0].float().abs().amax(0) / tables[1].float().abs().amax(0)
    assert len(states[0]) == 31
    assert all(torch.equal(old, new * scales.bfloat16()) for old, new in zip(*states, strict=True))


def test_other_scales_than_powers_of_two_keep_the_replies(spread: Path, corpus: Path, tmp_path: Path) -> None:
    spec = SmoothParams(power_of_two=False, **OPTIONS)
    smooth.run(spec, {"model": spread, "corpus": corpus}, tmp_path, ignore_progress)
    assert read_report(tmp_path)["logits_factor"]["mean"] == pytest.approx(1, abs=1e-6)
    before, after = generate(spread, corpus), generate(tmp_path, corpus)
    assert sum(a == b for a, b in zip(before, after, strict=True)) >= N_PROMPTS - 1, (
        "weights were rounded anew"
    )


def test_another_architecture_is_refused(spread: Path, corpus: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(spread, other)
    config = read_config(other) | {"model_type": "qwen3", "architectures": ["Qwen3ForCausalLM"]}
    (other / "config.json").write_text(json.dumps(config), encoding="utf-8")
    (tmp_path / "out").mkdir()
    with pytest.raises(InputError, match="it has input_layernorm"):
        smooth.run(SmoothParams(), {"model": other, "corpus": corpus}, tmp_path / "out", ignore_progress)
