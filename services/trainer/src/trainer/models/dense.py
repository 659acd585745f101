"""Loading and saving dense models for the training stages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from lanekit.errors import InputError
from lanekit.files.finite_weights import check_written_model
from lanekit.files.generation_config import without_generation_config
from lanekit.files.model_folder import carry_files, read_config
from lanekit.files.safetensors_header import check_model_folder
from lanekit.files.tied_head import restore_tied_head


def choose_device(wanted: str) -> torch.device:
    """Return the device a stage runs on.

    Raises:
        InputError: CUDA is asked for and not there.
    """
    if wanted == "cuda" and not torch.cuda.is_available():
        raise InputError("device 'cuda' is asked for, and torch sees none", remedy="use device: auto")
    if wanted == "auto":
        wanted = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(wanted)


def load_tokenizer(folder: Path) -> Any:
    """Load a model folder's tokenizer.

    Raises:
        InputError: it has no chat template.
    """
    tokenizer = AutoTokenizer.from_pretrained(folder)
    if not tokenizer.chat_template:
        raise InputError(f"{folder}: the tokenizer has no chat template", remedy="add chat_template.jinja")
    return tokenizer


def load_dense(folder: Path, device: torch.device, dtype: torch.dtype) -> Any:
    """Load an unquantized model.

    Raises:
        InputError: the model is quantized, or a weight file is truncated.
    """
    if "quantization_config" in read_config(folder):
        raise InputError(
            f"{folder}: the model is quantized already; this stage needs a dense one",
            remedy="put this stage before the quantization in the lane file",
        )
    check_model_folder(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype)
    model.config.use_cache = False
    return model.to(device)


def read_stored_dtype(folder: Path) -> torch.dtype:
    """Return the dtype in which a model folder's config.json says that its weights are stored."""
    config = read_config(folder)
    dtype: torch.dtype = getattr(torch, config.get("dtype") or config.get("torch_dtype") or "bfloat16")
    return dtype


def save_dense(model: Any, source: Path, out: Path, remedy: str) -> None:
    """Save in the source model's stored dtype, with its tokenizer and licence, and check what was written.

    Args:
        remedy: what to change where the weights are not finite.

    Raises:
        InputError: a tied head has come apart, or was written twice.
        NonFiniteWeightsError: a tensor holds NaN or infinity.
    """
    model = model.to(read_stored_dtype(source))
    model.config.use_cache = True
    restore_tied_head(model)
    with without_generation_config(model, source):
        model.save_pretrained(out, safe_serialization=True)
    carry_files(source, out)
    check_written_model(out, remedy)
