"""Errors that come with status 200: read, tried again where they may pass, told in their own words."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest
from judge_endpoint import Answer, Endpoint, serve

from evaluator.judge.cache import Judgement
from evaluator.judge.client import JudgeClient, make_body
from evaluator.judge.faults import Fault, choose_wait_s, find_fault
from lanekit.errors import InputError, LanekitError, TransientError
from lanekit.spec.benchmark import Benchmark
from lanekit.spec.judge import JudgeParams

KEY = "sk-very-secret-0123456789"
LIMITED = {"error": {"code": 429, "message": "Rate limit exceeded: free-models-per-min"}}
PROVIDER = {"choices": None, "error": {"code": 502, "message": "Provider returned error"}}


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        (LIMITED, Fault(429, "", "Rate limit exceeded: free-models-per-min")),
        (PROVIDER, Fault(502, "", "Provider returned error")),
        ({"error": {"code": "503", "message": "busy"}}, Fault(503, "503", "busy")),
        ({"error": {"type": "overloaded_error", "message": "x"}}, Fault(503, "overloaded_error", "x")),
        ({"error": {"code": "rate_limit_exceeded", "message": "x"}}, Fault(429, "rate_limit_exceeded", "x")),
        ({"error": {"code": "invalid_api_key", "message": "x"}}, Fault(401, "invalid_api_key", "x")),
        ({"error": {"code": "insufficient_quota", "message": "x"}}, Fault(402, "insufficient_quota", "x")),
        ({"error": "try later"}, Fault(0, "", "try later")),
        ({"object": "error", "message": "too long", "code": 400}, Fault(400, "", "too long")),
        ({"error": {"message": "x", "code": 502, "metadata": {"raw": "upstream\ndown"}}},
         Fault(502, "", "x: upstream down")),
        ({"choices": [{"error": {"code": 500, "message": "x"}, "message": {"content": ""}}]},
         Fault(500, "", "x")),
        ({"choices": [{"message": {"content": "Rating: [[7]]"}}]}, None),
        ({"choices": [{"message": {"content": "Rating: [[7]]"}}], "error": None}, None),
        ({}, None),
        ([], None),
    ],
)  # fmt: skip
def test_an_error_in_the_body_is_read(body: Any, fault: Fault | None) -> None:
    assert find_fault(json.dumps(body)) == fault


def test_a_page_is_no_error_in_a_body() -> None:
    assert find_fault("<html>error</html>") is None


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [({}, 2.0), ({"retry-after": "3"}, 3.0), ({"retry-after-ms": "10"}, 0.01), ({"retry-after": "soon"}, 2.0),
     ({"retry-after": "3600"}, 2.0)],
)  # fmt: skip
def test_the_wait_is_the_endpoints_or_grows(headers: dict[str, str], seconds: float) -> None:
    assert choose_wait_s(2, headers) == pytest.approx(seconds)


def ask(benchmark: Benchmark, answer: Callable[[int, dict[str, Any]], Answer]) -> tuple[Any, Endpoint, int]:
    """Send one request to a server; return the judgement or the error, the server, the retries counted."""

    async def send(client: JudgeClient) -> Judgement | LanekitError:
        try:
            return await client.ask(make_body(client.spec, [{"role": "user", "content": "?"}]), "item 1")
        except LanekitError as error:
            return error
        finally:
            await client.close()

    with serve(answer) as endpoint:
        spec = JudgeParams(benchmark=benchmark, url=endpoint.url, model="m", retries=2, timeout_s=20.0)
        client = JudgeClient(spec, KEY)
        return asyncio.run(send(client)), endpoint, client.n_retries


@pytest.mark.parametrize("body", [LIMITED, PROVIDER, {"error": "try later"}])
def test_a_passing_error_in_a_body_is_tried_again(benchmarks: dict[str, Benchmark], body: Any) -> None:
    def answer(number: int, _body: dict[str, Any]) -> Answer:
        return Answer(raw=json.dumps(body)) if number < 2 else Answer("Rating: [[7]]")

    said, endpoint, n_retries = ask(benchmarks["komt_bench"], answer)
    assert (said.text, len(endpoint.requests), n_retries) == ("Rating: [[7]]", 3, 2)


def test_a_passing_error_that_stays_is_told_in_the_endpoints_words(benchmarks: dict[str, Benchmark]) -> None:
    said, endpoint, _ = ask(benchmarks["komt_bench"], lambda *_: Answer(raw=json.dumps(LIMITED)))
    assert isinstance(said, TransientError) and len(endpoint.requests) == 3
    assert "answers 429: Rate limit exceeded: free-models-per-min (3 times)" in said.message
    assert "what is judged is kept" in said.remedy


@pytest.mark.parametrize(
    ("error", "message", "remedy"),
    [
        ({"code": 400, "message": f"no such field, {KEY}"}, "answers 400: no such field, ***", "extra_body"),
        ({"code": 402, "message": "no credits"}, "answers 402: no credits", "LANEKIT_JUDGE_API_KEY"),
        ({"code": 401, "message": "no"}, "refuses the key", "LANEKIT_JUDGE_API_KEY"),
    ],
)
def test_a_lasting_error_in_a_body_is_not_tried_again(
    benchmarks: dict[str, Benchmark], error: Any, message: str, remedy: str
) -> None:
    said, endpoint, _ = ask(benchmarks["komt_bench"], lambda *_: Answer(raw=json.dumps({"error": error})))
    assert isinstance(said, InputError) and len(endpoint.requests) == 1
    assert message in said.message and remedy in said.remedy and KEY not in str(said)
