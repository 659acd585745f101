"""The rank stage: golden tables, honest notes, the same bytes twice."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from lanekit.errors import InputError
from lanekit.params import RankParams
from lanekit.progress import ignore_progress
from lanekit.results import LaneRecord, Ranking
from ranker.stages.rank import run
from ranker.tables import compute_spread, format_size

GOLDEN = Path(__file__).parent / "golden"
WEIGHTS = {"kmmlu_pro": 0.25, "kmmlu_redux": 0.25, "komt_bench": 0.5}
HEADER = "rank,lane,group,status,perf,perf_norm,s_per_token,speed_norm,score,size_bytes,reason"
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def rank(records: list[LaneRecord], out: Path, **options: object) -> Path:
    """Run the stage."""
    fields = {"weights": WEIGHTS, "experiment": "test", **options}
    content = tuple(record.model_dump(mode="json") for record in records)
    run(RankParams.model_validate({"records": content, **fields}), {}, out, ignore_progress)
    return out


def read_rows(out: Path) -> dict[str, dict[str, str]]:
    with (out / "summary.csv").open(encoding="utf-8", newline="") as stream:
        return {row["lane"]: row for row in csv.DictReader(stream)}


@pytest.mark.parametrize("name", ["summary.csv", "summary.md"])
def test_tables_are_the_golden_ones(records: list[LaneRecord], tmp_path: Path, name: str) -> None:
    rank(records, tmp_path / "out")
    text = (tmp_path / "out" / name).read_text(encoding="utf-8")
    assert text == (GOLDEN / name).read_text(encoding="utf-8")


def test_the_csv_has_the_promised_head_order_and_unrounded_numbers(
    records: list[LaneRecord], tmp_path: Path
) -> None:
    out = rank(records, tmp_path)
    assert (out / "summary.csv").read_text(encoding="utf-8").startswith(HEADER + ",")
    rows = read_rows(out)
    assert list(rows) == ["baseline", "lane01_w4", "lane02_w8", "lane03_slow", "lane04_fp8", "lane05_sft"]
    assert [row["rank"] for row in rows.values()] == ["", "1", "2", "3", "", ""]
    ranking = Ranking.model_validate_json((out / "ranking.json").read_text(encoding="utf-8"))
    for lane in ranking.lanes:
        cell = rows[lane.record.lane]["score"]
        assert (float(cell) if cell else None) == lane.score
    assert rows["lane04_fp8"]["kmmlu_redux"] == rows["baseline"]["komt_bench"] == ""
    assert "\n" not in rows["lane05_sft"]["reason"]
    assert rows["lane01_w4"]["n_unparsed"] == "3"


def test_every_cpu_speed_says_cpu_and_no_other_does(
    make_record: Callable[..., LaneRecord], tmp_path: Path
) -> None:
    for device, expected in (("cpu: X", True), ("NVIDIA L4", False)):
        out = tmp_path / device[:3]
        rank([make_record("baseline", device=device), make_record("a", device=device)], out)
        text = (out / "summary.md").read_text(encoding="utf-8")
        table = [line for line in text.splitlines() if line.startswith("| ")][2:]
        assert len(table) == 2
        for line in table:
            assert line.count(" cpu |") == (2 if expected else 0)
        assert ("do not choose a submission by it" in text) == expected


def test_notes_tell_what_was_left_out_failed_unparsed_and_where(
    records: list[LaneRecord], tmp_path: Path
) -> None:
    text = (rank(records, tmp_path) / "summary.md").read_text(encoding="utf-8")
    for expected in (
        "- komt_bench (weight 0.5) is left out: no judge is set; its weight is shared by the others.",
        "- `lane05_sft` is failed: stage sft: out of memory remedy: lower batch_size | or rows",
        "- `lane04_fp8` is incomplete: not measured: kmmlu_redux",
        "- Answers that could not be parsed and counted as wrong: `lane01_w4` 3.",
        "- Equal scores are ordered by",
        "cpu: Test Processor, 1 thread with transformers: batch 8, 64 prompt and 32 decoded tokens",
        "torch 2.9.1, transformers 4.57.3",
        "score = max(0.5 × Perf/Perf_base + 0.5 ×",
        "(kmmlu_pro 50 %, kmmlu_redux 50 %)",
    ):
        assert expected in text


def test_the_stage_writes_the_same_bytes_twice(records: list[LaneRecord], tmp_path: Path) -> None:
    first, second = (rank(records, tmp_path / name) for name in ("one", "two"))
    names = sorted(p.relative_to(first).as_posix() for p in first.rglob("*") if p.is_file())
    assert names == sorted(
        ["baseline.json", "ranking.json"]
        + [f"summary.{suffix}" for suffix in ("csv", "html", "md", "png")]
        + [f"lanes/{record.lane}/metrics.json" for record in records]
    )
    for name in names:
        assert (first / name).read_bytes() == (second / name).read_bytes(), name
    assert (first / "summary.png").read_bytes().startswith(PNG_SIGNATURE)


def test_metrics_hold_the_record_and_its_score(records: list[LaneRecord], tmp_path: Path) -> None:
    out = rank(records, tmp_path)
    metrics = json.loads((out / "lanes" / "lane01_w4" / "metrics.json").read_text(encoding="utf-8"))
    assert (metrics["rank"], metrics["score"]) == (1, pytest.approx(0.75))
    original = next(r for r in records if r.lane == "lane01_w4")
    assert LaneRecord.model_validate({n: metrics[n] for n in LaneRecord.model_fields}) == original
    baseline = LaneRecord.model_validate_json((out / "baseline.json").read_text(encoding="utf-8"))
    assert baseline.lane == "baseline"


def test_a_ranking_without_any_scored_lane_still_has_tables_and_a_picture(
    make_record: Callable[..., LaneRecord], tmp_path: Path
) -> None:
    base = make_record("baseline", pro=0.0, redux=0.0)
    out = rank([base, make_record("a"), LaneRecord(lane="b", status="failed", reason="x")], tmp_path)
    assert read_rows(out)["a"]["status"] == "unscored"
    assert "Perf of the baseline is 0" in read_rows(out)["a"]["reason"]
    assert (out / "summary.png").read_bytes().startswith(PNG_SIGNATURE)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"status": "fine"}, "the record of lane 'a' is malformed: status"),
        ({"surprise": 1}, "the record of lane 'a' is malformed: surprise"),
        ({"lane": "../a"}, "'../a' cannot name a lane"),
        ({"lane": ""}, "'' cannot name a lane"),
    ],
)
def test_malformed_records_are_named(
    make_record: Callable[..., LaneRecord], tmp_path: Path, change: dict[str, object], expected: str
) -> None:
    records = [make_record(name).model_dump(mode="json") for name in ("baseline", "a")]
    records[1].update(change)
    spec = RankParams(records=tuple(records), weights=WEIGHTS)
    with pytest.raises(InputError, match=expected) as caught:
        run(spec, {}, tmp_path / "out", ignore_progress)
    assert caught.value.remedy
    assert not (tmp_path / "out").exists()


def test_spread_and_size(make_record: Callable[..., LaneRecord]) -> None:
    speed = make_record("a").speed
    assert speed is not None
    assert compute_spread(speed) == pytest.approx(0.04)
    speed.s_per_token_all = []
    assert compute_spread(speed) == 0
    assert [format_size(n) for n in (None, 971_000, 2_558_000_000)] == ["–", "1.0 MB", "2.56 GB"]
