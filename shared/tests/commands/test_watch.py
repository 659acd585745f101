"""The view of a run: what it shows at two widths, what plain lines say, and that it outlives outages."""

from __future__ import annotations

import io
import threading
import time
from pathlib import Path

import pytest
from pydantic import SecretStr
from real_services import RedisServer
from rich.console import Console
from snapshots import GPU, RUN_ID, make_busy_snapshot, make_snapshot, make_workers, plan_all_lanes

from lanekit.commands.drawing import estimate_left_s, format_span, name_device, shorten_worker
from lanekit.commands.lines import describe_changes
from lanekit.commands.stack.drawing import RunDrawing, Sight, describe_trouble
from lanekit.commands.stack.watch import watch_run
from lanekit.errors import TransientError
from lanekit.host.stack_settings import StackSettings
from lanekit.jobs.connection import connect_briefly
from lanekit.jobs.keys import RedisKeys
from lanekit.jobs.messages import REPORT_TTL_SECONDS, ControllerReport, JobReport, RunSnapshot
from lanekit.plan.graph import Plan
from lanekit.results.outcome import RunOutcome

END = RunOutcome(run_id=RUN_ID, phase="complete")


@pytest.fixture(scope="module")
def plan() -> Plan:
    return plan_all_lanes()


def draw(snapshot: RunSnapshot | None, width: int, height: int = 30, **sight: object) -> list[str]:
    drawing = RunDrawing(RUN_ID, time.time() - 65)
    workers = make_workers("trainer", "quantizer", "evaluator", job_id="x")
    drawing.sight = Sight(snapshot, workers, **{"controller_age_s": 1.0, **sight})  # type: ignore[arg-type]
    console = Console(width=width, height=height, file=io.StringIO(), force_terminal=True, color_system=None)
    console.print(drawing)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


@pytest.mark.parametrize("width", [100, 160])
def test_a_busy_run_of_twelve_lanes_fits(plan: Plan, width: int) -> None:
    lines = draw(make_busy_snapshot(plan), width)
    assert len(lines) <= 30
    assert all(len(line) <= width for line in lines)
    text = "\n".join(lines)
    assert f"{RUN_ID}  lanes  13/58 stage runs  asked for 1:05 ago" in text
    assert "lane10_prune28_kd_w4a16     ✓ prune28  ▶ distill  · gptq_w4a16" in text
    assert "✗ lane04_fp8_dynamic: stage fp8: out of memory on NVIDIA L4" in text
    assert "640/2000 11:40, ETA 22:4" in text
    assert "trainer-7f3a9c" in text
    assert "queue trainer  1 distill (lane11)  2 post_sft (lane08)  3 post_sft (lane09)" in text
    assert "workers  trainer busy   quantizer busy   evaluator busy   judge none   ranker none" in text
    assert ("loss 1.2345" in text) == (width == 160)


def test_a_low_terminal_keeps_the_lanes_and_the_running_stages(plan: Plan) -> None:
    lines = draw(make_busy_snapshot(plan), 100, height=20)
    assert any("lane12_fp8_static" in line for line in lines)
    assert any("▶ distill lane10" in line for line in lines)


def test_a_second_attempt_and_a_pending_one_are_said(plan: Plan) -> None:
    snapshot = make_busy_snapshot(plan)
    runs = list(snapshot.runs)
    index = next(i for i, run in enumerate(runs) if run.report and run.report.step)
    runs[index] = runs[index].model_copy(update={"attempt": 2})
    other = next(i for i, run in enumerate(runs) if run.stage == "fp8" and run.status == "waiting")
    runs[other] = runs[other].model_copy(
        update={
            "queue_position": None,
            "attempt": 1,
            "reason": "attempt 1 failed: MinIO; the next one in 4 s",
        }
    )
    text = "\n".join(draw(snapshot.model_copy(update={"runs": tuple(runs)}), 100))
    assert "try 2" in text
    assert "↻ fp8 (lane12)  attempt 1 failed: MinIO; the next one in 4 s" in text


def test_trouble_is_said_with_how_long_it_lasts() -> None:
    def say(age_s: float | None, trouble: str = "", now: float = 0.0) -> str:
        return describe_trouble(Sight(None, (), age_s, True, trouble, seen_at=0.0), now)

    assert say(2.0) == "the controller has not reported on this run yet"
    assert say(2.0, now=10.5) == "controller silent for 12 s"
    assert say(None).startswith("no controller reports: docker compose up -d controller")
    assert say(2.0, "Redis does not answer", now=7.0).startswith("Redis does not answer, for 7 s")


def test_before_the_first_report_there_is_a_view() -> None:
    text = "\n".join(draw(None, 100))
    assert "the controller has not reported on this run yet" in text


def test_times_and_names() -> None:
    assert [format_span(s) for s in (5, 65, 3725, 180000)] == ["0:05", "1:05", "1:02:05", "50:00:00"]
    assert shorten_worker("trainer-4f1bd4b0cafe-a1b2c3") == "trainer-a1b2c3"
    assert shorten_worker("trainer-7f3a9c") == "trainer-7f3a9c"
    assert name_device("cpu: Intel(R) Xeon(R) Processor @ 2.70GHz") == "Xeon Processor @ 2.70GHz"
    report = JobReport(worker="w", state="running", step=11, total=21, started_at=0, first_step=1,
                       first_step_at=100)  # fmt: skip
    assert estimate_left_s(report, 120.0) == 20.0
    assert estimate_left_s(report.model_copy(update={"step": 1}), 120.0) is None


def test_changes_are_told_once(plan: Plan) -> None:
    before, after = make_snapshot(plan), make_busy_snapshot(plan)
    first = [line for line, _ in describe_changes(None, before)]
    assert first == ["lanes: 0/58 stage runs"]
    lines = [line for line, _ in describe_changes(before, after)]
    assert any(line.startswith("running: distill-") and f"on trainer-7f3a9c, {GPU}" in line for line in lines)
    assert any("queued: post_sft-" in line and "in trainer, position 2" in line for line in lines)
    assert sum(line.startswith("lane failed: lane04_fp8_dynamic: stage fp8: out of") for line in lines) == 1
    assert list(describe_changes(after, after)) == []
    ended = after.model_copy(update={"phase": "ranking"})
    assert [line for line, _ in describe_changes(after, ended)] == ["ranking: 13/58 stage runs"]


def test_watching_outlives_redis_and_the_store(redis_server: RedisServer, plan: Plan, tmp_path: Path) -> None:
    settings = StackSettings(
        redis_url=SecretStr(redis_server.url), minio_url="http://x", minio_access_key="a",
        minio_secret_key=SecretStr("b"),
    )  # fmt: skip
    client = redis_server.client()
    client.flushall()
    client.set(
        RedisKeys.CONTROLLER, ControllerReport(host="h", at=0.0).model_dump_json(), ex=REPORT_TTL_SECONDS
    )
    client.set(RedisKeys.snapshot(RUN_ID), make_busy_snapshot(plan).model_dump_json())
    console = Console(file=io.StringIO(), width=200)
    answers: list[RunOutcome | Exception | None] = [TransientError("MinIO is away"), END]
    ended: list[RunOutcome] = []

    def read_outcome() -> RunOutcome | None:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def watch() -> None:
        ended.append(watch_run(RUN_ID, connect_briefly(settings), read_outcome, console, time.time(), 0.05))

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    assert isinstance(console.file, io.StringIO)
    _wait_for("running: distill", console.file)
    with redis_server.outage():
        _wait_for("Redis does not answer", console.file)
    _wait_for("the controller reports", console.file)
    assert watcher.is_alive()
    last = make_busy_snapshot(plan).model_copy(update={"phase": "complete"})
    client.set(RedisKeys.snapshot(RUN_ID), last.model_dump_json())
    watcher.join(20)
    assert ended == [END]


def _wait_for(text: str, stream: io.StringIO) -> None:
    deadline = time.monotonic() + 20
    while text not in stream.getvalue():
        assert time.monotonic() < deadline, f"'{text}' not in: {stream.getvalue()}"
        time.sleep(0.05)
