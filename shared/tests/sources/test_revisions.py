"""Pinned revisions: read, kept to, written and renewed."""

from __future__ import annotations

from pathlib import Path

import pytest

from lanekit.files.strict_yaml import InputProblems
from lanekit.host.checkout import find_project_root
from lanekit.sources.resolve import resolve_source, resolve_sources
from lanekit.sources.revisions import REVISIONS_NAME, Revisions, load_revisions
from lanekit.spec.experiment_file import load_experiment
from lanekit.spec.params import Source

OLD, NEW = "a" * 40, "b" * 40
SET = Source(source="LGAI-EXAONE/KMMLU-Pro", split="test")


class Hub:
    """Answers with one commit and counts."""

    def __init__(self, commit: str) -> None:
        self.commit, self.asked = commit, []  # type: ignore[var-annotated]

    def __call__(self, repo: str, revision: str, kind: str) -> str:
        self.asked.append((kind, repo, revision))
        return self.commit


def test_without_a_file_the_hub_is_asked_and_its_answer_written(tmp_path: Path) -> None:
    path, hub = tmp_path / REVISIONS_NAME, Hub(OLD)
    revisions = load_revisions(path)
    resolved = resolve_source(SET, "dataset", hub, revisions)
    assert (resolved.digest, resolved.revision) == (OLD, OLD)
    assert hub.asked == [("dataset", SET.source, "main")]
    assert not path.exists(), "nothing is written before it is known to be good"
    assert revisions.save() == [f"dataset {SET.source}: main is {OLD[:12]}"]
    assert load_revisions(path).pinned == {("dataset", SET.source, "main"): OLD}


def test_a_pin_is_kept_to_and_is_for_its_kind_and_revision_alone(tmp_path: Path) -> None:
    path, hub = tmp_path / REVISIONS_NAME, Hub(NEW)
    path.write_text(f"datasets:\n  {SET.source}:\n    main: {OLD}\n", encoding="utf-8")
    revisions = load_revisions(path)
    assert resolve_source(SET, "dataset", hub, revisions).digest == OLD
    assert not hub.asked
    assert resolve_source(SET, "model", hub, revisions).digest == NEW
    assert resolve_source(SET.model_copy(update={"revision": "v2"}), "dataset", hub, revisions).digest == NEW
    assert (
        resolve_source(SET.model_copy(update={"revision": "c" * 40}), "dataset", hub, revisions).digest
        == "c" * 40
    )
    assert hub.asked == [("model", SET.source, "main"), ("dataset", SET.source, "v2")]


def test_pins_are_renewed_where_that_is_asked(tmp_path: Path) -> None:
    path, hub = tmp_path / REVISIONS_NAME, Hub(NEW)
    path.write_text(
        f"datasets:\n  {SET.source}:\n    main: {OLD}\n  other/set:\n    main: {OLD}\n", encoding="utf-8"
    )
    revisions = load_revisions(path, renew=True)
    assert resolve_source(SET, "dataset", hub, revisions).digest == NEW
    assert revisions.save() == [f"dataset {SET.source}: main is {NEW[:12]} (was {OLD[:12]})"]
    again = load_revisions(path)
    assert again.pinned == {
        ("dataset", SET.source, "main"): NEW,
        ("dataset", "other/set", "main"): OLD,
    }
    assert resolve_source(SET, "dataset", hub, again).digest == NEW
    assert again.save() == []


def test_a_local_source_needs_no_pin(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text("{}\n", encoding="utf-8")
    revisions = Revisions(tmp_path / REVISIONS_NAME)
    resolve_source(Source(source=str(tmp_path / "a.jsonl")), "dataset", None, revisions)
    assert revisions.save() == []
    assert not (tmp_path / REVISIONS_NAME).exists()


def test_a_whole_experiment_resolves_from_pins_without_a_hub(tmp_path: Path) -> None:
    experiment = load_experiment(find_project_root() / "lanes" / "experiment.yaml")
    pins = "".join(f"  {source.source}:\n    main: {OLD}\n" for source in experiment.data.values())
    path = tmp_path / REVISIONS_NAME
    path.write_text(
        f"datasets:\n{pins}models:\n  {experiment.base_model.source}:\n    main: {NEW}\n", encoding="utf-8"
    )
    resolved = resolve_sources(experiment, revisions=load_revisions(path))
    spare = resolved.data.pop("general")
    assert not spare.digest, "no lane that is run takes rows of it"
    assert {source.digest for source in resolved.data.values()} == {OLD}
    assert (resolved.base_model.digest, resolved.base_model.revision) == (NEW, NEW)
    assert {name: source.rows for name, source in resolved.data.items() if source.rows} == {
        "kmmlu_pro": 2822, "kmmlu_redux": 2587, "ko_longrag": 600, "komt_bench": 80,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("datasets:\n  a/b:\n    main: abc\n", ":3:5: main: 'abc' is no commit: 40 hexadecimal digits"),
        ("datasets:\n  a/b: abc\n", ":2:3: must be a mapping of revisions to commits"),
        ("datasets:\n  - a/b\n", ":1:1: must be a mapping of hub ids"),
        ("dataset:\n  a/b: {}\n", ":1:1: unknown name 'dataset' (did you mean 'datasets'?)"),
        ("- a\n", ":1:1: must be a mapping of 'datasets' and 'models'"),
        ("datasets: {\n", ":2:1: not valid YAML"),
    ],
)
def test_a_malformed_file_is_refused_with_its_line(tmp_path: Path, text: str, problem: str) -> None:
    path = tmp_path / REVISIONS_NAME
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputProblems) as caught:
        load_revisions(path)
    assert f"{path}{problem}" in str(caught.value)
