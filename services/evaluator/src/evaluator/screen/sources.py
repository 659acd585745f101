"""Where logits come from. Another engine joins as another LogitSource."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import torch

from evaluator.engines.transformers_engine import TransformersEngine
from evaluator.screen.texts import Sequence as TextSequence
from lanekit.spec.evaluation import EngineParams
from lanekit.spec.screen import CompareLogitsParams


class LogitSource(Protocol):
    """A model that is loaded to be compared."""

    @property
    def tokenizer(self) -> Any:
        """Its tokenizer, with the chat template."""

    @property
    def vocab_size(self) -> int:
        """How many tokens its vocabulary has."""

    def read_logits(self, batch: Sequence[TextSequence]) -> list[torch.Tensor]:
        """Return for each sequence one row of logits a token that counts, from what stands before it."""

    def describe(self) -> dict[str, Any]:
        """Return what loaded it, for the report."""

    def close(self) -> None:
        """Free its memory."""


class TransformersLogits:
    """Logits of transformers, in left-padded batches.

    What is loaded, and that activations stay quantized in each forward pass, is TransformersEngine's.

    Raises:
        InputError: see TransformersEngine.
    """

    def __init__(self, model: Path, spec: CompareLogitsParams) -> None:
        params = EngineParams(
            engine="transformers", dtype=spec.dtype, device=spec.device, max_model_len=spec.max_length
        )
        self._engine = TransformersEngine(model, params)
        self.tokenizer = self._engine.tokenizer
        self.vocab_size = self._engine.vocab_size

    @torch.inference_mode()
    def read_logits(self, batch: Sequence[TextSequence]) -> list[torch.Tensor]:
        """See LogitSource. The head is applied to the last positions alone, those of the longest answer."""
        width = max(len(sequence.ids) for sequence in batch) - 1  # nothing is asked behind the last token
        ids = torch.full((len(batch), width), self._engine.pad_id, dtype=torch.long)
        mask = torch.zeros_like(ids)
        for row, sequence in enumerate(batch):
            begin = width - len(sequence.ids) + 1
            ids[row, begin:] = torch.tensor(sequence.ids[:-1])
            mask[row, begin:] = 1
        device = self._engine.torch_device
        output = self._engine.model(
            input_ids=ids.to(device),
            attention_mask=mask.to(device),
            position_ids=(mask.cumsum(-1) - 1).clamp(min=0).to(device),
            logits_to_keep=max(sequence.n_counted for sequence in batch),
            use_cache=False,
        )
        return [output.logits[row, -sequence.n_counted :] for row, sequence in enumerate(batch)]

    def describe(self) -> dict[str, Any]:
        """See LogitSource."""
        return self._engine.describe()

    def close(self) -> None:
        """See LogitSource."""
        self._engine.close()
