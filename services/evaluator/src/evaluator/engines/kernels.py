"""Which code serves each type of layer."""

from __future__ import annotations

from collections import Counter
from typing import Any


def count_kernels(model: Any) -> dict[str, int]:
    """Return how many layers each kernel of vLLM serves, as "<layer type>: method/scheme/kernel": count.

    The kernel is what compressed-tensors schemes keep in `kernel` (Marlin, Machete, AllSpark …); the FP8 W8A8
    one, and ModelOpt's method, keep an operator with its backend ("Fp8LinearOp:cutlass"). It depends on the
    GPU, so speeds of one kernel say nothing of another. Attention is listed by its implementation.
    Runs inside vLLM's worker process.
    """
    counts: Counter[str] = Counter()
    for name, module in model.named_modules():
        method = getattr(module, "quant_method", None)
        scheme = getattr(module, "scheme", None)
        kernel = getattr(scheme, "kernel", None) or getattr(method, "kernel", None)
        parts = (getattr(module, "impl", None), method, scheme, kernel)
        names = [type(part).__name__ for part in parts if part is not None]
        operator = getattr(scheme, "fp8_linear", None) or getattr(method, "fp8_linear", None)
        backend = getattr(operator, "preferred_backend", None)
        if backend is not None:
            names.append(f"{type(operator).__name__}:{backend}")
        used = "/".join(names)
        if used:
            counts[f"{name.rsplit('.', 1)[-1]}: {used}"] += 1
    return dict(sorted(counts.items()))


def count_dense_layers(model: Any, quantized_by: str = "") -> dict[str, int]:
    """Return the same of a transformers model, e.g. "q_proj: compressed-tensors W4A16 → dense bfloat16": 30.

    Its linears are dense whatever the checkpoint: torch multiplies them, in the dtype named.
    """
    import torch

    counts: Counter[str] = Counter()
    for name, module in model.named_modules():
        if not isinstance(module, (torch.nn.Linear, torch.nn.Embedding)):
            continue
        scheme = getattr(module, "quantization_scheme", None)
        source = f"{quantized_by} {name_scheme(scheme)} → " if scheme is not None else ""
        dtype = str(module.weight.dtype).removeprefix("torch.")
        counts[f"{name.rsplit('.', 1)[-1]}: {source}dense {dtype}"] += 1
    return dict(sorted(counts.items()))


def name_scheme(scheme: Any) -> str:
    """Return a compressed-tensors scheme's short name: "W4A16", "W8A8", "FP8 W8A8"."""
    bits = [str(part.num_bits) if part else "16" for part in (scheme.weights, scheme.input_activations)]
    is_float = scheme.weights is not None and str(getattr(scheme.weights.type, "value", "")) == "float"
    return f"{'FP8 ' if is_float else ''}W{bits[0]}A{bits[1]}"


def count_resident_bytes(model: Any) -> int:
    """Return the bytes of a transformers model's weights that one decode step reads, as they lie in memory.

    A quantized checkpoint is dense here, so its weights take as much as the dense model's. Weights shared by
    two layers count once; an input embedding table that is not the head's is only looked up.
    """
    table = model.get_input_embeddings().weight
    head = model.get_output_embeddings()
    tied = head is not None and head.weight.data_ptr() == table.data_ptr()
    seen: dict[int, int] = {}
    for name, tensor in model.named_parameters():
        if not name.endswith((".weight", ".bias")) or (tensor is table and not tied):
            continue
        seen[tensor.data_ptr()] = tensor.numel() * tensor.element_size()
    return sum(seen.values())
