"""Lane records: what is known of contamination, and reading and writing the results folder."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lanekit.errors import InputError
from lanekit.plan.graph import BASELINE, LanePlan, Locator, Plan, make_stage_run
from lanekit.results.collect import count_contamination
from lanekit.results.folder import export_ranking, read_records, write_record
from lanekit.results.schema import LaneRecord
from lanekit.spec.params import FetchModelParams, GptqParams, PrepareCorpusParams, Source
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
    items = tmp_path / lane / "items.parquet"
    items.parent.mkdir()
    items.write_bytes(b"old")
    write_record(tmp_path, LaneRecord(lane=lane))
    assert not items.exists()


def test_an_export_replaces_or_removes_items_and_keeps_what_was_not_readable(tmp_path: Path) -> None:
    ranking, results = tmp_path / "ranking", tmp_path / "results"
    statuses = {"with": "ok", "without": "failed", "torn": "unreadable"}
    for lane, status in statuses.items():
        for folder, text in (
            (ranking / "lanes" / lane, json.dumps({"status": status})),
            (results / lane, "{"),
        ):
            folder.mkdir(parents=True)
            (folder / "metrics.json").write_text(text, encoding="utf-8")
        (results / lane / "items.parquet").write_bytes(b"old")
    (ranking / "lanes" / "with" / "items.parquet").write_bytes(b"new")
    export_ranking(ranking, results)
    assert (results / "with" / "items.parquet").read_bytes() == b"new"
    assert not (results / "without" / "items.parquet").exists()
    assert (results / "torn" / "metrics.json").read_text(encoding="utf-8") == "{"
    assert (results / "without" / "metrics.json").read_text(encoding="utf-8") != "{"
