"""The embedded run's view: the stack's picture, filled by the driver's words."""

from __future__ import annotations

import io

import pytest
from rich.console import Console
from snapshots import plan_all_lanes

from lanekit.commands.view import RunView, find_phase
from lanekit.plan.graph import Plan, StageRun
from lanekit.progress import ProgressEvent


@pytest.fixture(scope="module")
def plan() -> Plan:
    return plan_all_lanes()


def find_run(plan: Plan, stage: str) -> StageRun:
    return next(run for run in plan.runs.values() if run.type.name == stage)


def test_plain_lines_say_what_begins_goes_on_and_ends(plan: Plan) -> None:
    console = Console(file=io.StringIO(), width=200)
    sft, gptq, fp8 = (find_run(plan, stage) for stage in ("sft", "gptq", "fp8"))
    with RunView(plan, console) as view:
        view.show_status(find_run(plan, "fetch_model"), "reused")
        view.show_status(sft, "running")
        view.show_progress(ProgressEvent(sft.key, 0, 0, "loading libraries"))
        view.show_progress(ProgressEvent(sft.key, 3, 30, "loss 1.5"))
        view.show_status(sft, "done")
        view.show_status(gptq, "running")
        view.show_status(gptq, "waiting", "memory ran out")
        view.show_status(fp8, "running")
        view.show_status(fp8, "failed", "no such scheme\n  remedy: correct it")
    text = console.file.getvalue()  # type: ignore[attr-defined]
    for expected in (
        f"lanes: 0/{len(plan.runs)} stage runs",
        "reused: tiny-exaone4-synthetic-",
        f"running: {sft.name} (for lane05, lane06, lane07)",
        f"  {sft.name}: loss 1.5 3/30",
        f"done: {sft.name} after 0:00 (for lane05, lane06, lane07)",
        f"waiting: {gptq.name} is tried again: memory ran out",
        "lane failed: lane04_fp8_dynamic: no such scheme",
    ):
        assert expected in text, text
    assert text.count("no such scheme") == 1 + len(plan.list_lanes_of(fp8.key))


@pytest.mark.parametrize("is_terminal", [False, True])
def test_notes_of_a_stage_stay_on_the_screen(plan: Plan, is_terminal: bool) -> None:
    console = Console(file=io.StringIO(), width=200, force_terminal=is_terminal, color_system=None)
    corpus = find_run(plan, "prepare_corpus")
    with RunView(plan, console) as view:
        view.show_status(corpus, "running")
        view.show_status(corpus, "done")
        view.show_notes(corpus, ["manta: of 9 rows read, left out: [red]duplicates[/red]: 1"])
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert f"{corpus.name}: manta: of 9 rows read, left out: [red]duplicates[/red]: 1" in text


def test_a_terminal_sees_lanes_marks_failures_and_what_runs(plan: Plan) -> None:
    view = RunView(plan, Console(file=io.StringIO(), width=100))
    evaluate, fp8 = find_run(plan, "evaluate"), find_run(plan, "fp8")
    view.show_status(evaluate, "running")
    view.show_progress(ProgressEvent(evaluate.key, 0, 0, "loading the model"))
    view.show_status(fp8, "failed", "no such scheme")
    console = Console(file=io.StringIO(), width=100, height=40)
    console.print(view)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert f"1/{len(plan.runs)} stage runs" in text
    assert "✗ lane04_fp8_dynamic: no such scheme" in text
    assert "loading the model" in text
    assert all(lane in text for lane in plan.lanes)


def test_a_failed_screen_is_told_and_fails_no_lane(plan: Plan) -> None:
    view = RunView(plan, Console(file=io.StringIO(), width=100))
    screen = find_run(plan, "compare_logits")
    view.show_status(screen, "failed", "no such format")
    snapshot = view.make_snapshot()
    assert [lane.reason for lane in snapshot.lanes] == [""] * len(plan.lanes)
    assert next(run.reason for run in snapshot.runs if run.key == screen.key) == "no such format"


def test_time_left_counts_from_the_first_step_of_a_count(plan: Plan) -> None:
    view = RunView(plan, Console(file=io.StringIO()))
    sft = find_run(plan, "sft")
    view.show_status(sft, "running")
    for step, total in ((0, 0), (5, 30), (6, 30), (1, 8)):
        view.show_progress(ProgressEvent(sft.key, step, total, ""))
    report = next(run.report for run in view.make_snapshot().runs if run.key == sft.key)
    assert report is not None and (report.step, report.total, report.first_step) == (1, 8, 1)
    assert report.first_step_at >= report.started_at


def test_a_plan_of_packages_is_packaging(plan: Plan) -> None:
    assert find_phase(plan) == "lanes"


class BrokenConsole(Console):
    """A console whose stream cannot take what is printed."""

    def print(self, *_: object, **__: object) -> None:
        raise UnicodeEncodeError("ascii", "고", 0, 1, "ordinal not in range")


def test_what_cannot_be_shown_does_not_stop_the_work(plan: Plan) -> None:
    run = next(iter(plan.runs.values()))
    with RunView(plan, BrokenConsole(width=100)) as view:
        view.show_status(run, "running")
        view.show_progress(ProgressEvent(run.key, 1, 2, "고"))
        view.show_status(run, "failed", "고양이")
    assert view.make_snapshot().runs[0].status == "failed"
