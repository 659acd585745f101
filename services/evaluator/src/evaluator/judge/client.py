"""A judge behind an OpenAI-compatible endpoint: one request, one judgement, errors that say what to do."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from typing import Any

import openai

from evaluator.judge.cache import Judgement
from evaluator.judge.faults import choose_wait_s, find_fault, may_pass
from evaluator.judge.judging import Messages
from lanekit.errors import InputError, LanekitError, TransientError, did_you_mean
from lanekit.spec.judge import JudgeParams, show_host

URL_NAME = "LANEKIT_JUDGE_URL"
AGAIN = "see to the endpoint, then run again: what is judged is kept"
_NO_KEY = "none"  # local endpoints ask for no key, but the library wants one
_MAX_NAMES = 20
_MAX_MESSAGE_CHARACTERS = 500


def make_body(spec: JudgeParams, messages: Messages) -> dict[str, Any]:
    """Return a request's body; a null in `extra_body` takes a field out, for endpoints that refuse it."""
    body = {
        "model": spec.model,
        "messages": messages,
        "temperature": spec.temperature,
        "max_tokens": spec.max_tokens,
        "seed": spec.seed,
        **spec.extra_body,
    }
    return {name: value for name, value in body.items() if value is not None}


def read_key(name: str, environment: Mapping[str, str] = os.environ) -> str:
    """Return the key from the environment, "" where there is none.

    Raises:
        InputError: it holds what no HTTP header can hold.
    """
    key = environment.get(name, "").strip()
    if not key.isascii() or not key.isprintable() or " " in key:
        raise InputError(
            f"{name}: its value cannot be a key: it holds spaces, line breaks or letters beyond ASCII",
            remedy=f"set {name} to the key alone",
        )
    return key


def check_allowed(url: str, environment: Mapping[str, str] = os.environ) -> None:
    """Refuse an address other than LANEKIT_JUDGE_URL, where it is set: a forged job gets no key.

    Raises:
        InputError: it is another one.
    """
    allowed = environment.get(URL_NAME, "").strip()
    if allowed and allowed.rstrip("/") != url.rstrip("/"):
        raise InputError(
            f"evaluation.judge.url is at {show_host(url)}; {URL_NAME} of this worker allows another alone",
            remedy=f"make the two equal, or leave {URL_NAME} empty",
        )


class JudgeClient:
    """Asks the endpoint; tries again, with back-off, after 408, 409, 429, 5xx, time-outs, lost connections.

    An error in the body of an answer with status 200 is taken as one with its own code.

    `n_retries` counts the further tries of what came to be answered. It belongs to one event loop.
    """

    def __init__(self, spec: JudgeParams, key: str) -> None:
        self.spec = spec
        self.host = show_host(spec.url)
        self.n_retries = 0
        self._key = key
        self._client = openai.AsyncOpenAI(
            base_url=spec.url, api_key=key or _NO_KEY, max_retries=spec.retries, timeout=spec.timeout_s
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()

    async def ask(self, body: Mapping[str, Any], label: str) -> Judgement:
        """Send one request; `label` names what is judged, for errors.

        Raises:
            InputError: the endpoint refuses the key, the model or the request, or speaks another form.
            TransientError: it cannot be reached, or fails, after all retries.
        """
        rest = {name: value for name, value in body.items() if name not in ("model", "messages")}
        attempt = 0
        while True:
            try:
                raw = await self._client.chat.completions.with_raw_response.create(
                    model=body["model"], messages=body["messages"], extra_body=rest
                )
            except openai.OpenAIError as error:
                problem = await self._explain(error, label)
                raise problem from None  # the library's own message may quote the key
            self.n_retries += raw.retries_taken
            fault = find_fault(raw.http_response.text)
            if fault is None:
                return self._read(raw)
            if not fault.may_pass or attempt >= self.spec.retries:
                raise await self._explain_answer(fault.status, fault.code, self._shorten(fault.words), label)
            await asyncio.sleep(choose_wait_s(attempt, raw.headers))
            attempt += 1
            self.n_retries += 1

    def _read(self, raw: Any) -> Judgement:
        try:
            completion = raw.parse()
            choices = completion.choices
            message, finish_reason = choices[0].message, choices[0].finish_reason
            text = message.content
        except (ValueError, TypeError, AttributeError, IndexError):
            raise InputError(
                f"the judge at {self.host} does not answer in the form of OpenAI's chat completions",
                remedy='correct evaluation.judge.url: it goes up to and with "/v1"',
            ) from None
        usage = getattr(completion, "usage", None)
        return Judgement(
            text=text if isinstance(text, str) else "",
            model=str(getattr(completion, "model", "") or ""),
            finish_reason=str(finish_reason or ""),
            prompt_tokens=getattr(usage, "prompt_tokens", None),
            completion_tokens=getattr(usage, "completion_tokens", None),
        )

    async def _explain(self, error: openai.OpenAIError, label: str) -> LanekitError:
        tries, again = self.spec.retries + 1, AGAIN
        if isinstance(error, openai.APITimeoutError):
            message = (
                f"the judge at {self.host} did not answer within {self.spec.timeout_s:g} s, {tries} times"
            )
            return TransientError(message, remedy=f"{again}; or raise evaluation.judge.timeout_s")
        if isinstance(error, openai.APIConnectionError):
            cause = type(error.__cause__).__name__ if error.__cause__ else "no connection"
            message = f"the judge at {self.host} cannot be reached ({cause}, {tries} times)"
            return TransientError(message, remedy=f"{again}; evaluation.judge.url is its address")
        if not isinstance(error, openai.APIStatusError):
            return InputError(
                f"the judge at {self.host}: {self._quote(error)}",
                remedy='correct evaluation.judge.url: it goes up to and with "/v1"',
            )
        code = str(getattr(error, "code", None) or "")
        return await self._explain_answer(error.status_code, code, self._quote(error), label)

    async def _explain_answer(self, status: int, code: str, words: str, label: str) -> LanekitError:
        """Explain an error that came as an answer; `status` is 0 where it has none."""
        name, tries = self.spec.api_key_env, self.spec.retries + 1
        answer = f"the judge at {self.host} answers {status or 'with an error'}: {words}"
        if status == 401:
            state = "refuses the key that is" if self._key else "wants a key, and none is"
            return InputError(
                f"the judge at {self.host} {state} in {name} (401)", remedy=f"set {name} to a valid key"
            )
        if status in (402, 403) or code == "insufficient_quota":
            return InputError(answer, remedy=f"see what the account behind {name} may use and pay")
        if status == 404:
            return await self._explain_missing(words)
        if status == 0 or may_pass(status):
            return TransientError(
                f"{answer} ({tries} times)", remedy=f"{AGAIN}; or lower evaluation.judge.concurrency"
            )
        return InputError(
            f"{label}: {answer}",
            remedy="change evaluation.judge: model, max_tokens, or extra_body, where null takes a field out",
        )

    async def _explain_missing(self, words: str) -> InputError:
        """Explain a 404: another name of the model, or another address."""
        model = self.spec.model
        try:
            names = [entry.id for entry in (await self._client.models.list()).data]
        except (openai.OpenAIError, AttributeError, TypeError):
            return InputError(
                f"the judge at {self.host} answers 404: {words}; it lists no models either",
                remedy='correct evaluation.judge.url: it goes up to and with "/v1"',
            )
        more = f" and {len(names) - _MAX_NAMES} more" if len(names) > _MAX_NAMES else ""
        known = ", ".join(names[:_MAX_NAMES]) or "none"
        return InputError(
            f"the judge at {self.host} has no model '{model}'{did_you_mean(model, names)} (404)",
            remedy=f"set evaluation.judge.model to one that it has: {known}{more}",
        )

    def _quote(self, error: Exception) -> str:
        """Return an endpoint's own words without the key."""
        body = getattr(error, "body", None)
        said = body.get("message") if isinstance(body, dict) else None
        return self._shorten(" ".join(str(said or error).split()))

    def _shorten(self, words: str) -> str:
        words = words.replace(self._key, "***") if self._key else words
        return words if len(words) <= _MAX_MESSAGE_CHARACTERS else f"{words[:_MAX_MESSAGE_CHARACTERS]}…"
