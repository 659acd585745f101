"""What judging costs, and that it never costs more than it may."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lanekit.errors import InputError
from lanekit.spec.judge import JudgeSettings

# Byte-level vocabularies have a token for each byte, and hardly one for more than eight of a running text.
_MAX_BYTES_PER_TOKEN = 8
_TOKENS_AROUND_MESSAGE = 32  # the chat template's
_PER_MILLION = 1e-6


@dataclass(frozen=True)
class Bounds:
    """The least and the most that one request can cost."""

    least: float
    most: float


def count_output_tokens(body: Mapping[str, Any]) -> int | None:
    """Return the most tokens that a reply to this request may have; None where it names no limit."""
    limits = [body.get("max_completion_tokens"), body.get("max_tokens")]
    return next((limit for limit in limits if isinstance(limit, int)), None)


@dataclass
class Budget:
    """Counts what was spent; a request may start only if all that run could cost their most within the cap.

    What counts is the answers' own usage. A try that broke off is not counted, though some endpoints bill it.
    """

    settings: JudgeSettings
    spent: float = 0.0
    _reserved: dict[int, float] = field(default_factory=dict)
    _changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    def price(self, prompt_tokens: int, completion_tokens: int) -> float:
        """Return what these tokens cost."""
        settings = self.settings
        return _PER_MILLION * (
            prompt_tokens * settings.price_per_million_input_tokens
            + completion_tokens * settings.price_per_million_output_tokens
        )

    def bound(self, body: Mapping[str, Any]) -> Bounds:
        """Return between what a request's cost must lie, whatever the judge's tokenizer.

        Raises:
            InputError: there is a cap, and the request names no limit of the reply.
        """
        limit = count_output_tokens(body)
        if limit is None:
            if self.settings.max_cost is not None:
                raise InputError(
                    "evaluation.judge: a reply without a limit of its tokens cannot be held under max_cost",
                    remedy="leave max_tokens in the request, or give max_completion_tokens in extra_body",
                )
            limit = 0
        n_bytes, n_around = _measure(body)
        least = self.price(n_bytes // _MAX_BYTES_PER_TOKEN, 1)
        return Bounds(least, self.price(n_bytes + n_around, limit))

    def bound_usage(self, body: Mapping[str, Any], text: str) -> tuple[int, int]:
        """Return the most prompt and completion tokens of an answer that does not tell them."""
        return sum(_measure(body)), len(text.encode())

    async def reserve(self, ticket: int, most: float) -> bool:
        """Wait until a request may start; False where it could exceed the cap with nothing else running."""
        cap = self.settings.max_cost
        async with self._changed:
            while cap is not None and self.spent + sum(self._reserved.values()) + most > cap:
                if not self._reserved:
                    return False
                await self._changed.wait()
            self._reserved[ticket] = most
            return True

    async def settle(self, ticket: int, cost: float) -> None:
        """Count what a request did cost in place of what it could."""
        async with self._changed:
            del self._reserved[ticket]
            self.spent += cost
            self._changed.notify_all()


def _measure(body: Mapping[str, Any]) -> tuple[int, int]:
    """Return the bytes of a request's messages and the most tokens that stand around them."""
    messages = body["messages"]
    extra = {name: value for name, value in body.items() if name not in ("messages", "model")}
    n_extra = len(json.dumps(extra, ensure_ascii=False).encode())  # some endpoints tell the model of a schema
    n_bytes = sum(len(message["content"].encode()) for message in messages)
    return n_bytes, n_extra + _TOKENS_AROUND_MESSAGE * (len(messages) + 1)
