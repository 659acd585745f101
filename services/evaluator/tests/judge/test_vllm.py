"""The stage `judge` against the real OpenAI server of vLLM; a CPU build serves."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from evaluator_testing import write_rows
from judge_testing import judge_rubric

from evaluator.judge.judging import read_rating
from evaluator.quality.korean import is_korean
from evaluator.quality.outputs import read_items
from evaluator.stages import evaluate, judge
from lanekit.errors import InputError, TransientError
from lanekit.progress import ignore_progress
from lanekit.spec.benchmark import Benchmark
from lanekit.spec.evaluation import EngineParams, EvaluateParams
from lanekit.spec.judge import JudgeParams

pytestmark = [
    pytest.mark.vllm,
    pytest.mark.skipif(importlib.util.find_spec("vllm") is None, reason="vLLM is not installed"),
]

SCRIPTS = Path(__file__).parents[4] / "scripts"
FIXTURE = SCRIPTS / "tiny" / "fixture"
KEY = "sk-of-the-tiny-judge-0123456789"
START_SECONDS = 240
N_ITEMS = 8
# The tiny model cannot grade, so the server holds it to a rating: the model chooses the number.
RATING_ONLY = {"structured_outputs": {"regex": r"Rating: \[\[([1-9]|10)\]\]"}}


class Server:
    """`python -m vllm.entrypoints.openai.api_server` with the tiny model, on a free port."""

    def __init__(self, log: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}/v1"
        self.log = log
        command = [
            sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(FIXTURE),
            "--served-model-name", "tiny-judge", "--enforce-eager", "--max-model-len", "4096",
            "--max-num-seqs", "8", "--dtype", "float32", "--host", "127.0.0.1", "--port", str(port),
        ]  # fmt: skip
        environment = {
            **os.environ,
            "VLLM_API_KEY": KEY,  # as --api-key, but in no process list
            "VLLM_CPU_KVCACHE_SPACE": "1",
            "VLLM_CPU_OMP_THREADS_BIND": "nobind",
            "VLLM_NO_USAGE_STATS": "1",
            "OMP_NUM_THREADS": "1",
        }
        with log.open("wb") as stream:
            self.process = subprocess.Popen(
                command, env=environment, stdout=stream, stderr=stream, start_new_session=True
            )

    def wait(self) -> None:
        end = time.monotonic() + START_SECONDS
        while self.process.poll() is None and time.monotonic() < end:
            try:
                with urllib.request.urlopen(self.url.replace("/v1", "/health"), timeout=5):
                    return
            except OSError:
                time.sleep(0.5)
        pytest.fail(f"the server did not start:\n{self.log.read_text()[-3000:]}")

    def stop(self) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGTERM)
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait()


@pytest.fixture
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    process = Server(tmp_path_factory.mktemp("server") / "server.log")
    yield process
    process.stop()


def load_conversations() -> list[dict[str, Any]]:
    """The synthetic set of the demo, on which the tiny model was trained to talk."""
    sys.path.insert(0, str(SCRIPTS))
    try:
        from tiny.datasets import build_datasets
    finally:
        sys.path.remove(str(SCRIPTS))
    rows: list[dict[str, Any]] = build_datasets(42)["komt_bench"]
    assert len(rows) == N_ITEMS
    return rows


def answer_questions(benchmark: Benchmark, suite: Path, out: Path) -> None:
    """Answer both turns with the tiny model, as the pipeline does."""
    short = benchmark.model_copy(update={"max_new_tokens": 24, "rubric": None})
    engine = EngineParams(engine="transformers", max_model_len=1024, batch_size=8, device="cpu")
    spec = EvaluateParams(engine=engine, benchmarks=(short,))
    evaluate.run(spec, {"model": FIXTURE, "suite": suite}, out, ignore_progress)


def test_vllm_serves_the_judge(
    server: Server, benchmarks: dict[str, Benchmark], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Eight conversations of a real model, judged over HTTP; then a wrong key, a wrong model, no server."""
    suite, answers, out, cache = (tmp_path / name for name in ("suite", "answers", "out", "cache"))
    for folder in (suite, answers, out, cache):
        folder.mkdir()
    monkeypatch.setenv("LANEKIT_CACHE", str(cache))
    monkeypatch.setenv("LANEKIT_JUDGE_API_KEY", KEY)
    write_rows(suite / "komt_bench.jsonl", load_conversations())
    answer_questions(benchmarks["komt_bench"], suite, answers)  # while the server starts
    server.wait()
    rubric = judge_rubric(benchmarks)
    spec = JudgeParams(
        url=server.url,
        model="tiny-judge",
        max_tokens=24,
        retries=0,
        extra_body=RATING_ONLY,
        benchmark=benchmarks["komt_bench"],
    )

    def judge_answers(**changes: Any) -> dict[str, Any]:
        judge.run(spec.model_copy(update=changes), {"answers": answers, "suite": suite}, out, ignore_progress)
        metrics = json.loads((out / "metrics.json").read_text(encoding="utf-8"))
        report = json.loads((out / "report.json").read_text(encoding="utf-8"))
        return {
            "result": metrics["benchmarks"]["komt_bench"],
            "report": report,
            "items": read_items(out / "items.parquet"),
        }

    first = judge_answers()
    result, report, items = first["result"], first["report"], first["items"]
    assert len(items) == 2 * N_ITEMS and len({row["response"] for row in items}) > 4
    for row in items:
        rating = read_rating(rubric, row["note"])
        assert rating is not None and row["parsed"] == f"{rating:g}"
        points = rating if is_korean(row["response"]) else rating**0.5
        assert row["value"] == pytest.approx(points / 10)
    assert result["value"] == pytest.approx(sum(row["value"] for row in items) / len(items))
    assert (result["n_items"], result["n_unparsed"]) == (N_ITEMS, 0)
    assert set(result["parts"]) == {"turn 1", "turn 2", "knowledge", "writing"}
    assert (report["requests"], report["cached"]) == (2 * N_ITEMS, 0)
    assert report["judge"]["models_reported"] == ["tiny-judge"]
    assert report["usage"]["prompt_tokens"] > 2 * N_ITEMS * 100
    assert report["usage"]["replies_without_usage"] == 0

    with pytest.raises(
        InputError, match="of 16 replies of the judge tiny-judge hold no rating"
    ):  # unheld, the tiny model only talks
        judge_answers(extra_body={})
    with pytest.raises(InputError, match=r"item synthetic-komt-00, turn 1: .* answers 400: .*4096"):
        judge_answers(max_tokens=5000, concurrency=1)
    with pytest.raises(InputError, match=r"no model 'tiny-juge' \(did you mean 'tiny-judge'\?\) \(404\)"):
        judge_answers(model="tiny-juge")
    monkeypatch.setenv("LANEKIT_JUDGE_API_KEY", KEY + "x")
    with pytest.raises(InputError, match=r"refuses the key that is in LANEKIT_JUDGE_API_KEY \(401\)"):
        judge_answers(seed=1)

    server.stop()
    again = judge_answers()
    assert (again["report"]["requests"], again["report"]["cached"]) == (0, 2 * N_ITEMS)
    assert (again["items"], again["result"]) == (items, result)
    with pytest.raises(TransientError, match="cannot be reached"):
        judge_answers(seed=1)
    files = [path for path in (*tmp_path.rglob("*"), server.log) if path.is_file()]
    assert len(files) > 2 * N_ITEMS
    assert [path for path in files if KEY.encode() in path.read_bytes()] == []
