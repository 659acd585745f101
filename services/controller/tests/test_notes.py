"""What stages noted reaches the snapshot and the outcome out of manifests that are read once."""

from __future__ import annotations

from typing import Any

from lanekit.jobs.messages import MAX_NOTE_CHARACTERS, MAX_NOTES
from lanekit.plan.graph import Locator
from lanekit.store.manifest import Manifest

NOTE = "manta: of 9 rows read, left out: duplicates: 1"


def test_notes_are_in_the_snapshot_as_soon_as_an_artifact_is_there(stack: Any) -> None:
    stack.worker.notes = {"prepare_corpus": [NOTE], "gptq": [f"{n} " + "가" * 500 for n in range(20)]}
    spec = stack.enqueue("lane01")
    controller = stack.make_controller()
    held = stack.take_stage_of(controller, "prepare_corpus")
    controller.tick()
    assert stack.read_snapshot(spec).collect_notes() == {}
    stack.worker.finish(held)
    controller.tick()
    assert stack.read_snapshot(spec).collect_notes() == {held.run.name: (NOTE,)}
    ended = stack.settle(controller, spec)
    assert ended.notes == stack.read_snapshot(spec).collect_notes()
    assert ended.notes[held.run.name] == (NOTE,)
    (many,) = (notes for name, notes in ended.notes.items() if name != held.run.name)
    assert len(many) == MAX_NOTES and max(map(len, many)) == MAX_NOTE_CHARACTERS
    assert many[-1] == "and 13 more notes (its manifest.json has all)"


def test_a_restarted_controller_and_a_reused_artifact_tell_the_same(stack: Any) -> None:
    stack.worker.notes = {"prepare_corpus": [NOTE]}
    stack.settle(stack.make_controller, stack.enqueue("lane01"))
    again = stack.enqueue("lane01", name="again")
    ended = stack.settle(stack.make_controller, again)
    assert list(ended.notes.values()) == [(NOTE,)]


def test_a_screen_that_fails_is_a_note_and_its_lane_is_ranked_and_packaged(stack: Any) -> None:
    spec = stack.enqueue("lane01")
    controller = stack.make_controller()
    held = stack.take_stage_of(controller, "compare_logits")
    stack.worker.fail(held, "transformers cannot load this model")
    controller.tick()
    assert [lane.reason for lane in stack.read_snapshot(spec).lanes] == ["", ""]
    ended = stack.settle(controller, spec)
    assert ended.is_complete and [record.status for record in ended.records] == ["ok", "ok"]
    assert [record.rank for record in ended.records] == [None, 1]
    ((name, (note,)),) = ended.notes.items()
    assert name == held.run.name and name.startswith("screen-")
    assert note.startswith("failed; its lanes are ranked without it: transformers cannot load this model")


def test_a_cancelled_run_keeps_its_notes(stack: Any) -> None:
    stack.worker.notes = {"prepare_benchmarks": [NOTE]}
    spec = stack.enqueue("lane01")
    controller = stack.make_controller()
    held = stack.take_stage_of(controller, "prepare_corpus")
    controller.tick()
    stack.documents.write(spec.run_id, "cancelled.json", b"{}", "application/json")
    stack.worker.finish(held)
    ended = stack.settle(controller, spec)
    assert ended.phase == "cancelled" and list(ended.notes.values()) == [(NOTE,)]


def test_a_manifest_that_was_read_is_not_asked_for_again(stack: Any, monkeypatch: Any) -> None:
    stack.worker.notes = {"prepare_benchmarks": [NOTE]}
    spec = stack.enqueue("lane01")
    controller = stack.make_controller()
    stack.take_stage_of(controller, "prepare_corpus")
    controller.tick()
    noted = stack.read_snapshot(spec).collect_notes()
    asked: list[str] = []
    find = stack.store.find_artifact

    def find_artifact(locator: Locator) -> Manifest | None:
        asked.append(locator.name)
        found: Manifest | None = find(locator)
        return found

    monkeypatch.setattr(stack.store, "find_artifact", find_artifact)
    for _ in range(25):
        controller.tick()
    assert stack.read_snapshot(spec).collect_notes() == noted != {}
    assert asked and not set(asked) & set(noted)
