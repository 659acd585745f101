"""The calibration set as llmcompressor wants it, and checks before any time is spent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from compressed_tensors.quantization import preset_name_to_scheme
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer

from lanekit.errors import InputError
from lanekit.files.conversations import encode_corpus
from lanekit.files.model_folder import read_config
from lanekit.files.safetensors_header import check_model_folder
from lanekit.spec.params import Parameters
from lanekit.spec.quantization import QuantizeParams


def load_for_quantization(folder: Path, spec: Parameters) -> tuple[Any, Any]:
    """Return a dense model in its stored dtype and its tokenizer.

    On a GPU host the model stays on the CPU: llmcompressor moves one layer at a time.

    Raises:
        InputError: the model is quantized already, or a weight file is truncated.
    """
    if "quantization_config" in read_config(folder):
        raise InputError(
            f"{folder}: the model is quantized already",
            remedy="quantize the dense model; in a lane file only one quantization may stand",
        )
    check_model_folder(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype="auto")
    if isinstance(spec, QuantizeParams):
        torch.manual_seed(spec.seed)
    return model, tokenizer


@dataclass(frozen=True)
class CalibrationSet:
    """Token sequences, one a conversation; the report's part on them, and its notes."""

    sequences: Dataset
    report: dict[str, int]
    notes: list[str]


def load_calibration_set(tokenizer: Any, corpus: Path, spec: QuantizeParams) -> CalibrationSet:
    """Return the first `calibration_rows` conversations, each with its last answer, in `max_length` tokens.

    Raises:
        InputError: not one fits.
    """
    path = corpus / "calibration.jsonl"
    encoded = encode_corpus(tokenizer, path, spec.max_length, spec.calibration_rows, last_answers=True)
    sequences = Dataset.from_list(
        [{"input_ids": s["input_ids"], "attention_mask": [1] * len(s["input_ids"])} for s in encoded.samples]
    )
    asked = spec.calibration_rows
    return CalibrationSet(sequences, encoded.report_calibration(asked), encoded.describe_calibration(asked))


def find_group_size(scheme: str) -> int:
    """Return the group size of a preset scheme; 0 where it has none."""
    weights = preset_name_to_scheme(scheme, ["Linear"]).weights
    size = weights.group_size if weights is not None else None
    return size if size and size > 0 else 0


def check_group_size(model: Any, group_size: int, ignore: Sequence[str]) -> None:
    """Refuse a model whose linear layers cannot be cut into groups.

    Raises:
        InputError: names the first layer whose input width is not a multiple of `group_size`.
    """
    for name, module in model.named_modules():
        if not isinstance(module, torch.nn.Linear) or any(name.endswith(i) for i in ignore):
            continue
        if module.in_features % group_size:
            raise InputError(
                f"{name}: its input width {module.in_features} cannot be cut into groups of {group_size}",
                remedy="use a per-channel scheme (W8A16), or prune widths to multiples of the group size",
            )
