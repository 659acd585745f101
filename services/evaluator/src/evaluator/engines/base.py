"""What an engine is: prompts as token ids in, greedy continuations as token ids out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

OnProgress = Callable[[int], None]


@dataclass(frozen=True)
class Generation:
    """One continuation; `token_ids` end before the end-of-turn token, `finished` says that one came."""

    token_ids: list[int]
    finished: bool


class Engine(Protocol):
    """A loaded model."""

    device: str
    vocab_size: int

    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        max_new_tokens: int,
        *,
        ignore_eos: bool = False,
        on_progress: OnProgress | None = None,
    ) -> list[Generation]:
        """Continue every prompt greedily (temperature 0), in the order given.

        Args:
            prompts: token ids, chat template included.
            max_new_tokens: the most tokens to add to each.
            ignore_eos: for timing: each prompt gets exactly `max_new_tokens`, all prompts in one batch.
            on_progress: called with the number of prompts that are done.
        """

    def describe(self) -> dict[str, Any]:
        """Return the engine's name, settings and what is known of its kernels, as JSON values."""

    def close(self) -> None:
        """Free the memory; the engine is of no use afterwards."""
