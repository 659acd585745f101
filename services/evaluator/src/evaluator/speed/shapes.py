"""What decides which kernels a model runs: models that are alike in it are equally fast. Pure."""

from __future__ import annotations

import hashlib
import json

from lanekit.files.safetensors_header import ModelFolder

DIGEST_CHARACTERS = 16


def digest_shapes(folder: ModelFolder) -> str:
    """Return a digest of the tensors' names, dtypes and shapes, and of the checkpoint's format.

    Weights do not enter: GPTQ with another dampening, or norms trained afterwards, run the same kernels on
    the same shapes.
    """
    tensors = sorted(
        (name, info.dtype, info.shape)
        for header in folder.headers.values()
        for name, info in header.tensors.items()
    )
    contents = {
        "tensors": tensors,
        "format": folder.config.get("quantization_config"),
        "dtype": folder.config.get("torch_dtype") or folder.config.get("dtype"),
        "tied": folder.config.get("tie_word_embeddings"),
    }
    return hashlib.sha256(json.dumps(contents, sort_keys=True).encode()).hexdigest()[:DIGEST_CHARACTERS]
