"""AWQ's pairs of layers, errors and progress while llmcompressor runs; its mean and its memory, corrected."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from llmcompressor.modifiers.awq import base as awq_base

from lanekit.progress import Progress

Mean = tuple[torch.Tensor, int]


@dataclass
class AwqRecord:
    """What AWQ did.

    Attributes:
        pairs: the layers that it was to smooth, each named after the one whose output is scaled.
        errors: the mean squared error of the best scales of each pair, where they were found.
    """

    pairs: list[str] = field(default_factory=list)
    errors: dict[str, float] = field(default_factory=dict)


def accumulate_mean(inputs: torch.Tensor, before: Mean | None) -> Mean:
    """Return the mean over the rows of all inputs so far, and how many they are.

    llmcompressor 0.9.0.1 takes the first sequence's sum for its mean, so that this sequence outweighs all the
    others by as many times as it has tokens (vllm-project/llm-compressor#2161).
    """
    count = inputs.size(0)
    mean = inputs.mean(dim=0, dtype=torch.float32)
    if before is None:
        return mean, count
    total = before[1] + count
    return before[0] + (mean - before[0]) * (count / total), total


@contextmanager
def keep_original_weights(parent: torch.nn.Module) -> Iterator[None]:
    """Let the search for scales put back the weights that it found.

    llmcompressor 0.9.0.1 remembers them as `tensor.cpu()`, which on a CPU is no copy: each trial of the grid
    stayed in the weights, and the model was ruined.
    """
    read = parent.state_dict

    def copy_state(*args: Any, **kwargs: Any) -> dict[str, torch.Tensor]:
        return {name: tensor.clone() for name, tensor in read(*args, **kwargs).items()}

    object.__setattr__(parent, "state_dict", copy_state)
    try:
        yield
    finally:
        object.__delattr__(parent, "state_dict")


@contextmanager
def record_awq(progress: Progress) -> Iterator[AwqRecord]:
    """Give the record of what AWQ does in the block.

    The library keeps it to itself: the methods that know it are replaced for the duration.
    """
    record = AwqRecord()
    kind = awq_base.AWQModifier
    names = ("_set_resolved_mappings", "_compute_best_scale", "_compute_loss")
    original = {name: getattr(kind, name) for name in names}
    original_mean = awq_base._accumulate_mean
    losses: list[float] = []

    def resolve(self: Any, model: Any) -> None:
        original["_set_resolved_mappings"](self, model)
        record.pairs = [mapping.smooth_name for mapping in self._resolved_mappings]

    def measure(self: Any, ours: Any, theirs: Any) -> float:
        loss = float(original["_compute_loss"](self, ours, theirs))
        losses.append(loss)
        return loss

    def search(self: Any, mapping: Any, outputs: Any) -> Any:
        losses.clear()
        with keep_original_weights(mapping.parent):
            scales = original["_compute_best_scale"](self, mapping, outputs)
        record.errors[mapping.smooth_name] = min(losses)
        progress(len(record.errors), len(record.pairs), f"AWQ {mapping.smooth_name}")
        return scales

    replaced = {"_set_resolved_mappings": resolve, "_compute_best_scale": search, "_compute_loss": measure}
    for name, function in replaced.items():
        setattr(kind, name, function)
    awq_base._accumulate_mean = accumulate_mean
    try:
        yield record
    finally:
        for name, function in original.items():
            setattr(kind, name, function)
        awq_base._accumulate_mean = original_mean
