"""A tied head stays one tensor, whatever the calibration pipeline did to the model in memory.

On CUDA llmcompressor off-loads every module while it calibrates. The same off-loading with the CPU as the
execution device shows the fault on any machine: head and embedding come back as two parameters.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from compressed_tensors.utils import offloaded_dispatch, remove_dispatch
from llmcompressor.pipelines.sequential import pipeline
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from lanekit.errors import InputError
from lanekit.files.safetensors_header import check_model_folder, read_header
from lanekit.files.tied_head import check_tied_head, restore_tied_head
from lanekit.progress import ignore_progress
from lanekit.spec.quantization import Fp8Params, GptqParams
from quantizer.stages import fp8, gptq

pytestmark = pytest.mark.slow

CALIBRATION: dict[str, Any] = {"calibration_rows": 4, "max_length": 64}


@pytest.fixture
def offloading(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """Make the sequential pipeline off-load as on CUDA; the models that it did this to."""
    seen: list[Any] = []

    def dispatch(model: Any) -> Any:
        seen.append(offloaded_dispatch(remove_dispatch(model), execution_device=torch.device("cpu")))
        return model

    monkeypatch.setattr(pipeline, "dispatch_for_sequential", dispatch)
    yield seen


def come_apart(model: Any) -> None:
    """Give the head weights of its own that equal the embedding's, as CUDA's off-loading leaves it."""
    model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.detach().clone(), requires_grad=False)


@pytest.fixture
def model(tiny_model: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(tiny_model, dtype="auto")


@pytest.mark.parametrize(
    ("stage", "spec"),
    [
        (fp8, Fp8Params(scheme="FP8", **CALIBRATION)),
        (gptq, GptqParams(scheme="W4A16", **CALIBRATION)),
    ],
    ids=["fp8", "gptq"],
)
def test_offloaded_calibration_breaks_the_tie_and_saving_mends_it(
    offloading: list[Any], tiny_model: Path, corpus: Path, tmp_path: Path, stage: Any, spec: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    module = stage.__name__
    save = stage.save_packed
    was_one: list[bool] = []

    def look_and_save(quantized: Any, source: Path, out: Path, remedy: str) -> Any:
        was_one.append(quantized.lm_head.weight is quantized.model.embed_tokens.weight)
        come_apart(quantized)  # as on CUDA, where the two do not even share storage
        sizes = save(quantized, source, out, remedy)
        was_one.append(quantized.lm_head.weight is quantized.model.embed_tokens.weight)
        return sizes

    monkeypatch.setattr(f"{module}.save_packed", look_and_save)
    stage.run(spec, {"model": tiny_model, "corpus": corpus}, tmp_path, ignore_progress)
    assert len(offloading) == 1
    assert was_one == [False, True]
    assert "lm_head.weight" not in read_header(tmp_path / "model.safetensors").tensors


def test_a_tie_that_holds_is_left_alone(model: Any) -> None:
    table = model.model.embed_tokens.weight
    assert not restore_tied_head(model)
    assert model.lm_head.weight is table


def test_two_equal_copies_become_one(model: Any) -> None:
    come_apart(model)
    assert restore_tied_head(model)
    assert model.lm_head.weight is model.model.embed_tokens.weight


def test_an_untied_model_keeps_its_own_head(model: Any) -> None:
    come_apart(model)
    model.config.tie_word_embeddings = False
    assert not restore_tied_head(model)
    assert model.lm_head.weight is not model.model.embed_tokens.weight


def test_a_head_that_was_changed_is_refused_with_a_remedy(model: Any) -> None:
    come_apart(model)
    model.lm_head.weight.data[0, 0] += 1
    with pytest.raises(InputError, match="no longer equals it") as caught:
        restore_tied_head(model)
    assert "keep lm_head in the stage's `ignore`" in caught.value.remedy


def test_a_head_stored_twice_is_refused_with_a_remedy(tiny_model: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_model, tmp_path, dirs_exist_ok=True)
    path = tmp_path / "model.safetensors"
    tensors = load_file(path)
    save_file({**tensors, "lm_head.weight": tensors["model.embed_tokens.weight"].clone()}, path)
    with pytest.raises(InputError, match=r"holds lm_head\.weight \(\d+ bytes\)") as caught:
        check_tied_head(check_model_folder(tmp_path))
    assert "00_setup_check.py" in caught.value.remedy
