"""Lane records: what is known of contamination, and reading and writing the results folder."""

from __future__ import annotations

import json
import shutil
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest

from lanekit.errors import InputError, StoreError
from lanekit.plan.graph import BASELINE, LanePlan, Locator, Plan, make_stage_run
from lanekit.plan.state import RunState
from lanekit.results.collect import collect_record, count_contamination
from lanekit.results.folder import export_ranking, read_records, write_record
from lanekit.results.schema import NOT_USED, LaneRecord
from lanekit.spec.params import FetchModelParams, PrepareCorpusParams, Source
from lanekit.spec.quantization import GptqParams
from lanekit.store.manifest import Manifest

DIGESTS = {"trainer": "a", "quantizer": "b"}


class Reports:
    """A store that holds one corpus report, or none."""

    def __init__(self, text: str | None) -> None:
        self.text = text

    def find_artifact(self, locator: Locator) -> Manifest | None:
        return None

    def read_file(self, locator: Locator, name: str) -> bytes:
        if self.text is None:
            raise InputError(f"{locator.bucket}/{locator.name}/{name}: there is no such file")
        return self.text.encode()


@pytest.fixture
def plan() -> Plan:
    """A lane of one GPTQ stage, the baseline, and an own model without any stage."""
    source = Source(source="x")
    rows = PrepareCorpusParams(corpus=source, train_rows=4, validation_rows=1, calibration_rows=2)
    corpus = make_stage_run("prepare_corpus", rows, {}, DIGESTS)
    base = make_stage_run("fetch_model", FetchModelParams(name="base", model=source), {}, DIGESTS)
    gptq = make_stage_run(
        "gptq", GptqParams(scheme="W4A16"), {"model": base.key, "corpus": corpus.key}, DIGESTS
    )
    lanes = {"gptq": (gptq.key,), BASELINE: (), "own": ()}
    return Plan(
        {run.key: run for run in (corpus, base, gptq)},
        {n: LanePlan(n, n, "", keys, keys[-1] if keys else base.key) for n, keys in lanes.items()},
    )


@pytest.mark.parametrize(
    ("report", "expected"),
    [
        ('{"contamination": {"calibration": {"kmmlu_pro": 2, "ko_longrag": 0}}}', {"kmmlu_pro": 2}),
        ('{"contamination": {"calibration": {}, "train": {"kmmlu_pro": 2}}}', {}),
        ('{"rows": 3}', None),  # a report of another version
        (None, None),
    ],
)
def test_contamination_is_counted_or_not_known(
    plan: Plan, report: str | None, expected: dict[str, int] | None
) -> None:
    assert count_contamination(plan, plan.lanes["gptq"], Reports(report)) == expected


def test_of_a_model_made_elsewhere_nothing_is_known(plan: Plan) -> None:
    assert count_contamination(plan, plan.lanes["own"], Reports(None)) is None
    assert count_contamination(plan, plan.lanes[BASELINE], Reports(None)) == {}
    assert LaneRecord(lane="old").contamination is None


def test_a_record_holds_the_notes_of_the_lanes_own_stages(plan: Plan) -> None:
    class Noted(Reports):
        def find_artifact(self, locator: Locator) -> Manifest | None:
            name = locator.name.partition("-")[0]
            return Manifest(
                key=locator.key, name=locator.name, stage=name, stage_version=1, bucket=locator.bucket,
                parameters={}, inputs={}, started_at=datetime(2026, 1, 1, tzinfo=timezone.utc), seconds=1,
                notes=(f"{name} did less",), files={},
            )  # fmt: skip

    state = RunState(plan)
    state.mark(plan.lanes["gptq"].model_key, "failed", "out of memory")
    record = collect_record(plan, state, Noted(None), "gptq")
    assert record.notes == ["gptq_w4a16 did less"], "not those of the corpus, which many lanes share"
    assert collect_record(plan, state, Reports(None), "gptq").notes == []


def test_a_record_that_cannot_be_read_fails_its_lane_alone(tmp_path: Path) -> None:
    write_record(tmp_path, LaneRecord(lane=BASELINE))
    write_record(tmp_path, LaneRecord(lane="fine"))
    for name, text in (("other", '{"lane": "other", "speed": {"future": 1}}'), ("torn", "{"), ("list", "[]")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "metrics.json").write_text(text, encoding="utf-8")
    records = {record.lane: record for record in read_records(tmp_path)}
    assert {n: r.status for n, r in records.items()} == {
        BASELINE: "ok", "fine": "ok", "other": "unreadable", "torn": "unreadable", "list": "unreadable",
    }  # fmt: skip
    assert "other/metrics.json: not a lane record" in records["other"].reason
    assert "speed.s_per_token" in records["other"].reason and str(tmp_path) not in records["other"].reason


@pytest.mark.parametrize("name", ["baseline.json", "baseline/metrics.json"])
def test_the_baselines_record_must_be_readable(tmp_path: Path, name: str) -> None:
    write_record(tmp_path, LaneRecord(lane="fine"))
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("{", encoding="utf-8")
    with pytest.raises(InputError, match=f"{name}: not a lane record") as caught:
        read_records(tmp_path)
    assert caught.value.remedy


@pytest.mark.parametrize("lane", [BASELINE, "fine"])
def test_a_new_record_removes_the_items_of_the_old_one(tmp_path: Path, lane: str) -> None:
    write_record(tmp_path, LaneRecord(lane=lane))
    items = tmp_path / lane / "items.parquet"
    items.parent.mkdir(exist_ok=True)
    items.write_bytes(b"of the record beside it")
    if lane == BASELINE:
        (tmp_path / lane / "metrics.json").write_text(
            LaneRecord(lane=lane).model_dump_json(), encoding="utf-8"
        )
    write_record(tmp_path, LaneRecord(lane=lane))
    assert not items.exists()


def test_a_failed_evaluation_leaves_the_last_good_record(tmp_path: Path) -> None:
    write_record(tmp_path, LaneRecord(lane="fine", status="failed", reason="first"))
    assert read_record(tmp_path, "fine")["reason"] == "first"
    write_record(tmp_path, LaneRecord(lane="fine", title="good"))
    write_record(tmp_path, LaneRecord(lane="fine", status="failed", reason="out of memory"))
    assert read_record(tmp_path, "fine")["title"] == "good"


def read_record(results: Path, lane: str) -> dict[str, Any]:
    record: dict[str, Any] = json.loads((results / lane / "metrics.json").read_text(encoding="utf-8"))
    return record


def make_ranking(folder: Path, lanes: dict[str, str], rank: int | None = 1) -> Path:
    """Write a ranking's artifact: tables that say `rank`, and each lane's record with its status."""
    for lane, status in lanes.items():
        (folder / "lanes" / lane).mkdir(parents=True)
        text = json.dumps({"lane": lane, "benchmarks": {}, "status": status})
        (folder / "lanes" / lane / "metrics.json").write_text(text, encoding="utf-8")
    ranking = {"lanes": [{"rank": None}, {"rank": rank}], "weights_used": {}}
    (folder / "ranking.json").write_text(json.dumps(ranking), encoding="utf-8")
    (folder / "summary.md").write_text(f"rank {rank}", encoding="utf-8")
    (folder / "manifest.json").write_text("{}", encoding="utf-8")
    return folder


def test_an_export_replaces_or_removes_items_and_keeps_what_is_not_used(tmp_path: Path) -> None:
    results = tmp_path / "results"
    statuses = {"with": "ok", "without": "failed", "torn": "unreadable", "other": "foreign", "odd": "refused"}
    for lane in statuses:
        write_record(results, LaneRecord(lane=lane))
        (results / lane / "items.parquet").write_bytes(b"old")
        if statuses[lane] in NOT_USED:
            (results / lane / "metrics.json").write_text("{", encoding="utf-8")
    ranking = make_ranking(tmp_path / "ranking", statuses)
    (ranking / "lanes" / "with" / "items.parquet").write_bytes(b"new")
    assert export_ranking(ranking, results) == results
    assert (results / "with" / "items.parquet").read_bytes() == b"new"
    assert not (results / "without" / "items.parquet").exists()
    assert read_record(results, "without")["status"] == "failed"
    for lane in ("torn", "other", "odd"):
        assert (results / lane / "metrics.json").read_text(encoding="utf-8") == "{"
        assert (results / lane / "items.parquet").read_bytes() == b"old"
    assert not (results / "manifest.json").exists()


def test_a_run_that_ranks_nothing_leaves_the_last_ranking(tmp_path: Path) -> None:
    results = tmp_path / "results"
    failed = make_ranking(tmp_path / "failed", {"lane01": "failed"}, rank=None)
    assert export_ranking(failed, results, is_ranked=False) == results  # there is no better one
    export_ranking(make_ranking(tmp_path / "good", {"lane01": "ok"}), results)
    assert export_ranking(failed, results, is_ranked=False) == results / "unranked"
    assert (results / "summary.md").read_text(encoding="utf-8") == "rank 1"
    assert (results / "unranked" / "summary.md").read_text(encoding="utf-8") == "rank None"
    assert read_record(results, "lane01")["status"] == "ok"
    export_ranking(tmp_path / "good", results)
    assert not (results / "unranked" / "summary.md").exists()


FOREIGN = [
    "summary.md",
    "summary.png",
    "baseline.json",
    "ranking.json",
    "lane01/metrics.json",
    "lane01/items.parquet",
]


@pytest.mark.parametrize("name", FOREIGN)
def test_what_others_wrote_in_the_place_of_results_is_refused_by_name(tmp_path: Path, name: str) -> None:
    results, ranking = tmp_path / "results", make_ranking(tmp_path / "ranking", {"lane01": "ok"})
    (results / name).parent.mkdir(parents=True)
    (results / name).write_text("mine", encoding="utf-8")
    with pytest.raises(InputError, match=name) as caught:
        export_ranking(ranking, results)
    assert "--results" in caught.value.remedy
    assert [p for p in results.rglob("*") if p.is_file()] == [results / name]
    assert (results / name).read_text(encoding="utf-8") == "mine"


def test_what_others_wrote_beside_results_stays_and_an_earlier_versions_results_are_ours(
    tmp_path: Path,
) -> None:
    results, ranking = tmp_path / "results", make_ranking(tmp_path / "ranking", {"lane01": "ok"})
    shutil.copytree(ranking, results)
    shutil.move(results / "lanes" / "lane01", results / "lane01")
    for name in ("lane01/notes.txt", "lane07/own.csv", "unranked/diary.md", "plot.png"):
        (results / name).parent.mkdir(exist_ok=True)
        (results / name).write_text("mine", encoding="utf-8")
    export_ranking(ranking, results)
    export_ranking(ranking, results)
    for name in ("lane01/notes.txt", "lane07/own.csv", "unranked/diary.md", "plot.png"):
        assert (results / name).read_text(encoding="utf-8") == "mine"


def test_an_export_that_fails_leaves_the_last_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results = tmp_path / "results"
    export_ranking(make_ranking(tmp_path / "good", {"lane01": "ok"}), results)
    before = {p: p.read_bytes() for p in results.rglob("*") if p.is_file()}

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copytree", fail)
    with pytest.raises(StoreError, match="No space left"):
        export_ranking(make_ranking(tmp_path / "new", {"lane01": "ok"}, rank=2), results)
    assert {p: p.read_bytes() for p in results.rglob("*") if p.is_file()} == before


def test_a_record_in_another_lanes_folder_is_not_read_as_that_lanes(tmp_path: Path) -> None:
    write_record(tmp_path, LaneRecord(lane=BASELINE))
    write_record(tmp_path, LaneRecord(lane="lane01"))
    shutil.copytree(tmp_path / "lane01", tmp_path / "lane02")
    records = {record.lane: record for record in read_records(tmp_path)}
    assert records["lane01"].status == "ok" and records["lane02"].status == "unreadable"
    assert "it is the record of 'lane01', not of 'lane02'" in records["lane02"].reason
