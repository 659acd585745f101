"""The stage `judge` over real HTTP, against a small server that answers in OpenAI's form, well or badly."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from judge_endpoint import Answer, Endpoint, serve
from judge_testing import write_answers, write_conversations

from evaluator.quality.outputs import read_items
from evaluator.stages import judge
from lanekit.errors import InputError, TransientError
from lanekit.execute.pool import ChildProcess, StageFailedError
from lanekit.progress import ignore_progress
from lanekit.results.schema import BenchmarkResult
from lanekit.spec.benchmark import Benchmark
from lanekit.spec.judge import JudgeParams

pytestmark = pytest.mark.slow

KEY = "sk-very-secret-0123456789"
N_ITEMS = 10
N_TURNS = 2 * N_ITEMS

Place = dict[str, Path]
MakeSpec = Callable[..., JudgeParams]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """Suite, answers, an output folder and a cache; the key is in the environment."""
    folders = {name: tmp_path / name for name in ("suite", "answers", "out", "cache")}
    for folder in folders.values():
        folder.mkdir()
    write_conversations(folders["suite"], N_ITEMS)
    write_answers(folders["answers"], N_ITEMS)
    monkeypatch.setenv("LANEKIT_CACHE", str(folders["cache"]))
    monkeypatch.setenv("LANEKIT_JUDGE_API_KEY", KEY)
    return folders


@pytest.fixture
def make_spec(benchmarks: dict[str, Benchmark]) -> MakeSpec:
    def make(endpoint: Endpoint | str, **changes: Any) -> JudgeParams:
        url = endpoint if isinstance(endpoint, str) else endpoint.url
        fields = {"url": url, "model": "small-judge", "retries": 2, "timeout_s": 20.0, **changes}
        return JudgeParams(benchmark=benchmarks["komt_bench"], **fields)

    return make


def judge_all(spec: JudgeParams, place: Place, progress: Any = ignore_progress) -> dict[str, Any]:
    inputs = {"answers": place["answers"], "suite": place["suite"]}
    judge.run(spec, inputs, place["out"], progress)
    metrics = json.loads((place["out"] / "metrics.json").read_text(encoding="utf-8"))
    return {
        "result": BenchmarkResult.model_validate(metrics["benchmarks"]["komt_bench"]),
        "report": json.loads((place["out"] / "report.json").read_text(encoding="utf-8")),
        "items": read_items(place["out"] / "items.parquet"),
    }


def test_a_worker_can_be_bound_to_one_judge(
    make_spec: MakeSpec, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serve(lambda *_: Answer("Rating: [[8]]")) as endpoint:
        monkeypatch.setenv("LANEKIT_JUDGE_URL", "https://judge.example.com/v1")
        with pytest.raises(InputError, match="allows another alone"):
            judge_all(make_spec(endpoint), place)
        assert not endpoint.requests
        monkeypatch.setenv("LANEKIT_JUDGE_URL", endpoint.url + "/")
        assert judge_all(make_spec(endpoint), place)["result"].value == pytest.approx(0.8)


def test_both_turns_are_judged(make_spec: MakeSpec, place: Place) -> None:
    """Eight for a first turn, six for a second; the requests are what the settings say, several at a time."""

    def answer(_number: int, body: dict[str, Any]) -> Answer:
        second = "second reply" in body["messages"][1]["content"]
        return Answer("둘째.\nRating: [[6]]" if second else "첫째.\nRating: [[8]]", seconds=0.05)

    steps: list[tuple[int, int]] = []
    with serve(answer) as endpoint:
        prices = {"price_per_million_input_tokens": 2, "price_per_million_output_tokens": 10}
        spec = make_spec(endpoint, concurrency=4, seed=7, extra_body={"top_k": 1, "seed": None}, **prices)
        found = judge_all(spec, place, lambda s, t, _m="": steps.append((s, t)))
    result, report, items = found["result"], found["report"], found["items"]
    assert result.value == pytest.approx(0.7)
    assert (result.n_items, result.n_unparsed, result.judge) == (N_ITEMS, 0, "small-judge")
    parts = {name: (part.n_items, round(part.value, 9)) for name, part in result.parts.items()}
    assert parts == {"turn 1": (10, 0.8), "turn 2": (10, 0.6), "math": (5, 0.7), "writing": (5, 0.7)}
    assert [(r["id"], r["turn"], r["value"]) for r in items[:3]] == [
        ("100", 1, 0.8), ("100", 2, 0.6), ("101", 1, 0.8),
    ]  # fmt: skip
    assert items[0]["note"] == "첫째.\nRating: [[8]]" and items[0]["parsed"] == "8"
    assert {row["benchmark"] for row in items} == {"komt_bench"} and len(items) == N_TURNS
    assert endpoint.keys == [f"Bearer {KEY}"] * N_TURNS
    assert 2 <= endpoint.most_at_once <= 4
    sent = endpoint.requests[0]
    assert {name: sent[name] for name in sent if name != "messages"} == {
        "model": "small-judge", "temperature": 0.0, "max_tokens": 2048, "top_k": 1,
    }  # fmt: skip
    with_reference = ["correct solution" in body["messages"][1]["content"] for body in endpoint.requests]
    assert sum(with_reference) == N_ITEMS // 2  # the first turns of the odd items
    assert steps[0] == (0, N_TURNS) and steps[-1] == (N_TURNS, N_TURNS)
    assert report["judge"]["models_reported"] == ["small-judge-2026"]
    assert report["judge"]["host"] == endpoint.url.split("/")[2]
    assert report["judge"]["rubric"] == "komt_bench version 2"
    assert report["usage"] == {
        "prompt_tokens": 6000, "completion_tokens": 400, "replies_without_usage": 0,
    }  # fmt: skip
    assert report["cost"] == pytest.approx((6000 * 2 + 400 * 10) / 1e6)
    assert (report["requests"], report["cached"], report["retries"], report["penalized"]) == (20, 0, 0, 0)


def test_what_is_not_korean_gets_the_root(make_spec: MakeSpec, place: Place) -> None:
    write_answers(
        place["answers"], N_ITEMS, lambda i, t: "An English answer." if (i, t) == (0, 1) else "한국어 답"
    )
    with serve(lambda _n, _b: Answer("Rating: [[9]]")) as endpoint:
        found = judge_all(make_spec(endpoint), place)
    assert [row["value"] for row in found["items"][:2]] == [pytest.approx(0.3), pytest.approx(0.9)]
    assert found["result"].value == pytest.approx((9 * 0.9 + 0.6) / 10)
    assert found["report"]["penalized"] == 1


def test_the_first_items_alone(make_spec: MakeSpec, place: Place) -> None:
    write_answers(place["answers"], 3)
    with serve() as endpoint:
        assert judge_all(make_spec(endpoint, limit_items=3), place)["result"].n_items == 3
        with pytest.raises(InputError, match="no question for"):
            judge_all(make_spec(endpoint, limit_items=2), place)
    assert len(endpoint.requests) == 6


def test_what_is_judged_costs_nothing_again(make_spec: MakeSpec, place: Place) -> None:
    """Neither after a failure, nor once the endpoint is gone; another request is asked anew."""
    with serve(lambda n, _b: Answer() if n < 5 else Answer("busy", status=503)) as endpoint:
        spec = make_spec(endpoint, retries=0, concurrency=1)
        with pytest.raises(TransientError, match="answers 503: busy"):
            judge_all(spec, place)
        assert len(endpoint.requests) == 6
        endpoint.answer = lambda _n, _b: Answer()
        first = judge_all(spec, place)
        assert (first["report"]["cached"], first["report"]["requests"]) == (5, N_TURNS - 5)
        assert len(endpoint.requests) == 6 + N_TURNS - 5
    again = judge_all(spec, place)
    assert (again["report"]["cached"], again["report"]["requests"], again["report"]["cost"]) == (
        N_TURNS,
        0,
        0,
    )
    assert again["items"] == first["items"] and again["result"] == first["result"]
    with pytest.raises(TransientError, match="cannot be reached"):
        judge_all(spec.model_copy(update={"seed": 1}), place)


def test_what_may_pass_is_tried_again(make_spec: MakeSpec, place: Place) -> None:
    """Each request is answered 429, then 503, then well."""
    tries: dict[str, int] = {}

    def answer(_number: int, body: dict[str, Any]) -> Answer:
        content = body["messages"][1]["content"]
        tries[content] = tries.get(content, 0) + 1
        return {1: Answer("slow down", status=429), 2: Answer("oh", status=503)}.get(tries[content], Answer())

    with serve(answer) as endpoint:
        report = judge_all(make_spec(endpoint), place)["report"]
    assert set(tries.values()) == {3}
    assert (report["requests"], report["retries"]) == (N_TURNS, 2 * N_TURNS)


def test_an_endpoint_that_stays_down(make_spec: MakeSpec, place: Place) -> None:
    with serve(lambda _n, _b: Answer("slow down", status=429)) as endpoint:
        with pytest.raises(TransientError, match=r"answers 429: slow down \(3 times\)") as caught:
            judge_all(make_spec(endpoint, concurrency=1), place)
        assert len(endpoint.requests) == 3
    assert "what is judged is kept" in caught.value.remedy
    with socket.create_server(("127.0.0.1", 0)) as unused:
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/v1"
    with pytest.raises(TransientError, match=r"cannot be reached \(ConnectError, 1 times\)"):
        judge_all(make_spec(url, retries=0), place)


def test_an_endpoint_that_does_not_answer_in_time(make_spec: MakeSpec, place: Place) -> None:
    with serve(lambda _n, _b: Answer(seconds=1.0)) as endpoint:
        started = time.monotonic()
        with pytest.raises(TransientError, match=r"did not answer within 0\.2 s, 1 times"):
            judge_all(make_spec(endpoint, retries=0, timeout_s=0.2), place)
    assert time.monotonic() - started < 5


@pytest.mark.parametrize(
    ("said", "message", "remedy"),
    [
        (
            Answer(f"bad key {KEY}", 401),
            "refuses the key that is in LANEKIT_JUDGE_API_KEY",
            "set LANEKIT_JUDGE",
        ),
        (Answer(f"{KEY} may not", 403), r"answers 403: \*\*\* may not", "the account behind LANEKIT_JUDGE"),
        (Answer("no credit", 402), "answers 402: no credit", "the account behind LANEKIT_JUDGE_API_KEY"),
        (Answer("no max_tokens", 400), "item 100, turn 1: .* 400: no max_tokens", "null takes a field out"),
        (Answer("wrong", 422), "item 100, turn 1: .* answers 422: wrong", "extra_body"),
        (
            Answer("no such model", 404),
            r"no model 'small-judgee' \(did you mean 'small-judge'\?\)",
            "large-judge",
        ),
        (Answer(raw="<html>Welcome</html>"), "does not answer in the form of OpenAI", "/v1"),
        (Answer(raw="{}"), "does not answer in the form of OpenAI", "/v1"),
        (Answer(raw='{"choices": []}'), "does not answer in the form of OpenAI", "/v1"),
    ],
)
def test_what_cannot_pass_is_not_tried_again(
    make_spec: MakeSpec, place: Place, said: Answer, message: str, remedy: str
) -> None:
    with serve(lambda _n, _b: said) as endpoint, pytest.raises(InputError, match=message) as caught:
        judge_all(make_spec(endpoint, model="small-judgee", concurrency=1), place)
    assert remedy in caught.value.remedy
    assert len(endpoint.requests) == 1
    assert KEY not in str(caught.value)


def test_an_address_that_is_not_the_api(make_spec: MakeSpec, place: Place) -> None:
    with serve(lambda _n, _b: Answer("no such page", status=404)) as endpoint:
        endpoint.models = []
        with pytest.raises(InputError, match="404: no such page; it lists no models either") as caught:
            judge_all(make_spec(endpoint), place)
    assert '"/v1"' in caught.value.remedy


def test_a_local_endpoint_needs_no_key(
    make_spec: MakeSpec, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LANEKIT_JUDGE_API_KEY")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-something-else")
    with serve() as endpoint:
        judge_all(make_spec(endpoint), place)
        assert set(endpoint.keys) == {"Bearer none"}
        endpoint.answer = lambda _n, _b: Answer("who are you", status=401)
        with pytest.raises(InputError, match="wants a key, and none is in LANEKIT_JUDGE_API_KEY"):
            judge_all(make_spec(endpoint, seed=1), place)
        monkeypatch.setenv("LANEKIT_JUDGE_API_KEY", "two words")
        with pytest.raises(InputError, match="cannot be a key") as caught:
            judge_all(make_spec(endpoint, seed=1), place)
    assert "two words" not in str(caught.value)


def test_the_cap_holds(make_spec: MakeSpec, place: Place) -> None:
    """What is spent, with all that runs at its dearest, never exceeds the cap; more money goes on there."""
    prices = {"price_per_million_input_tokens": 1, "price_per_million_output_tokens": 1}
    with serve(lambda _n, _b: Answer(usage=(900, 100), seconds=0.02)) as endpoint:
        capped = make_spec(endpoint, max_cost=0.01, max_tokens=200, concurrency=8, **prices)
        with pytest.raises(InputError, match=r"max_cost 0\.01: (0\.00\d+) is spent, (\d+) of 20") as caught:
            judge_all(capped, place)
        n_sent = len(endpoint.requests)
        assert 5 <= n_sent < 10  # ten would cost the cap; a request's most is about twice what it costs here
        assert f"{n_sent * 0.001:.4g} is spent, {n_sent} of 20" in str(caught.value)
        assert "raise max_cost" in caught.value.remedy
        assert not list(place["out"].iterdir())
        report = judge_all(make_spec(endpoint, max_cost=1, max_tokens=200, **prices), place)["report"]
        assert (report["cached"], len(endpoint.requests)) == (n_sent, N_TURNS)
        assert report["cost"] == pytest.approx((N_TURNS - n_sent) * 0.001)
        with pytest.raises(
            InputError, match=r"costs at least .* more than evaluation\.judge\.max_cost 1e-05"
        ):
            judge_all(make_spec(endpoint, max_cost=1e-5, seed=1, **prices), place)
        assert len(endpoint.requests) == N_TURNS


def test_an_endpoint_that_tells_no_usage(make_spec: MakeSpec, place: Place) -> None:
    """Its replies count at their most: a token for each byte."""
    with serve(lambda _n, _b: Answer(usage=None)) as endpoint:
        spec = make_spec(endpoint, price_per_million_input_tokens=1, max_cost=1)
        report = judge_all(spec, place)["report"]
    n_bytes = sum(len(m["content"].encode()) for body in endpoint.requests for m in body["messages"])
    assert report["usage"]["replies_without_usage"] == N_TURNS
    assert n_bytes < report["usage"]["prompt_tokens"] < n_bytes * 1.2
    assert report["cost"] == pytest.approx(report["usage"]["prompt_tokens"] / 1e6)


def test_a_few_replies_without_a_rating(make_spec: MakeSpec, place: Place) -> None:
    """One in twenty is left out and counted, and asked anew by the next run; two are too many."""
    with serve(lambda n, _b: Answer("I cannot grade this." if n == 3 else "Rating: [[5]]")) as endpoint:
        spec = make_spec(endpoint, concurrency=1)
        found = judge_all(spec, place)
        result, items = found["result"], found["items"]
        assert (result.value, result.n_items, result.n_unparsed) == (0.5, N_ITEMS, 1)
        assert result.note == "1 of 10 items are left out: the judge gave no rating"
        assert found["report"]["unparsed"] == ["item 101, turn 2"]
        assert [row["value"] for row in items[2:4]] == [0.5, None]
        assert items[3]["note"] == "[no rating] I cannot grade this."
        again = judge_all(spec, place)
        assert (again["report"]["requests"], again["result"].n_unparsed) == (1, 0)


def test_a_kept_judgement_must_still_be_a_rating(make_spec: MakeSpec, place: Place) -> None:
    """One that an earlier release took from a judge's cut reasoning is asked anew."""
    with serve() as endpoint:
        spec = make_spec(endpoint)
        judge_all(spec, place)
        kept = sorted(place["cache"].glob("judge/*/*.json"))
        assert len(kept) == N_TURNS
        for path, changes in zip(
            kept[:2],
            ({"text": "<think>Rating: [[5]]"}, {"text": "[[5]]\nso", "finish_reason": "length"}),
            strict=True,
        ):
            path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
        again = judge_all(spec, place)["report"]
    assert (again["requests"], again["cached"]) == (2, N_TURNS - 2)


def test_a_judge_that_does_not_rate_is_stopped_early(make_spec: MakeSpec, place: Place) -> None:
    said = Answer("It is" + " rather" * 100, finish_reason="length")
    message = "2 of 20 replies of the judge small-judge hold no rating"
    with serve(lambda _n, _b: said) as endpoint, pytest.raises(InputError, match=message) as caught:
        judge_all(make_spec(endpoint, concurrency=1), place)
    assert len(endpoint.requests) == 2
    assert "item 100, turn 2: 'It is rather" in str(caught.value)
    assert "raise evaluation.judge.max_tokens" in caught.value.remedy


@pytest.mark.parametrize("failing", [False, True])
def test_the_key_stands_nowhere(make_spec: MakeSpec, place: Place, tmp_path: Path, failing: bool) -> None:
    """In a worker's child, with the library's log on, the key is in no file, even where it is echoed."""
    said = Answer(f"the key {KEY} is not valid", 401) if failing else Answer()
    with serve(lambda _n, _b: said) as endpoint:
        spec = make_spec(endpoint)
        job = {
            "stage": "judge",
            "params": spec.model_dump(mode="json"),
            "inputs": {"answers": str(place["answers"]), "suite": str(place["suite"])},
            "out": str(place["out"]),
            "log": str(tmp_path / "stage.log"),
        }
        child = ChildProcess("evaluator", {**os.environ, "OPENAI_LOG": "debug"})
        try:
            if failing:
                with pytest.raises(StageFailedError, match="refuses the key"):
                    child.run(job, ignore_progress)
            else:
                child.run(job, ignore_progress)
        finally:
            child.stop()
    log = (tmp_path / "stage.log").read_text(encoding="utf-8")
    assert "HTTP Response: POST" in log  # the library did log
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) >= (3 if failing else N_TURNS)
    assert [path for path in files if KEY.encode() in path.read_bytes()] == []


def test_a_killed_stage_loses_nothing(make_spec: MakeSpec, place: Place, tmp_path: Path) -> None:
    """What came before the kill is asked no second time."""
    with serve(lambda _n, _b: Answer(seconds=0.05)) as endpoint:
        spec = make_spec(endpoint, concurrency=1)
        job = {
            "stage": "judge",
            "params": spec.model_dump(mode="json"),
            "inputs": {"answers": str(place["answers"]), "suite": str(place["suite"])},
            "out": str(place["out"]),
            "log": str(tmp_path / "stage.log"),
        }
        child = ChildProcess("evaluator", os.environ)

        def kill(step: int, total: int, message: str = "") -> None:
            if 3 <= step < total:
                child.process.kill()

        try:
            with pytest.raises(TransientError):
                child.run(job, kill)
        finally:
            child.stop()
        n_asked = len(endpoint.requests)
        assert 3 <= n_asked < N_TURNS
        report = judge_all(spec, place)["report"]
    assert n_asked - 1 <= report["cached"] <= n_asked  # all but the one under way
    assert report["cached"] + report["requests"] == N_TURNS
