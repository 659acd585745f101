"""What stages noted: in the status of a run, as data, and in its view, each once and bounded."""

from __future__ import annotations

import io
import json
from types import SimpleNamespace
from typing import Any, cast

import pytest
from rich.console import Console
from snapshots import RUN_ID, make_busy_snapshot, plan_all_lanes

from lanekit.commands.notes import NoteTeller, merge_notes
from lanekit.commands.stack import watch
from lanekit.commands.stack.cli import Stack
from lanekit.commands.stack.drawing import Sight
from lanekit.commands.stack.status import StackStatus, describe_run_status, show_stack
from lanekit.jobs.messages import MAX_NOTE_CHARACTERS, MAX_NOTES, RunSnapshot, shorten_notes
from lanekit.results.outcome import RunOutcome

FEWER = "calibration: 512 conversations are asked for, 500 are used; the corpus has 500 [red]"
LEFT_OUT = "manta: of 9 rows read, left out: duplicates: 1"


def make_noted_snapshot() -> RunSnapshot:
    """Return a busy run in which the corpus and two quantized models are not all that was asked for."""
    snapshot = make_busy_snapshot(plan_all_lanes())
    noted = {"prepare_corpus": LEFT_OUT, "gptq": FEWER}
    runs = tuple(
        run.model_copy(update={"notes": (noted[run.stage],)})
        if run.status == "done" and run.stage in noted
        else run
        for run in snapshot.runs
    )
    return snapshot.model_copy(update={"runs": runs})


class FakeStack:
    """What status reads; counts the requests."""

    def __init__(self, snapshot: RunSnapshot | None, outcome: RunOutcome | None = None) -> None:
        self.asked: list[str] = []
        content = snapshot.model_dump_json() if snapshot else None
        self.redis = SimpleNamespace(get=lambda key: self._count("snapshot", content))
        self.documents = SimpleNamespace(read=lambda *_: self._count("document", None))
        self.outcome = outcome

    def _count(self, what: str, answer: Any) -> Any:
        self.asked.append(what)
        return answer

    def read_outcome(self, run_id: str) -> RunOutcome | None:
        return cast("RunOutcome | None", self._count("outcome", self.outcome))

    def read_failures(self, run_id: str) -> dict[str, Any]:
        return {}


def look(snapshot: RunSnapshot | None, outcome: RunOutcome | None = None) -> StackStatus:
    fake = FakeStack(snapshot, outcome)
    status = StackStatus([], runs=[describe_run_status(cast(Stack, fake), RUN_ID)])
    assert set(fake.asked) <= {"snapshot", "document", "outcome"} and len(fake.asked) <= 5
    return status


def show(status: StackStatus, *, is_one_run: bool = True) -> list[str]:
    stream = io.StringIO()
    show_stack(Console(file=stream, width=200), status, is_one_run=is_one_run)
    return [line.strip() for line in stream.getvalue().splitlines() if "note" in line]


def test_status_shows_the_notes_of_a_run_that_goes_on() -> None:
    snapshot = make_noted_snapshot()
    corpus, gptq, _ = snapshot.collect_notes()
    status = look(snapshot)
    assert show(status) == [f"note: {corpus}: {LEFT_OUT}", f"note: {gptq} +1: {FEWER}"]
    (run,) = json.loads(json.dumps(status.to_json()))["runs"]
    assert run["notes"] == {name: list(notes) for name, notes in snapshot.collect_notes().items()}


def test_status_shows_the_notes_of_a_run_that_ended_and_redis_forgot() -> None:
    ended = RunOutcome(run_id=RUN_ID, phase="complete", notes={"gptq-1": (FEWER,)})
    status = look(None, ended)
    assert show(status) == [f"note: gptq-1: {FEWER}"]
    assert status.to_json()["runs"][0]["notes"] == {"gptq-1": (FEWER,)}
    assert show(look(None, RunOutcome(run_id=RUN_ID, phase="complete"))) == []


@pytest.mark.parametrize(("is_one_run", "n_shown"), [(True, 20), (False, 3)])
def test_many_notes_are_bounded_and_the_rest_is_counted(is_one_run: bool, n_shown: int) -> None:
    notes: dict[str, tuple[str, ...]] = {f"stage-{n}": (f"of {n} rows",) for n in range(30)}
    lines = show(look(None, RunOutcome(run_id=RUN_ID, phase="failed", notes=notes)), is_one_run=is_one_run)
    assert len(lines) == n_shown + 1
    assert lines[-1].startswith(f"and {30 - n_shown} more notes: python scripts/status.py {RUN_ID}")
    assert lines[-1].endswith("--json") == is_one_run


def test_notes_are_shortened_one_by_one_and_in_number() -> None:
    assert shorten_notes(["a\n  b", "가" * MAX_NOTE_CHARACTERS]) == ("a b", "가" * MAX_NOTE_CHARACTERS)
    (cut,) = shorten_notes(["가" * (MAX_NOTE_CHARACTERS + 1)])
    assert len(cut) == MAX_NOTE_CHARACTERS and cut.endswith("…")
    whole = [str(number) for number in range(MAX_NOTES)]
    assert shorten_notes(whole) == tuple(whole)
    assert shorten_notes([*whole, "x"]) == (*whole[:-1], "and 2 more notes (its manifest.json has all)")


def test_each_note_is_told_once_though_it_was_gone_meanwhile() -> None:
    told: list[str] = []
    teller = NoteTeller(told.append)
    for notes in ({"a": ["x"]}, {}, {"a": ["x", "y"], "b": ["x"]}):
        teller.show(cast("dict[str, list[str]]", notes))
    assert told == ["a: x", "a: y", "b: x"]
    assert merge_notes({"a": ["x", "y"], "b": ["x"], "c": ["x"]}) == ["a +2: x", "a: y"]


@pytest.mark.parametrize("is_terminal", [False, True])
def test_the_view_of_a_run_tells_its_notes_once(monkeypatch: pytest.MonkeyPatch, is_terminal: bool) -> None:
    sight = Sight(make_noted_snapshot(), controller_age_s=1.0)
    monkeypatch.setattr(watch, "look_at_run", lambda *_: sight)
    monkeypatch.setattr(watch, "OUTCOME_SECONDS", 0.0)
    last = {"package-1": ("the zip lacks a licence",), **make_noted_snapshot().collect_notes()}
    answers = [None, None, RunOutcome(run_id=RUN_ID, phase="complete", notes=last)]
    stream = io.StringIO()
    console = Console(file=stream, width=250, height=40, force_terminal=is_terminal, color_system=None)
    watch.watch_run(RUN_ID, cast(Any, None), lambda: answers.pop(0), console, 0.0, 0.01)
    mark = "! " if is_terminal else "note: "
    for name, notes in last.items():
        assert stream.getvalue().count(f"{mark}{name}: {notes[0]}") == 1
