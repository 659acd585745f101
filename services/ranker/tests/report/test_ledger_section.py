"""The ledger in the tables: a place that is filled, filled again and emptied; what is told of scores."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from lanekit.errors import InputError
from lanekit.results.folder import LISTING_NAME, check_results
from lanekit.results.ledger import Entry, append_entry
from lanekit.results.schema import LaneRecord
from ranker.report.html import render_html
from ranker.report.ledger_section import BEGIN, END, PLACE, fill_place, refresh_tables
from ranker.report.markdown import render_markdown
from ranker.report.tables_ledger import tabulate_ledger
from ranker.scoring.score import rank_lanes

WEIGHTS = {"kmmlu_pro": 0.5, "kmmlu_redux": 0.5}
START = datetime(2026, 11, 28, tzinfo=timezone.utc)
NASTY = f"<script>alert(1)</script> {BEGIN}"


def make_entry(lane: str, score: float, minutes: float, local: float | None, **fields: Any) -> Entry:
    digest = hashlib.sha256(lane.encode()).hexdigest()
    at = START + timedelta(minutes=round(1000 * score))
    known = {"local_score": local, "local_ratio": 0.8, "device": "L4, benchmark", "experiment": "test"}
    return Entry(at, lane, digest, score, minutes, **{**known, **fields})


ENTRIES = [
    make_entry("lane01", 0.59, 10.5, 0.51), make_entry("lane02", 0.62, 9.7, 0.54),
    make_entry("lane02", 0.505, 13.03, 0.54), make_entry("lane03", 0.61, 9.8, 0.53),
    make_entry("lane04", 0.60, 9.9, 0.50, note=NASTY),
]  # fmt: skip


@pytest.fixture
def results(records: list[LaneRecord], tmp_path: Path) -> Path:
    ranking = rank_lanes(records, WEIGHTS, experiment="test")
    folder = tmp_path / "results"
    folder.mkdir()
    (folder / "ranking.json").write_text(ranking.model_dump_json(), encoding="utf-8")
    (folder / "summary.md").write_text(render_markdown(ranking, list(WEIGHTS), 0.5), encoding="utf-8")
    (folder / "summary.html").write_text(render_html(ranking, list(WEIGHTS), 0.5), encoding="utf-8")
    return folder


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    path = tmp_path / "ledger.csv"
    for entry in ENTRIES:
        append_entry(path, entry)
    return path


def read(results: Path) -> dict[str, str]:
    return {n: (results / n).read_text(encoding="utf-8") for n in ("summary.md", "summary.html")}


def test_without_a_ledger_the_tables_stay_as_they_are(results: Path, tmp_path: Path) -> None:
    before = read(results)
    assert refresh_tables(results, tmp_path / "none.csv") == []
    assert read(results) == before and not (results / LISTING_NAME).exists()
    for text in before.values():
        assert text.count(PLACE) == 1


def test_the_tables_hold_the_ledger_and_the_same_twice(results: Path, ledger: Path) -> None:
    empty = read(results)
    assert refresh_tables(results, ledger) == []
    filled = read(results)
    assert "## Server scores" in filled["summary.md"] and "slow host" in filled["summary.md"]
    assert '<span lang="ko">서버 점수</span>' in filled["summary.html"]
    assert filled["summary.html"].count("<script") == 1 and filled["summary.html"].count(BEGIN) == 1
    refresh_tables(results, ledger)
    assert read(results) == filled
    append_entry(ledger, make_entry("lane05", 0.63, 9.6, 0.55))
    refresh_tables(results, ledger)
    assert "lane05" in read(results)["summary.md"].partition(BEGIN)[2].partition(END)[0]
    ledger.write_text(ledger.read_text(encoding="utf-8").splitlines()[0] + "\n", encoding="utf-8")
    refresh_tables(results, ledger)
    assert read(results) == empty
    check_results(results)  # they are still this product's own


def test_entries_of_another_experiment_are_not_shown(results: Path, tmp_path: Path) -> None:
    path = tmp_path / "ledger.csv"
    append_entry(path, make_entry("lane01", 0.5, 9.8, 0.5, experiment="other"))
    append_entry(path, make_entry("lane09", 0.4, 9.8, None, experiment=""))
    refresh_tables(results, path)
    section = read(results)["summary.md"].partition(BEGIN)[2].partition(END)[0]
    assert "lane09" in section and "lane01" not in section


def test_what_stands_in_the_way_is_told(results: Path, ledger: Path, tmp_path: Path) -> None:
    assert "there is no" in refresh_tables(tmp_path / "empty", ledger)[0]
    (results / "summary.md").write_text("# made by an earlier version\n", encoding="utf-8")
    told = refresh_tables(results, ledger)
    assert len(told) == 1 and "summary.md has no place for the ledger: rank again" in told[0]
    assert "Server scores" in read(results)["summary.html"]
    ledger.write_text("lane,score\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"ledger\.csv:1"):
        refresh_tables(results, ledger)


def test_a_folder_of_somebody_else_is_left_alone(results: Path, ledger: Path) -> None:
    (results / "ranking.json").write_text('{"experiment": "test"}', encoding="utf-8")
    before = read(results)
    with pytest.raises(InputError, match="did not write"):
        refresh_tables(results, ledger)
    assert read(results) == before


def test_the_first_place_counts_and_a_line_like_it_in_a_log_does_not() -> None:
    text = f"a\n{PLACE}\n```text\n{PLACE}\n```"
    assert fill_place(text, "x") == f"a\n{BEGIN}\nx\n{END}\n```text\n{PLACE}\n```"
    assert fill_place(f"- note {BEGIN}\n", "x") is None


def test_the_note_says_what_local_scores_are_worth() -> None:
    table = tabulate_ledger(ENTRIES)
    assert table is not None
    assert "1 of 5 runs are of the slow host" in table.note
    assert "over 4 packages: 0.67 (5 packages are needed for an interval; 4 are few" in table.note
    assert "83 % of the pairs stand in the same order" in table.note
    assert "No distance between local scores is known" in table.note
    assert [row.cells[0].value for row in table.rows] == [
        "`lane02`",
        "`lane03`",
        "`lane04`",
        "`lane01`",
        "`lane02`",
    ]
    line = [make_entry(f"lane{n}", 0.5 + 0.02 * n, 9.8, 0.4 + 0.02 * n + 0.001 * (n % 2)) for n in range(6)]
    found = tabulate_ledger(line)
    assert found is not None and "in 19 of 20 cases where they lie 0.00" in found.note
    assert "6 are few" in found.note and tabulate_ledger([]) is None


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"device": "H100, benchmark"}, "Left out below: 1 package(s) measured on another device than L4"),
        ({"local_score": None}, "Left out below: 1 package(s) without a local score"),
        ({"local_ratio": 2.0}, "1 could not be judged and count as usual"),
    ],
)
def test_what_is_left_out_is_said(change: dict[str, Any], expected: str) -> None:
    make: Callable[..., Entry] = make_entry
    fields = {"local": 0.5, **change}
    local = fields.pop("local_score", fields.pop("local"))
    fields.pop("local", None)
    table = tabulate_ledger([*ENTRIES, make("lane09", 0.6, 9.8, local, **fields)])
    assert table is not None and expected in table.note
