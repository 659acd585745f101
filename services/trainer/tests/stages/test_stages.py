"""The training stages on the tiny model, for real."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from lanekit.errors import InputError
from lanekit.files.model_folder import read_config, read_notes
from lanekit.progress import ignore_progress
from lanekit.spec.params import DistillParams, FetchModelParams, PostSftParams, PruneParams, SftParams
from trainer.models.dense import load_tokenizer
from trainer.models.packed import TensorsChangedError, compare_tensors, hash_tensors
from trainer.models.training import DivergedError, PadCollator, load_datasets
from trainer.stages import distill, fetch_model, post_sft, prune, sft

pytestmark = pytest.mark.slow

TRAINING: dict[str, Any] = {"batch_size": 4, "max_length": 256, "log_every_steps": 2}


def read_report(folder: Path) -> dict[str, Any]:
    report: dict[str, Any] = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    return report


@pytest.fixture(scope="module")
def base(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("base")
    spec = FetchModelParams.model_validate({"name": "tiny", "model": {"source": str(tiny_model)}})
    fetch_model.run(spec, {}, out, ignore_progress)
    return out


@pytest.fixture(scope="module")
def pruned(base: Path, corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("pruned")
    spec = PruneParams(keep_layers=28, calibration_rows=8, max_length=256)
    prune.run(spec, {"model": base, "corpus": corpus}, out, ignore_progress)
    return out


def test_fetching_keeps_licence_template_and_weights(base: Path, tiny_model: Path) -> None:
    assert (base / "LICENSE").read_bytes() == (tiny_model / "LICENSE").read_bytes()
    assert (base / "chat_template.jinja").is_file()
    assert hash_tensors(base) == hash_tensors(tiny_model)


def test_a_truncated_weight_file_is_refused_by_name(tiny_model: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(tiny_model, broken)
    weights = broken / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    (tmp_path / "out").mkdir()
    spec = FetchModelParams.model_validate({"name": "tiny", "model": {"source": str(broken)}})
    with pytest.raises(InputError, match=r"model\.safetensors.*truncated"):
        fetch_model.run(spec, {}, tmp_path / "out", ignore_progress)


@pytest.mark.parametrize("checkpointing", [False, True])
def test_sft_is_merged_and_lowers_the_validation_loss(
    base: Path, corpus: Path, tmp_path: Path, checkpointing: bool
) -> None:
    options = {"gradient_checkpointing": checkpointing, "lora_rank": 4, "lora_alpha": 8, **TRAINING}
    spec = SftParams(steps=8, learning_rate=3e-4, **options)
    sft.run(spec, {"model": base, "corpus": corpus}, tmp_path, ignore_progress)
    before, after = hash_tensors(base), hash_tensors(tmp_path)
    assert set(before) == set(after), "adapters must be merged, a tied head stored once"
    changed = [n for n in before if before[n] != after[n]]
    assert changed
    assert all("_proj" in name for name in changed)
    report = read_report(tmp_path)
    assert len(report["loss_curve"]) >= 4
    assert report["validation_loss_after"] < report["validation_loss_before"]


def test_sft_that_diverges_says_so(base: Path, corpus: Path, tmp_path: Path) -> None:
    spec = SftParams(steps=6, learning_rate=1e30, **{**TRAINING, "log_every_steps": 1})
    with pytest.raises(DivergedError, match="lower learning_rate"):
        sft.run(spec, {"model": base, "corpus": corpus}, tmp_path, ignore_progress)


def test_pruning_renumbers_and_shortens(base: Path, pruned: Path) -> None:
    config, report = read_config(pruned), read_report(pruned)
    assert config["num_hidden_layers"] == 28
    assert len(config["layer_types"]) == 28
    influence = report["block_influence"]
    kept = [i for i in range(30) if i not in report["dropped_layers"]]
    assert max(influence[i] for i in report["dropped_layers"]) <= min(influence[i] for i in kept)
    stored, original = hash_tensors(pruned), hash_tensors(base)
    for new, old in enumerate(kept):
        name = "model.layers.{}.mlp.up_proj.weight"
        assert stored[name.format(new)] == original[name.format(old)]
    model = AutoModelForCausalLM.from_pretrained(pruned, dtype=torch.float32)
    assert [layer.self_attn.layer_idx for layer in model.model.layers] == list(range(28))
    tokens = model.generate(torch.tensor([[1, 5, 6]]), max_new_tokens=4, do_sample=False, pad_token_id=0)
    assert tokens.shape[1] > 3


def test_the_deepest_layers_can_be_chosen_without_data(base: Path, tmp_path: Path) -> None:
    prune.run(PruneParams(keep_layers=26, selection="deepest"), {"model": base}, tmp_path, ignore_progress)
    assert read_report(tmp_path)["dropped_layers"] == [25, 26, 27, 28]


@pytest.mark.parametrize("keep_layers", [30, 31])
def test_keeping_all_layers_or_more_is_refused(base: Path, tmp_path: Path, keep_layers: int) -> None:
    spec = PruneParams(keep_layers=keep_layers, selection="deepest")
    with pytest.raises(InputError, match=f"keep_layers is {keep_layers}, but the model has 30 layers"):
        prune.run(spec, {"model": base}, tmp_path, ignore_progress)


@pytest.mark.parametrize(
    "options",
    [{}, {"gradient_checkpointing": True, "optimizer": "adafactor", "cross_entropy_weight": 0.1}],
    ids=["plain", "as-on-a-small-gpu"],
)
def test_distillation_brings_the_student_closer(
    base: Path, pruned: Path, corpus: Path, tmp_path: Path, options: dict[str, Any]
) -> None:
    spec = DistillParams(steps=10, learning_rate=5e-4, temperature=2.0, **options, **TRAINING)
    inputs = {"model": pruned, "corpus": corpus, "teacher": base}
    distill.run(spec, inputs, tmp_path, ignore_progress)
    report = read_report(tmp_path)
    assert report["validation_loss_after"] < 0.9 * report["validation_loss_before"]
    assert read_config(tmp_path)["num_hidden_layers"] == 28
    assert (tmp_path / "LICENSE").is_file()


@pytest.mark.parametrize("checkpointing", [False, True])
def test_post_sft_of_a_dense_model_changes_norms_alone(
    base: Path, corpus: Path, tmp_path: Path, checkpointing: bool
) -> None:
    spec = PostSftParams(steps=6, learning_rate=5e-3, gradient_checkpointing=checkpointing, **TRAINING)
    post_sft.run(spec, {"model": base, "corpus": corpus}, tmp_path, ignore_progress)
    before, after = hash_tensors(base), hash_tensors(tmp_path)
    changed = [n for n in before if before[n] != after[n]]
    assert changed
    assert all(n.endswith("norm.weight") for n in changed)
    report = read_report(tmp_path)
    assert report["norms_changed"] == len(changed)
    assert report["updates_lost_share"] < 0.5, "six steps at 5e-3 are many steps of bfloat16"
    assert "notes" not in report


def test_small_updates_of_the_norms_survive_their_rounding(
    pruned: Path, corpus: Path, tmp_path: Path
) -> None:
    spec = PostSftParams(steps=8, learning_rate=1e-4, **TRAINING)
    post_sft.run(spec, {"model": pruned, "corpus": corpus}, tmp_path, ignore_progress)
    report = read_report(tmp_path)
    gained = report["validation_loss_before"] - report["validation_loss_before_rounding"]
    kept = report["validation_loss_before"] - report["validation_loss_after"]
    assert report["updates_lost_share_to_nearest"] > 0.95, "rounded to the nearest, nothing would be left"
    assert gained > 0
    assert kept > 0.7 * gained
    (note,) = report["notes"]
    assert note.startswith(f"post_sft: {report['updates_lost_share']:.1%} of the norm weights")
    assert measure_stored_loss(tmp_path, corpus) == pytest.approx(report["validation_loss_after"], abs=1e-5)


@torch.inference_mode()
def measure_stored_loss(folder: Path, corpus: Path) -> float:
    """Return the mean over batches of the validation loss, by transformers alone, of what is on disk."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    data = load_datasets(load_tokenizer(folder), corpus, TRAINING["max_length"])
    size, collate = TRAINING["batch_size"], PadCollator(0)
    batches = [list(data.validation)[at : at + size] for at in range(0, len(data.validation), size)]
    losses = [(float(model(**collate(batch)).loss), len(batch)) for batch in batches]
    return sum(loss * count for loss, count in losses) / sum(count for _, count in losses)


def test_a_training_that_changed_nothing_says_so(base: Path, corpus: Path, tmp_path: Path) -> None:
    spec = PostSftParams(steps=1, learning_rate=1e-12, **TRAINING)
    post_sft.run(spec, {"model": base, "corpus": corpus}, tmp_path, ignore_progress)
    assert hash_tensors(tmp_path) == hash_tensors(base)
    report = read_report(tmp_path)
    assert report["norms_changed"] == 0
    assert report["notes"][0].startswith("post_sft changed nothing: ")
    assert read_notes(tmp_path) == tuple(report["notes"])


def test_a_changed_tensor_is_caught() -> None:
    before = {"a.norm.weight": "1", "b.weight_packed": "2"}
    assert compare_tensors(before, {"a.norm.weight": "9", "b.weight_packed": "2"}, {"a.norm.weight"})
    with pytest.raises(TensorsChangedError, match=r"b\.weight_packed"):
        compare_tensors(before, {"a.norm.weight": "1", "b.weight_packed": "3"}, {"a.norm.weight"})
    with pytest.raises(TensorsChangedError, match="came or went"):
        compare_tensors(before, {"a.norm.weight": "1"}, {"a.norm.weight"})
