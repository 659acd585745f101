"""A bundle's files: rows by identifier, licences by source, pins, and what is told of a broken file."""

from __future__ import annotations

import hashlib
import json
from datetime import datetime, timezone
from pathlib import Path

import pytest

from lanekit.commands.preflight import read_inputs
from lanekit.commands.reproduction.bundle import BASE_MODEL, read_bundle
from lanekit.commands.reproduction.contents import (
    UNKNOWN_LICENCE,
    describe_sources,
    list_lane_files,
    read_licences,
    save_pins,
    write_rows,
)
from lanekit.commands.reproduction.planning import plan_package
from lanekit.errors import InputError
from lanekit.plan.evaluation import plan_engine
from lanekit.plan.graph import Plan
from lanekit.sources.locks import SERVICES
from lanekit.sources.revisions import Revisions, load_revisions
from lanekit.spec.experiment_file import Experiment
from lanekit.store.folder import FolderStore
from lanekit.store.manifest import make_manifest

LOCKS = dict.fromkeys(SERVICES, "test")
COMMIT = "c" * 40


def resolve(experiment: Experiment) -> Experiment:
    pinned = {"digest": COMMIT, "revision": COMMIT}
    data = {name: source.model_copy(update=pinned) for name, source in experiment.data.items()}
    base = experiment.base_model.model_copy(update=pinned)
    return experiment.model_copy(update={"data": data, "base_model": base})


def plan(lanes_folder: Path, lane: str) -> tuple[Experiment, Experiment, Plan]:
    inputs = read_inputs(lanes_folder / "experiment.yaml")
    resolved = resolve(inputs.experiment)
    engine = plan_engine(resolved, lambda: False)
    (chosen,) = inputs.choose_lanes([lane])
    return inputs.experiment, resolved, plan_package(resolved, chosen, engine, LOCKS)


def list_stages(planned: Plan) -> list[str]:
    return [run.type.name for run in planned.runs.values()]


def test_a_package_is_planned_without_its_evaluation(lanes_folder: Path) -> None:
    _, _, planned = plan(lanes_folder, "lane04")
    assert list_stages(planned) == ["fetch_model", "fp8", "package"]
    _, _, planned = plan(lanes_folder, "lane03")
    assert list_stages(planned) == ["fetch_model", "prepare_benchmarks", "prepare_corpus", "gptq", "package"]
    _, _, planned = plan(lanes_folder, "lane10")
    assert list_stages(planned)[-4:] == ["prune", "distill", "gptq", "package"]


def test_the_package_is_named_after_the_model_on_the_hub_whatever_stands_in_for_it(
    lanes_folder: Path,
) -> None:
    written, resolved, planned = plan(lanes_folder, "lane04")
    copy = resolved.base_model.model_copy(update={"source": "/copy", "digest": "d" * 64})
    inputs = read_inputs(lanes_folder / "experiment.yaml")
    (lane,) = inputs.choose_lanes(["lane04"])
    local = resolved.model_copy(update={"base_model": copy})
    other = plan_package(local, lane, plan_engine(local, lambda: False), LOCKS, written)
    assert [run.params for run in other.runs.values()][-1] == [run.params for run in planned.runs.values()][
        -1
    ]


def test_sources_have_licences_and_say_which_are_read(lanes_folder: Path, tmp_path: Path) -> None:
    written, resolved, planned = plan(lanes_folder, "lane04")
    found = describe_sources(written, resolved, planned, lanes_folder)
    assert found["kmmlu_pro"].licence == "CC-BY-NC-ND-4.0" and found["manta"].licence == "not found"
    assert "1.2 - NC" in found[BASE_MODEL].licence
    assert [role for role, source in found.items() if source.needed] == [BASE_MODEL]
    written, resolved, planned = plan(lanes_folder, "lane03")
    found = describe_sources(written, resolved, planned, tmp_path)
    assert [role for role, source in found.items() if not source.needed] == ["general"]
    local = resolved.data["manta"].model_copy(update={"source": "/home/somebody/data/mine.jsonl"})
    resolved = resolved.model_copy(update={"data": {**resolved.data, "manta": local}})
    (tmp_path / "licences.yaml").write_text("mine.jsonl: CC0\n", encoding="utf-8")
    found = describe_sources(written, resolved, planned, tmp_path)
    assert (found["manta"].name, found["manta"].licence, found["manta"].is_local) == (
        "mine.jsonl",
        "CC0",
        True,
    )
    assert found["kmmlu_pro"].licence == UNKNOWN_LICENCE
    assert "somebody" not in "".join(source.model_dump_json() for source in found.values())


@pytest.mark.parametrize("content", ["- a\n- b\n", "a: [1]\n", "a: {\n", "\x00"])
def test_a_broken_file_of_licences_is_named(tmp_path: Path, content: str) -> None:
    path = tmp_path / "licences.yaml"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match=r"licences\.yaml: ") as caught:
        read_licences(path)
    assert "hub id" in caught.value.remedy


def test_the_rows_that_stages_read_are_named_in_order(lanes_folder: Path, tmp_path: Path) -> None:
    _, _, planned = plan(lanes_folder, "lane03")
    store = FolderStore(tmp_path / "store")
    store.prepare()
    corpus = next(run for run in planned.runs.values() if run.type.name == "prepare_corpus")
    scratch = store.make_scratch("corpus")
    talk = [{"role": "user", "content": "안녕?"}, {"role": "assistant", "content": "네."}]
    rows = [{"row": n, "conversations": talk, "n_tokens": 9, "bin": "1-256"} for n in (7, 3)]
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    (scratch / "calibration.jsonl").write_text(text, encoding="utf-8")
    now = datetime.now(timezone.utc)
    store.publish_artifact(corpus, scratch, make_manifest(corpus, scratch, started_at=now, seconds=1.0))
    write_rows(tmp_path / "rows", planned, store)
    (path,) = (tmp_path / "rows").iterdir()
    assert path.name == f"{corpus.name}-calibration.csv"
    canonical = json.dumps(talk, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    assert path.read_text(encoding="utf-8").splitlines() == [
        "place,row,tokens,bin,sha256", f"0,7,9,1-256,{digest}", f"1,3,9,1-256,{digest}",
    ]  # fmt: skip


def test_the_commits_that_were_asked_for_are_pinned(tmp_path: Path) -> None:
    revisions = Revisions(pinned={("model", "org/m", "main"): COMMIT})
    revisions.note("dataset", "org/d", "main", "d" * 40)
    save_pins(revisions, tmp_path / "lanes" / "revisions.yaml")
    found = load_revisions(tmp_path / "lanes" / "revisions.yaml")
    assert found.pinned == {("model", "org/m", "main"): COMMIT, ("dataset", "org/d", "main"): "d" * 40}
    save_pins(Revisions(), tmp_path / "none" / "revisions.yaml")
    assert not (tmp_path / "none" / "revisions.yaml").exists()


def test_the_lane_its_experiment_and_suite_are_carried(lanes_folder: Path) -> None:
    path = lanes_folder / "experiment.yaml"
    names = set(list_lane_files(read_inputs(path), path, "lane04_fp8_dynamic").values())
    assert names == {
        "experiment.yaml", "lane04_fp8_dynamic.yaml", "licences.yaml",
        *(f"benchmarks/{n}.yaml" for n in ("kmmlu_pro", "kmmlu_redux", "ko_longrag", "komt_bench")),
    }  # fmt: skip


@pytest.mark.parametrize("content", [None, "{}", "["])
def test_what_is_no_bundle_is_told(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "bundle.json").write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match=r"bundle\.json: ") as caught:
        read_bundle(tmp_path)
    assert caught.value.remedy
