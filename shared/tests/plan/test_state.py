"""What may run when, and what a failure takes with it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from lanekit.plan.graph import LanePlan, Plan, StageRun
from lanekit.plan.state import RunState

MakeRun = Callable[..., StageRun]


@pytest.fixture
def plan(make_run: MakeRun) -> Plan:
    """Two lanes over one base: a diamond (left, right → join) with its speed, and a lane beside it."""
    runs = [
        make_run("base", "fetch_model"),
        make_run("left", model="base"),
        make_run("right", model="base"),
        make_run("join", "distill", model="left", teacher="right"),
        make_run("join-eval", "evaluate", model="join"),
        make_run("join-speed", "measure_speed", model="join", baseline="base"),
        make_run("other", "gptq", model="base"),
        make_run("other-eval", "evaluate", model="other"),
        make_run("other-speed", "measure_speed", model="other", baseline="base"),
    ]
    lanes = {
        "diamond": LanePlan("diamond", "", "", ("left", "join"), "join", "join-eval", "join-speed"),
        "beside": LanePlan("beside", "", "", ("other",), "other", "other-eval", "other-speed"),
    }
    return Plan({run.key: run for run in runs}, lanes)


def start(state: RunState, slots: int) -> list[str]:
    """Start what may start and return its keys."""
    chosen = [run.key for run in state.choose_next(slots)]
    for key in chosen:
        state.mark(key, "running")
    return chosen


def test_runs_start_in_plan_order_as_far_as_slots_go(plan: Plan) -> None:
    state = RunState(plan)
    assert start(state, 2) == ["base"]
    assert start(state, 2) == []
    state.mark("base", "done")
    assert start(state, 2) == ["left", "right"]
    assert start(state, 2) == []
    state.mark("left", "done")
    assert start(state, 2) == ["other"]  # join waits for right


def test_a_diamond_joins_once_both_sides_are_done(plan: Plan) -> None:
    state = RunState(plan)
    state.mark("base", "reused")
    state.mark("left", "done")
    assert "join" not in [run.key for run in state.list_ready()]
    state.mark("right", "reused")
    assert "join" in [run.key for run in state.list_ready()]


def test_exclusive_runs_go_last_and_alone(plan: Plan) -> None:
    state = RunState(plan)
    for key in ("base", "left", "right", "join", "other", "other-eval"):
        state.mark(key, "done")
    assert start(state, 4) == ["join-eval"]  # both speeds are ready, but something else is too
    assert start(state, 4) == []
    state.mark("join-eval", "done")
    assert start(state, 4) == ["join-speed"]
    assert start(state, 4) == []
    state.mark("other-eval", "waiting")  # a job that vanished is queued again: it waits for the speed
    assert start(state, 4) == []
    state.mark("other-eval", "done")
    state.mark("join-speed", "done")
    assert start(state, 4) == ["other-speed"]
    state.mark("other-speed", "done")
    assert state.is_finished


def test_on_one_slot_a_speed_follows_its_lane(make_run: MakeRun) -> None:
    """Nothing is beside it anyway, and the engine of the evaluation is still loaded."""
    runs = [
        make_run("one"),
        make_run("one-eval", "evaluate", model="one"),
        make_run("one-speed", "measure_speed", model="one"),
        make_run("two"),
        make_run("two-eval", "evaluate", model="two"),
        make_run("two-speed", "measure_speed", model="two"),
    ]
    state = RunState(Plan({run.key: run for run in runs}, {}))
    order = []
    while not state.is_finished:
        (key,) = start(state, 1)
        assert start(state, 1) == []
        order.append(key)
        state.mark(key, "done")
    assert order == [run.key for run in runs]


@pytest.fixture
def judged(make_run: MakeRun) -> Plan:
    """Two evaluations, each with a judge, and a speed."""
    runs = [
        make_run("one-eval", "evaluate"),
        make_run("two-eval", "evaluate"),
        make_run("three-eval", "evaluate"),
        make_run("one-judge", "judge", answers="one-eval"),
        make_run("two-judge", "judge", answers="two-eval"),
        make_run("speed", "measure_speed"),
    ]
    return Plan({run.key: run for run in runs}, {})


def test_an_evaluation_does_not_wait_behind_a_judge(judged: Plan) -> None:
    state = RunState(judged)
    assert start(state, 1) == ["one-eval"]
    state.mark("one-eval", "done")
    assert start(state, 1) == ["two-eval", "one-judge"], "the judge is beside the one slot"
    assert start(state, 1) == []
    state.mark("two-eval", "done")
    assert start(state, 1) == ["three-eval"], "one judge at a time"
    state.mark("one-judge", "done")
    assert start(state, 1) == ["two-judge"], "and it does not wait for a slot"
    state.mark("three-eval", "done")
    assert start(state, 1) == [], "nothing is beside a speed, and the judge still runs"
    state.mark("two-judge", "done")
    assert start(state, 1) == ["speed"]
    state.mark("two-judge", "waiting")  # tried once more: not beside the speed
    assert start(state, 1) == []


def test_a_speed_waits_for_a_judge_that_is_still_to_come(judged: Plan) -> None:
    state = RunState(judged)
    for key in ("one-eval", "two-eval", "three-eval", "one-judge"):
        state.mark(key, "done")
    assert start(state, 1) == ["two-judge"]
    assert start(state, 2) == []


def test_a_failure_blocks_its_dependents_alone(plan: Plan) -> None:
    state = RunState(plan)
    state.mark("base", "done")
    state.mark("right", "failed", "disk full")
    blocked = {key for key, status in state.status.items() if status == "blocked"}
    assert blocked == {"join", "join-eval", "join-speed"}
    assert state.explain_lane("diamond") == "stage sft: disk full"
    assert start(state, 4) == ["left", "other"]
    for key in ("left", "other", "other-eval", "other-speed"):
        state.mark(key, "done")
    assert state.is_finished
    assert state.explain_lane("beside") == ""


def test_a_failed_base_ends_everything(plan: Plan) -> None:
    state = RunState(plan)
    state.mark("base", "failed", "no such model")
    assert state.is_finished
    assert state.choose_next(4) == []
    for lane in plan.lanes:
        assert state.explain_lane(lane) == "stage fetch_model: no such model"


def test_a_failure_leaves_reused_dependents_alone(plan: Plan) -> None:
    state = RunState(plan)
    for key in ("join", "join-eval", "join-speed"):
        state.mark(key, "reused")
    state.mark("base", "failed", "gone")
    assert [state.status[k] for k in ("join", "join-eval", "join-speed")] == ["reused"] * 3


@pytest.mark.parametrize("missing", ["join-eval", "join-speed", "join"])
def test_a_lane_is_finished_only_with_quality_speed_and_model(plan: Plan, missing: str) -> None:
    state = RunState(plan)
    for key in plan.runs:
        if key != missing:
            state.mark(key, "done")
    assert state.explain_lane("diamond") == "not finished"
    assert state.explain_lane("beside") == ""


def test_what_only_reused_runs_need_is_not_made_again(plan: Plan) -> None:
    state = RunState(plan)
    for key in ("join", "join-eval", "join-speed"):
        state.mark(key, "reused")
    state.mark("right", "running")
    state.skip_unneeded()
    assert state.status == {
        "base": "waiting",  # the other lane needs it
        "left": "reused", "right": "running",
        "join": "reused", "join-eval": "reused", "join-speed": "reused",
        "other": "waiting", "other-eval": "waiting", "other-speed": "waiting",
    }  # fmt: skip


def test_a_lane_that_is_reused_misses_nothing(plan: Plan) -> None:
    state = RunState(plan)
    for key in ("join", "join-eval", "join-speed"):
        state.mark(key, "reused")
    state.mark("base", "failed", "gone")
    assert state.explain_lane("diamond") == ""
    assert state.explain_lane("beside") == "stage fetch_model: gone"


@pytest.mark.parametrize(
    ("reason", "explanation"), [(["disk full"], "stage sft: disk full"), ([], "stage sft: failed")]
)
def test_what_a_failure_blocks_carries_its_reason(plan: Plan, reason: list[str], explanation: str) -> None:
    state = RunState(plan)
    state.mark("right", "failed", *reason)
    assert state.explain_lane("diamond") == explanation
    for key in ("join", "join-eval", "join-speed"):
        assert state.reasons[key] == "".join(reason)


def test_the_log_is_that_of_the_first_failure_of_the_lane(plan: Plan) -> None:
    state = RunState(plan)
    state.mark("base", "done", log_tail=["all is well"])
    assert state.show_log_tail("diamond") == []
    state.mark("right", "failed", "disk full")
    assert state.show_log_tail("diamond") == []
    state.mark("left", "failed", "no memory", ("line 1", "line 2"))
    assert state.show_log_tail("diamond") == ["line 1", "line 2"]
    assert state.show_log_tail("beside") == []


@pytest.fixture
def screened(plan: Plan, make_run: MakeRun) -> Plan:
    """The same plan, with a screen of the diamond, which alone reads a corpus."""
    for run in (make_run("corpus", "prepare_corpus"), make_run("screen", "compare_logits", model="join",
                                                               corpus="corpus")):  # fmt: skip
        plan.runs[run.key] = run
    plan.lanes["diamond"] = replace(plan.lanes["diamond"], screen_key="screen")
    return plan


@pytest.mark.parametrize(("failed", "stage"), [("screen", "compare_logits"), ("corpus", "prepare_corpus")])
def test_a_screen_that_fails_is_told_apart_and_takes_no_lane_with_it(
    screened: Plan, failed: str, stage: str
) -> None:
    state = RunState(screened)
    for key in screened.runs:
        state.mark(key, "done")
    assert state.explain_screen("diamond") == ""
    state.status["screen"] = "waiting"
    assert state.explain_screen("diamond") == "not finished" and not state.is_finished
    assert state.explain_lane("diamond") == ""
    state.mark(failed, "failed", "no memory")
    assert state.is_finished
    assert state.explain_screen("diamond") == f"stage {stage}: no memory"
    assert state.explain_lane("diamond") == "" and state.find_cause("diamond") is None
    assert state.explain_screen("beside") == ""
    assert screened.list_lanes_of("corpus") == ["diamond"] and screened.list_lanes_requiring("corpus") == []
    assert screened.list_lanes_requiring("join") == ["diamond"]


def test_a_screen_that_is_missing_is_made_though_the_lane_is_complete(screened: Plan) -> None:
    state = RunState(screened)
    for key in screened.runs:
        if key not in ("screen", "corpus"):
            state.mark(key, "reused")
    state.skip_unneeded()
    assert (state.status["screen"], state.status["corpus"]) == ("waiting", "waiting")
