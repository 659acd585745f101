"""What an engine is: prompts as token ids in, greedy continuations as token ids out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from lanekit.host.devices import DeviceKind

OnProgress = Callable[[int], None]


@dataclass(frozen=True)
class Generation:
    """One continuation; `token_ids` end before the end-of-turn token.

    `finished` says that one came, or a stop text; `by_text` says that it was the text.
    """

    token_ids: list[int]
    finished: bool
    by_text: bool = False

    @property
    def n_generated(self) -> int:
        """How many tokens the model generated, the end-of-turn token included."""
        return len(self.token_ids) + (self.finished and not self.by_text)


@dataclass(frozen=True)
class Ask:
    """One prompt: its token ids, the most tokens to add, and the texts that end the reply before that.

    `is_exact`: for timing: exactly `max_new_tokens`, whatever the model says.
    """

    token_ids: Sequence[int]
    max_new_tokens: int
    stop: tuple[str, ...] = ()
    is_exact: bool = False


class Engine(Protocol):
    """A loaded model."""

    device: str
    device_kind: DeviceKind
    vocab_size: int

    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        max_new_tokens: int,
        *,
        ignore_eos: bool = False,
        stop: Sequence[str] = (),
        on_progress: OnProgress | None = None,
    ) -> list[Generation]:
        """Continue every prompt greedily (temperature 0), in the order given.

        Args:
            prompts: token ids, chat template included.
            max_new_tokens: the most tokens to add to each.
            ignore_eos: for timing: each prompt gets exactly `max_new_tokens`, all prompts in one batch.
            stop: texts; a reply is over once it holds one, and its tokens end with the text's last. The text
                itself is cut where the tokens are decoded, since a token may reach beyond it. Not with
                `ignore_eos`.
            on_progress: called with the number of prompts that are done.
        """

    def generate_each(self, asks: Sequence[Ask]) -> list[Generation]:
        """Continue prompts greedily, each under its own limit, all in one call; in the order given."""

    def describe(self) -> dict[str, Any]:
        """Return the engine's name and settings, as JSON values.

        Among them: `engine`; `dtype`, resolved; `arguments`, flat, the same for every model; `kernels`,
        the number of layers by type and by what serves them; `kv_cache_dtype`, resolved;
        `weight_bytes_per_step`, read by a decode step. Where it is known how many sequences fit:
        `kv_cache_blocks` and the `kv_cache_tokens` that they hold.
        """

    def sleep(self) -> None:
        """Give the device's memory to another engine until `wake`; nothing where that is not possible."""

    def wake(self) -> None:
        """Be as at the start again; nothing on an engine that is awake."""

    def close(self) -> None:
        """Free the memory; the engine is of no use afterwards."""
