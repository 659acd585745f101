"""A judge's settings, and what they must hold before anything is sent.

No value is ever shown: it may be a key.
"""

from __future__ import annotations

import re
from typing import Any, ClassVar
from urllib.parse import urlsplit

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from lanekit.errors import InputError
from lanekit.spec.benchmark import Benchmark
from lanekit.spec.numbers import Seed
from lanekit.spec.params import Parameters

RESERVED_FIELDS = ("model", "messages", "stream", "n")
_SECRET_FIELD = re.compile(r"api.?key|authorization|password|secret", re.IGNORECASE)


class JudgeSettings(Parameters):
    """A judge model behind an OpenAI-compatible endpoint, `url` up to and with "/v1".

    The key comes from the environment variable `api_key_env`, never from a file; the name is bounded, so that
    a forged job cannot send out another secret. Prices are per million tokens, in any currency; `max_cost` is
    the most that judging one lane may cost in it. `extra_body` goes into each request as it is, e.g. vLLM's
    structured outputs.
    """

    not_in_key: ClassVar[frozenset[str]] = frozenset(
        "url api_key_env concurrency retries timeout_s max_cost price_per_million_input_tokens "
        "price_per_million_output_tokens".split()
    )

    url: str
    model: str
    api_key_env: str = Field(default="LANEKIT_JUDGE_API_KEY", pattern=r"^LANEKIT_JUDGE_[A-Z0-9_]+$")
    temperature: NonNegativeFloat = 0.0
    max_tokens: PositiveInt = 2048
    concurrency: PositiveInt = 8
    retries: NonNegativeInt = 5
    timeout_s: PositiveFloat = 120.0
    max_cost: PositiveFloat | None = None
    price_per_million_input_tokens: NonNegativeFloat = 0.0
    price_per_million_output_tokens: NonNegativeFloat = 0.0
    extra_body: dict[str, Any] = Field(default_factory=dict)


class JudgeParams(JudgeSettings):
    """Score one model's answers to a benchmark by its rubric."""

    benchmark: Benchmark
    limit_items: PositiveInt | None = None
    seed: Seed = 42

    @model_validator(mode="after")
    def check_rubric(self) -> JudgeParams:
        """Refuse a benchmark that does not say how it is judged."""
        if self.benchmark.rubric is None:
            raise ValueError(f"benchmarks/{self.benchmark.name}.yaml has no rubric for the judge")
        return self


def check_judge(settings: JudgeSettings) -> None:
    """Refuse settings under which a key could leak or a cost cap could not hold.

    Raises:
        InputError: names the key under `evaluation.judge`, never its value.
    """
    _check_url(settings.url)
    for name in settings.extra_body:
        if name in RESERVED_FIELDS or _SECRET_FIELD.search(name):
            raise InputError(
                f"evaluation.judge.extra_body: '{name}' may not stand here",
                remedy="the model, the messages and the key have settings of their own",
            )
    prices = settings.price_per_million_input_tokens, settings.price_per_million_output_tokens
    if settings.max_cost is not None and not any(prices):
        raise InputError(
            "evaluation.judge.max_cost: no price is given, so that no cost can be counted",
            remedy="give price_per_million_input_tokens and price_per_million_output_tokens, or no max_cost",
        )


def _check_url(url: str) -> None:
    try:
        parts = urlsplit(url)
        has_host, has_login = bool(parts.hostname), "@" in parts.netloc
        wellformed = parts.scheme in ("http", "https") and has_host and (parts.port or True)
    except ValueError:
        wellformed = has_login = False
        parts = urlsplit("")
    where = "evaluation.judge.url"
    if has_login:
        raise InputError(
            f"{where}: it holds a user name or a password",
            remedy="take it out: the key is read from the environment variable LANEKIT_JUDGE_API_KEY",
        )
    if parts.query or parts.fragment:
        raise InputError(
            f"{where}: it holds a query (what follows '?' or '#'), where keys are not safe",
            remedy="take it out: the key is read from the environment variable LANEKIT_JUDGE_API_KEY",
        )
    if not wellformed:
        raise InputError(f"{where}: this is no address", remedy='write it as in "https://api.example.com/v1"')


def show_host(url: str) -> str:
    """Return a checked url's host and port, for people."""
    parts = urlsplit(url)
    return f"{parts.hostname}:{parts.port}" if parts.port else str(parts.hostname)
