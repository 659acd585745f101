"""The embedded driver: failures stay in their lane, passing ones are tried again, nothing runs twice."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from lanekit.errors import InputError, TransientError
from lanekit.execute.driver import run_plan
from lanekit.execute.stage import Measured
from lanekit.files.model_folder import write_report
from lanekit.plan.graph import LanePlan, Plan, StageRun, make_stage_run
from lanekit.plan.state import RunState, StageStatus
from lanekit.progress import Progress, ProgressEvent
from lanekit.sources.locks import SERVICES
from lanekit.spec.params import FetchModelParams, Parameters, Source
from lanekit.store.folder import FolderStore

LOCK_DIGESTS = dict.fromkeys(SERVICES, "e")


class Recorder:
    """A watcher that remembers."""

    def __init__(self) -> None:
        self.statuses: list[tuple[str, StageStatus]] = []
        self.notes: dict[str, tuple[str, ...]] = {}

    def show_status(self, run: StageRun, status: StageStatus, reason: str = "") -> None:
        self.statuses.append((run.key, status))

    def show_notes(self, run: StageRun, notes: Sequence[str]) -> None:
        self.notes[run.key] = tuple(notes)

    def show_progress(self, event: ProgressEvent) -> None:
        assert event.step <= event.total


class Stages:
    """A stage caller that writes a file, counts, and fails where it is told to."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self.failures: dict[str, list[Exception]] = {}
        self.running, self.most_running = 0, 0
        self._lock = threading.Lock()

    def __call__(self, run: StageRun, inputs: Mapping[str, Path], out: Path, progress: Progress) -> Measured:
        with self._lock:
            self.calls[run.key] += 1
            self.running += 1
            self.most_running = max(self.most_running, self.running)
        try:
            progress(1, 1, "working")
            waiting = self.failures.get(run.key)
            if waiting:
                raise waiting.pop(0)
            parents = sorted(p.joinpath("text").read_text(encoding="utf-8") for p in inputs.values())
            (out / "text").write_text(f"{run.type.name}({','.join(parents)})", encoding="utf-8")
            return Measured(0.1)
        finally:
            with self._lock:
                self.running -= 1


@pytest.fixture
def plan() -> Plan:
    """Two lanes that share a base; each is one stage, its evaluation and its speed."""
    plan = Plan()

    def add(stage: str, params: Parameters, **inputs: str) -> str:
        run = make_stage_run(stage, params, inputs, LOCK_DIGESTS)
        plan.runs[run.key] = run
        return run.key

    def params(name: str) -> FetchModelParams:
        return FetchModelParams(name=name, model=Source(source="org/m", digest=name))

    base = add("fetch_model", params("base"))
    for lane in ("one", "two"):
        model = add("fetch_model", params(lane), model=base)
        quality = add("evaluate", Parameters(), model=model)
        speed = add("measure_speed", Parameters(), model=model, baseline=base)
        plan.lanes[lane] = LanePlan(lane, lane, "", (model,), model, quality, speed)
    return plan


def run(plan: Plan, root: Path, stages: Stages, slots: int = 2) -> RunState:
    return run_plan(plan, FolderStore(root), stages, Recorder(), slots)


def test_a_second_run_computes_nothing(plan: Plan, tmp_path: Path) -> None:
    stages = Stages()
    assert set(run(plan, tmp_path, stages).status.values()) == {"done"}
    assert set(stages.calls.values()) == {1}
    assert stages.most_running <= 2
    text = FolderStore(tmp_path).fetch_artifact(plan.runs[plan.lanes["one"].evaluate_key or ""]) / "text"
    assert text.read_text(encoding="utf-8") == "evaluate(fetch_model(fetch_model()))"
    again = Stages()
    assert set(run(plan, tmp_path, again).status.values()) == {"reused"}
    assert again.calls == Counter()


def test_what_was_not_done_as_asked_is_told_and_kept_and_told_again(plan: Plan, tmp_path: Path) -> None:
    base = next(iter(plan.runs))
    note = "calibration: 5000 conversations are asked for, 16 are used"

    class Lacking(Stages):
        def __call__(
            self, run: StageRun, inputs: Mapping[str, Path], out: Path, progress: Progress
        ) -> Measured:
            if run.key == base:
                write_report(out, notes=[note])
            return super().__call__(run, inputs, out, progress)

    for status in ("done", "reused"):
        recorder = Recorder()
        run_plan(plan, FolderStore(tmp_path), Lacking(), recorder, 2)
        assert (base, status) in recorder.statuses
        assert {key: notes for key, notes in recorder.notes.items() if notes} == {base: (note,)}
    manifest = FolderStore(tmp_path).find_artifact(plan.runs[base])
    assert manifest is not None and manifest.notes == (note,)


def test_a_failed_lane_never_stops_the_others_and_resumes_where_it_failed(plan: Plan, tmp_path: Path) -> None:
    stages = Stages()
    bad = plan.lanes["one"].model_key
    stages.failures[bad] = [InputError("bad data", remedy="mend it")]
    state = run(plan, tmp_path, stages)
    assert state.status[bad] == "failed"
    assert state.explain_lane("one") == "stage fetch_model: bad data\n  remedy: mend it"
    assert state.explain_lane("two") == ""
    assert stages.calls[bad] == 1
    again = Stages()
    assert run(plan, tmp_path, again).explain_lane("one") == ""
    lane = plan.lanes["one"]
    assert set(again.calls) == {lane.model_key, lane.evaluate_key, lane.speed_key}


def test_a_passing_failure_is_tried_once_more_and_no_more(plan: Plan, tmp_path: Path) -> None:
    stages = Stages()
    once, always = plan.lanes["one"].model_key, plan.lanes["two"].model_key
    stages.failures = {
        once: [TransientError("died")],
        always: [TransientError("died"), TransientError("died again"), TransientError("never reached")],
    }
    state = run(plan, tmp_path, stages)
    assert (state.status[once], stages.calls[once]) == ("done", 2)
    assert (state.status[always], stages.calls[always]) == ("failed", 2)
    assert state.explain_lane("two") == "stage fetch_model: died again"


def test_speed_is_measured_alone_and_last(plan: Plan, tmp_path: Path) -> None:
    recorder = Recorder()
    run_plan(plan, FolderStore(tmp_path), Stages(), recorder, 4)
    started = [plan.runs[key].type.name for key, status in recorder.statuses if status == "running"]
    assert started[-2:] == ["measure_speed"] * 2
    speeds = [item for item in recorder.statuses if plan.runs[item[0]].type.exclusive]
    assert [status for _, status in speeds] == ["running", "done"] * 2


def test_one_slot_evaluates_while_a_judge_is_waited_for(tmp_path: Path) -> None:
    plan, judge_begun, evaluated = Plan(), threading.Event(), threading.Event()
    first = make_stage_run("evaluate", Parameters(), {}, LOCK_DIGESTS)
    judge = make_stage_run("judge", Parameters(), {"answers": first.key}, LOCK_DIGESTS)
    second = make_stage_run("evaluate", Parameters(), {"model": first.key}, LOCK_DIGESTS)
    plan.runs = {run.key: run for run in (first, judge, second)}
    plan.lanes["one"] = LanePlan("one", "one", "", (first.key,), first.key, second.key, None, judge.key)

    class Meeting(Stages):
        def __call__(
            self, run: StageRun, inputs: Mapping[str, Path], out: Path, progress: Progress
        ) -> Measured:
            if run.key == judge.key:
                judge_begun.set()
                assert evaluated.wait(20), "the evaluation waits behind the judge"
            elif run.key == second.key:
                assert judge_begun.wait(20), "the judge waits behind the evaluation"
                evaluated.set()
            return super().__call__(run, inputs, out, progress)

    assert set(run(plan, tmp_path, Meeting(), slots=1).status.values()) == {"done"}


def test_a_bug_fails_its_lane_alone_and_leaves_its_traceback(
    plan: Plan, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    stages = Stages()
    stages.failures[plan.lanes["one"].model_key] = [ZeroDivisionError("a bug")]
    state = run(plan, tmp_path, stages)
    assert state.explain_lane("one").startswith("stage fetch_model: ZeroDivisionError: a bug")
    assert state.explain_lane("two") == ""
    assert "in __call__" in caplog.text


def test_a_damaged_input_fails_its_lanes_with_a_remedy(plan: Plan, tmp_path: Path) -> None:
    run(plan, tmp_path, Stages())
    store, lane = FolderStore(tmp_path), plan.lanes["one"]
    text = store.locate(plan.runs[lane.model_key]) / "text"
    text.write_bytes(text.read_bytes()[:-1])
    evaluation = store.locate(plan.runs[lane.evaluate_key or ""])
    (evaluation / "manifest.json").unlink()
    state = run(plan, tmp_path, Stages())
    assert "truncated or changed" in state.explain_lane("one")
    assert "makes this artifact anew" in state.explain_lane("one")
    assert state.explain_lane("two") == ""


def test_a_finished_lane_does_not_miss_an_input_that_fails_now(plan: Plan, tmp_path: Path) -> None:
    run(plan, tmp_path, Stages())
    store, base = FolderStore(tmp_path), next(iter(plan.runs))
    (store.locate(plan.runs[base]) / "manifest.json").unlink()
    (store.locate(plan.runs[plan.lanes["two"].model_key]) / "manifest.json").unlink()
    stages = Stages()
    stages.failures[base] = [InputError("gone")]
    state = run(plan, tmp_path, stages)
    assert state.explain_lane("one") == ""
    assert "gone" in state.explain_lane("two")
