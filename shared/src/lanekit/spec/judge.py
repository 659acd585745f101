"""What a judge's settings must hold before anything is sent. No value is ever shown: it may be a key."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from lanekit.errors import InputError
from lanekit.spec.params import JudgeSettings

RESERVED_FIELDS = ("model", "messages", "stream", "n")
_SECRET_FIELD = re.compile(r"api.?key|authorization|password|secret", re.IGNORECASE)


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
