"""The rank stage: golden tables, honest notes, the same bytes twice."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from lanekit.errors import InputError
from lanekit.progress import ignore_progress
from lanekit.results.ranking import Ranking
from lanekit.results.schema import LaneRecord
from lanekit.spec.params import RankParams
from ranker.report.formats import compute_spread, show_mb
from ranker.stages.rank import run

pytestmark = pytest.mark.slow  # draws all charts each time

GOLDEN = Path(__file__).parents[1] / "golden"
WEIGHTS = {"kmmlu_pro": 0.25, "kmmlu_redux": 0.25, "komt_bench": 0.5}
HEADER = "rank,lane,group,status,perf,perf_norm,s_per_token,speed_norm,score,size_bytes,reason"
RICH = ("kmmlu_pro", "kmmlu_redux", "ko_longrag", "komt_bench")
PUBLISHED = {"kmmlu_pro": 37.5, "kmmlu_redux": 50.0}
Run = tuple[list[LaneRecord], dict[str, Path]]
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def rank(
    records: list[LaneRecord], out: Path, inputs: dict[str, Path] | None = None, **options: object
) -> Path:
    """Run the stage."""
    fields = {"weights": WEIGHTS, "experiment": "test", **options}
    content = tuple(record.model_dump(mode="json") for record in records)
    run(RankParams.model_validate({"records": content, **fields}), inputs or {}, out, ignore_progress)
    return out


def swap(run: Run, out: Path) -> tuple[list[LaneRecord], Path, dict[str, Path]]:
    return run[0], out, run[1]


def read_rows(out: Path) -> dict[str, dict[str, str]]:
    with (out / "summary.csv").open(encoding="utf-8", newline="") as stream:
        return {row["lane"]: row for row in csv.DictReader(stream)}


@pytest.mark.parametrize("name", ["summary.csv", "summary.md"])
def test_tables_are_the_golden_ones(records: list[LaneRecord], tmp_path: Path, name: str) -> None:
    rank(records, tmp_path / "out")
    text = (tmp_path / "out" / name).read_text(encoding="utf-8")
    assert text == (GOLDEN / name).read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["summary.csv", "summary.md"])
def test_tables_with_statistics_are_the_golden_ones(rich_run: Run, tmp_path: Path, name: str) -> None:
    rank(
        *swap(rich_run, tmp_path / "out"),
        weights=dict.fromkeys(RICH, 0.25),
        resamples=500,
        published_percent=PUBLISHED,
    )
    text = (tmp_path / "out" / name).read_text(encoding="utf-8")
    assert text == (GOLDEN / f"rich.{name}").read_text(encoding="utf-8")


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
    for device, kind, expected in (("cpu: X", "cpu", True), ("NVIDIA L4", "cuda", False)):
        out = tmp_path / kind
        where = {"device": device, "device_kind": kind}
        rank([make_record("baseline", **where), make_record("a", **where)], out)
        text = (out / "summary.md").read_text(encoding="utf-8")
        first = text[text.index("| rank") :].partition("\n\n")[0]
        table = first.splitlines()[2:]
        assert len(table) == 2
        for line in table:
            assert line.count(" (cpu) |") == (2 if expected else 0)
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


def test_the_stage_with_items_writes_the_same_bytes_twice(rich_run: Run, tmp_path: Path) -> None:
    options: dict[str, Any] = {"weights": dict.fromkeys(RICH, 0.25), "resamples": 200}
    first, second = (rank(*swap(rich_run, tmp_path / name), **options) for name in ("one", "two"))
    names = sorted(p.relative_to(first).as_posix() for p in first.rglob("*") if p.is_file())
    assert {f"lanes/{record.lane}/items.parquet" for record in rich_run[0]} <= set(names)
    for name in names:
        assert (first / name).read_bytes() == (second / name).read_bytes(), name


def test_the_judges_rows_take_the_place_of_the_unjudged_ones(rich_run: Run, tmp_path: Path) -> None:
    out = rank(*swap(rich_run, tmp_path / "out"), weights=dict.fromkeys(RICH, 0.25), resamples=200)
    table = pq.read_table(out / "lanes" / "lane01_w4" / "items.parquet")
    source = pq.read_table(tmp_path / "lane01_w4" / "evaluate" / "items.parquet")
    assert table.schema == source.schema and len(table) == len(source)
    assert table.column("value").null_count == 0 and source.column("value").null_count == 24
    assert list(dict.fromkeys(table.column("benchmark").to_pylist())) == list(RICH)
    judged = table.filter(pc.equal(table.column("benchmark"), "komt_bench"))
    assert judged.column("turn").to_pylist()[:4] == [1, 2, 1, 2]


def test_a_lane_that_was_asked_another_item_is_not_ranked(rich_run: Run, tmp_path: Path) -> None:
    path = tmp_path / "lane03_w8" / "evaluate" / "items.parquet"
    rows = pq.read_table(path).to_pylist()
    rows[0]["id"] = "another"
    pq.write_table(pa.Table.from_pylist(rows, schema=pq.read_schema(path)), path)
    out = rank(*swap(rich_run, tmp_path / "out"), weights=dict.fromkeys(RICH, 0.25), resamples=200)
    row = read_rows(out)["lane03_w8"]
    assert (row["rank"], row["status"]) == ("", "incomplete")
    for expected in ("asked otherwise than the baseline: kmmlu_pro: 1 item", "missing: kmmlu_pro-000 (0)",
                     "1 item that the baseline was not asked: another (0)"):  # fmt: skip
        assert expected in row["reason"]


@pytest.mark.parametrize(("column", "stops"), [("question", True), ("gold", True), ("response", False)])
def test_another_question_under_the_same_id_is_another_item(
    rich_run: Run, tmp_path: Path, column: str, stops: bool
) -> None:
    path = tmp_path / "lane03_w8" / "evaluate" / "items.parquet"
    rows = pq.read_table(path).to_pylist()
    rows[0][column] = "다른 것"
    pq.write_table(pa.Table.from_pylist(rows, schema=pq.read_schema(path)), path)
    out = rank(*swap(rich_run, tmp_path / "out"), weights=dict.fromkeys(RICH, 0.25), resamples=200)
    row = read_rows(out)["lane03_w8"]
    assert (row["status"], bool(row["kmmlu_pro_p"])) == (("incomplete", False) if stops else ("ok", True))
    expected = "kmmlu_pro: 1 item with another question or gold answer: kmmlu_pro-000 (0)"
    assert (expected in row["reason"]) == stops


def test_a_judges_references_are_not_asked(rich_run: Run, tmp_path: Path) -> None:
    path = tmp_path / "lane03_w8" / "judge" / "items.parquet"
    rows = [row | {"gold": "a reference"} for row in pq.read_table(path).to_pylist()]
    pq.write_table(pa.Table.from_pylist(rows, schema=pq.read_schema(path)), path)
    out = rank(*swap(rich_run, tmp_path / "out"), weights=dict.fromkeys(RICH, 0.25), resamples=200)
    assert read_rows(out)["lane03_w8"]["komt_bench_p"]


def test_items_that_the_judge_gave_no_rating_are_left_out_alone(rich_run: Run, tmp_path: Path) -> None:
    records, _ = rich_run
    path = tmp_path / "lane01_w4" / "judge" / "items.parquet"
    rows = pq.read_table(path).to_pylist()
    rows[3]["value"] = None  # the second item's second turn
    pq.write_table(pa.Table.from_pylist(rows, schema=pq.read_schema(path)), path)
    rated = [rows[2 * i]["value"] + rows[2 * i + 1]["value"] for i in range(12) if i != 1]
    record = next(r for r in records if r.lane == "lane01_w4")
    record.benchmarks["komt_bench"].value = sum(rated) / 22
    record.benchmarks["komt_bench"].n_unparsed = 1
    out = rank(*swap(rich_run, tmp_path / "out"), weights=dict.fromkeys(RICH, 0.25), resamples=200)
    row = read_rows(out)["lane01_w4"]
    assert row["rank"] and row["score_low"] and row["komt_bench_p"]
    text = (out / "summary.md").read_text(encoding="utf-8")
    assert "Items that the judge gave no rating, left out: `lane01_w4` 1." in text
    assert "Every answer could be parsed." in text


def test_a_contaminated_lane_is_ranked_and_labelled_everywhere(rich_run: Run, tmp_path: Path) -> None:
    out = rank(*swap(rich_run, tmp_path / "out"), weights=dict.fromkeys(RICH, 0.25), resamples=200)
    warning = "lane05_sft is contaminated: its training or calibration text holds 3 items of kmmlu_pro."
    markdown, page = ((out / f"summary.{kind}").read_text(encoding="utf-8") for kind in ("md", "html"))
    assert warning in markdown[: markdown.index("| rank")] and warning in page
    row = next(line for line in markdown.splitlines() if "`lane05_sft`" in line)
    assert "⚠ contaminated" in row and markdown.count("⚠ contaminated") == 1
    rows = [line for line in markdown.splitlines() if line.startswith("|") and "lane05_sft" in line]
    assert len(rows) > 8 and all("`lane05_sft` ⚠ |" in " ".join(line.split()) for line in rows)
    cells = re.findall(r"<code>lane05_(?:<wbr>)?sft</code>(.{0,30})", page)
    assert len(cells) > 8 and all(after.startswith(' <span title="contaminated">⚠') for after in cells)
    assert "⚠ contaminated" in page and "⚠ lane05_sft" in page  # the badge, the chart
    assert read_rows(out)["lane05_sft"]["contamination"] == "kmmlu_pro:3"
    assert read_rows(out)["lane05_sft"]["rank"]


def test_values_that_are_no_numbers_do_not_stop_the_ranking(
    make_record: Callable[..., LaneRecord], tmp_path: Path
) -> None:
    records = [make_record(name) for name in ("baseline", "fine", "bad_value", "bad_speed")]
    records[2].benchmarks["kmmlu_pro"].value = float("nan")
    assert records[3].speed
    records[3].speed.s_per_token_all[0] = float("inf")
    out = rank(records, tmp_path)
    rows = read_rows(out)
    assert [rows[n]["status"] for n in ("fine", "bad_value", "bad_speed")] == [
        "ok",
        "incomplete",
        "incomplete",
    ]
    text = (out / "ranking.json").read_text(encoding="utf-8")
    assert Ranking.model_validate_json(text).lanes[1].record.lane == "fine"
    assert not any(word in text for word in ("NaN", "Infinity"))


def test_lanes_whose_contamination_is_not_known_are_noted_once(
    make_record: Callable[..., LaneRecord], tmp_path: Path
) -> None:
    records = [make_record("baseline", contamination=None), make_record("clean")]
    records += [make_record(name, contamination=None) for name in ("own1", "own2")]
    out = rank(records, tmp_path)
    text = (out / "summary.md").read_text(encoding="utf-8")
    note = "- Not known whether benchmark items stand in the training or calibration text: own1, own2."
    assert text.count(note) == 1 and text.index(note) < text.index("| rank")
    rows = read_rows(out)
    assert [rows[n]["contamination"] for n in ("clean", "own1")] == ["", "unknown"]


def test_a_doubtful_speed_is_warned_of_first(make_record: Callable[..., LaneRecord], tmp_path: Path) -> None:
    records = [
        make_record(name, device="NVIDIA L4", device_kind="cuda") for name in ("baseline", "calm", "hot")
    ]
    assert records[2].speed
    records[2].speed.warnings = ["the GPU was held back after the timed repeats: x", "the SM clock fell"]
    out = rank(records, tmp_path)
    markdown, page = ((out / f"summary.{kind}").read_text(encoding="utf-8") for kind in ("md", "html"))
    warning = (
        "The speed of hot is doubtful: the GPU was held back after the timed repeats: x; the SM clock fell."
    )
    assert warning in markdown[: markdown.index("| rank")] and page.count("is doubtful") == 1
    assert page.index("Read this first") < page.index(warning)


def test_a_benchmark_without_a_weight_moves_no_column(
    make_record: Callable[..., LaneRecord], tmp_path: Path
) -> None:
    heads = []
    for name in ("without", "with"):
        lane = make_record("lane")
        if name == "with":
            lane.benchmarks["a_new_one"] = lane.benchmarks["kmmlu_pro"]
        out = rank([make_record("baseline"), lane], tmp_path / name)
        heads.append((out / "summary.csv").read_text(encoding="utf-8").splitlines()[0].split(","))
    assert heads[1][: len(heads[0])] == heads[0]
    assert heads[1][len(heads[0])] == "a_new_one"


@pytest.mark.parametrize(
    ("column", "expected"), [("value", "lacks the column value"), ("", "there is no such")]
)
def test_a_lane_with_a_malformed_file_of_items_is_ranked_without(
    rich_run: Run, tmp_path: Path, column: str, expected: str
) -> None:
    path = tmp_path / "lane03_w8" / "evaluate" / "items.parquet"
    table = pq.read_table(path)
    path.unlink()
    if column:
        pq.write_table(table.drop_columns([column]), path)
    out = rank(*swap(rich_run, tmp_path / "out"), weights=dict.fromkeys(RICH, 0.25), resamples=200)
    rows = read_rows(out)
    assert rows["lane03_w8"]["rank"] and not rows["lane03_w8"]["score_low"] and rows["lane01_w4"]["score_low"]
    assert not (out / "lanes" / "lane03_w8" / "items.parquet").exists()
    lanes = json.loads((out / "ranking.json").read_text(encoding="utf-8"))["lanes"]
    assert [x["record"]["lane"] for x in lanes if not x["has_items"]] == ["lane03_w8"]
    text = (out / "summary.md").read_text(encoding="utf-8")
    assert f"- The per-item outputs of lane03_w8 are not used: items.parquet: {expected}" in text
    assert "No per-item outputs, so no interval, test or tie: lane03_w8." in text
    assert str(tmp_path) not in text


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
    assert compute_spread(speed.s_per_token_all) == pytest.approx(0.04)
    assert compute_spread([]) == 0
    assert [show_mb(n) for n in (None, 971_000, 2_558_000_000)] == ["–", "0.97", "2,558"]


def test_replicates_have_folders_of_their_own_and_no_row(rich_run: Run, tmp_path: Path) -> None:
    """The third lane as the first one's second replicate: other answers, the same timing."""
    records, inputs = rich_run
    name = "lane01_w4-r2"
    records[2] = records[2].model_copy(update={"lane": name, "speed": records[1].speed})
    inputs = {role.replace("lane02_w4_damp", name): folder for role, folder in inputs.items()}
    out = rank(records, tmp_path / "out", inputs, weights=dict.fromkeys(RICH, 0.25), resamples=500)
    rows = read_rows(out)
    assert name not in rows and rows["lane01_w4"]["replicates"] == f"lane01_w4 {name}"
    content = json.loads((out / "lanes" / name / "metrics.json").read_text(encoding="utf-8"))
    assert content["lane"] == name and content["rank"] is None and content["score"] is not None
    assert (out / "lanes" / name / "items.parquet").is_file()
    assert float(rows["lane01_w4"]["score_low"]) < float(rows["lane01_w4"]["score"])
    ranking = Ranking.model_validate_json((out / "ranking.json").read_text(encoding="utf-8"))
    assert [lane.record.lane for lane in ranking.replicates] == [name]
