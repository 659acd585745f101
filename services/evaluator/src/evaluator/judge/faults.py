"""Errors that an endpoint sends in the body of an answer with status 200, as routers do. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

FIRST_WAIT_S, LONGEST_WAIT_S = 0.5, 8.0
LONGEST_ASKED_S = 60.0  # a longer time that the endpoint asks for is no passing fault
_PASSING_STATUS = (408, 409, 429)
_SERVER_FAULT = 500
_NAMED_STATUS = {  # words in an error's code or type, where it has no number
    "api_key": 401, "unauthor": 401, "authentication": 401, "quota": 402, "credit": 402, "billing": 402,
    "permission": 403, "forbidden": 403, "model_not_found": 404, "rate": 429, "overload": 503,
    "unavailable": 503, "timeout": 504, "server": 500, "internal": 500, "invalid": 400,
}  # fmt: skip


@dataclass(frozen=True)
class Fault:
    """What an error says; `status` is 0 where it tells no kind."""

    status: int
    code: str
    words: str

    @property
    def may_pass(self) -> bool:
        """Whether trying again can help; an error of no known kind may pass."""
        return self.status == 0 or may_pass(self.status)


def may_pass(status: int) -> bool:
    """Whether what a status says may pass."""
    return status in _PASSING_STATUS or status >= _SERVER_FAULT


def find_fault(text: str) -> Fault | None:
    """Return the error that an answer's body holds; None where it holds none."""
    try:
        body = json.loads(text)
    except ValueError:
        return None
    if not isinstance(body, dict):
        return None
    choices = body.get("choices")
    first = choices[0] if isinstance(choices, list) and choices else None
    inner = first.get("error") if isinstance(first, dict) else None
    found = body.get("error") or inner
    if not found and not choices and (body.get("object") == "error" or "message" in body):
        found = body
    if not found:
        return None
    return _read_fault(found) if isinstance(found, dict) else Fault(0, "", _join(found))


def _read_fault(error: Mapping[str, Any]) -> Fault:
    names = [error.get(name) for name in ("code", "status", "type")]
    status = next((number for name in names if (number := _read_status(name))), 0)
    told = " ".join(str(name) for name in names if isinstance(name, str)).lower()
    if not status:
        status = next((number for word, number in _NAMED_STATUS.items() if word in told), 0)
    code = next((name for name in names if isinstance(name, str)), "")
    said = error.get("message") or error.get("detail") or error
    metadata = error.get("metadata")
    more = metadata.get("raw") if isinstance(metadata, dict) else None  # a router quotes its provider there
    return Fault(status, code, f"{_join(said)}: {_join(more)}" if more else _join(said))


def _read_status(value: Any) -> int:
    if isinstance(value, bool) or not re.fullmatch(r"[1-5]\d\d", str(value)):
        return 0
    return int(value)


def _join(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return " ".join(text.split())


def choose_wait_s(attempt: int, headers: Mapping[str, str]) -> float:
    """Return the seconds until the next try, `attempt` counting from 0; what the endpoint asks for counts."""
    for name, unit_s in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        try:
            asked_s = float(headers.get(name, "")) * unit_s
        except ValueError:  # none, or a date
            continue
        if 0 <= asked_s <= LONGEST_ASKED_S:
            return asked_s
    return float(min(FIRST_WAIT_S * 2**attempt, LONGEST_WAIT_S))
