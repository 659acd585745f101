"""scripts/compare_lanes.py on small per-item outputs: counts, items, and errors a person can act on."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import compare_lanes
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from commands import ROOT, make_environment

from lanekit.errors import InputError
from lanekit.results.schema import LaneRecord
from lanekit.results.screen import ScreenResult

# index: value and parsed answer of the baseline, then of the lane
CHOICES = {
    0: ((1.0, "A"), (1.0, "A")),
    1: ((1.0, "B"), (0.0, "C")),
    2: ((1.0, "D"), (0.0, None)),
    3: ((0.0, "A"), (1.0, "B")),
    4: ((0.0, "A"), (0.0, "C")),
    5: ((0.0, "E"), (0.0, "E")),
    6: ((1.0, "A"), (0.0, "B")),
}


def make_rows(side: int) -> list[dict[str, Any]]:
    rows = []
    for index, answers in CHOICES.items():
        value, parsed = answers[side]
        rows.append(
            {"benchmark": "kmmlu_pro", "index": index, "id": f"pro-{index}", "turn": 1, "part": "",
             "task": "법", "question": f"물음 {index}?\n(1) 가 [b]굵게[/b]", "response": f"정답: {parsed}",
             "parsed": parsed, "gold": "A", "value": value}
        )  # fmt: skip
    for turn in (1, 2):
        rows.append(
            {"benchmark": "komt_bench", "index": 0, "id": "81", "turn": turn, "part": "", "task": "",
             "question": "써 줘.", "response": "좋아요. " * 60, "parsed": None, "gold": "", "value": None}
        )  # fmt: skip
    return rows


def write_lane(results: Path, lane: str, rows: list[dict[str, Any]]) -> None:
    folder = results / lane
    folder.mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(rows), folder / "items.parquet")


@pytest.fixture
def results(tmp_path: Path) -> Path:
    folder = tmp_path / "results"
    write_lane(folder, "baseline", make_rows(0))
    write_lane(folder, "lane01_w4", make_rows(1))
    (folder / "lane02_old").mkdir()
    return folder


@pytest.fixture
def compare(
    results: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., str]:
    """Run the command in this process and return what it printed."""

    def run(*options: str) -> str:
        monkeypatch.setenv("COLUMNS", "200")
        monkeypatch.setattr(sys, "argv", ["compare_lanes.py", *options, "--results", str(results)])
        assert compare_lanes.main() == 0
        return capsys.readouterr().out

    return run


def test_counts_and_items_are_those_of_the_files(compare: Callable[..., str]) -> None:
    found = json.loads(compare("baseline", "lane01_w4", "--json"))
    pro, komt = found["benchmarks"]
    names = ("n_items", "both_right", "only_a", "only_b", "neither", "n_gained", "n_lost", "n_changed")
    assert [pro[name] for name in names] == [7, 1, 3, 1, 2, 1, 3, 1]
    assert pro["p_value"] == pytest.approx(2 * (1 + 4) / 2**4)  # two-sided: one or none of four
    assert (komt["n_items"], komt["p_value"]) == (1, None)
    changes = {item["id"]: item["change"] for item in found["items"]}
    assert changes == {
        "pro-1": "lost",
        "pro-2": "lost",
        "pro-3": "gained",
        "pro-6": "lost",
        "pro-4": "changed",
    }
    assert list(changes)[-1] == "pro-4"
    assert found["items"][1]["b"] == {"value": 0.0, "parsed": None, "response": "정답: None"}


def test_the_table_and_the_items_are_for_people(compare: Callable[..., str]) -> None:
    text = compare("baseline", "lane01_w4", "--only", "lost", "--limit", "2")
    assert "A = baseline, B = lane01_w4" in text
    row = next(line for line in text.splitlines() if "kmmlu_pro" in line)
    assert [cell.strip() for cell in row.split("│")[2:11]] == [
        "7",
        "1",
        "3",
        "1",
        "2",
        "1",
        "3",
        "1",
        "0.625",
    ]
    assert "물음 1? (1) 가 [b]굵게[/b]" in text  # foreign text is no markup
    assert "not parsed  ← 정답: None" in text
    assert "pro-6" not in text and "1 more lost items: --limit 3 shows all." in text
    assert "pro-3" not in text


def test_the_loss_is_held_against_a_margin(compare: Callable[..., str], results: Path) -> None:
    found = json.loads(compare("baseline", "lane01_w4", "--json"))
    test = found["benchmarks"][0]["margin_test"]
    assert (found["margin"], test["verdict"], test["n_items"]) == (0.01, "cannot tell", 7)
    assert test["difference"] == pytest.approx(-2 / 7) and test["margin"] == pytest.approx(0.04 / 7)
    assert found["benchmarks"][1]["margin_test"] is found["perf"] is None
    wide = json.loads(compare("baseline", "baseline", "--json", "--margin", "0.9"))["benchmarks"][0]
    assert wide["margin_test"]["verdict"] == "no worse"
    text = compare("baseline", "lane01_w4", "--limit", "0")
    assert "is B's loss below 1 % of A's value?" in text and "percentage points" in text
    row = next(line for line in text.splitlines() if "cannot tell" in line)
    assert "−28.57" in row and "0.57" in row
    content = {"weights_used": {"kmmlu_pro": 1.0}, "margin": 0.05}
    (results / "ranking.json").write_text(json.dumps(content), encoding="utf-8")
    found = json.loads(compare("baseline", "lane01_w4", "--json"))  # as in the last ranking
    assert found["margin"] == 0.05 and found["perf"]["difference"] == pytest.approx(-2 / 7)
    assert "│ Perf " in compare("baseline", "lane01_w4", "--limit", "0")


def test_folders_of_the_harness_are_compared_alike(compare: Callable[..., str]) -> None:
    a, b = (str(ROOT / "scripts" / "tests" / "lm_eval_samples" / side) for side in "ab")
    chosen = ("--metric", "acc", "--metric", "mini_sum=exact_match", "--filter", "mini_sum=strict-match")
    text = compare(a, b, *chosen)
    assert "mini_sum: exact_match, filter strict-match" in text and "Perf" not in text
    assert "lost  mini_law  9 (9)" in text
    found = json.loads(compare(a, b, "--metric", "acc", "--json", "--benchmark", "mini_law"))
    assert [c["benchmark"] for c in found["benchmarks"]] == ["mini_law"]
    assert found["notes"] and found["benchmarks"][0]["n_lost"] == 1
    with pytest.raises(InputError, match="a lane") as caught:
        compare(a, "lane01_w4")
    assert caught.value.remedy == "name two folders, or two lanes"


def test_a_benchmark_can_be_chosen_and_none_may_differ(compare: Callable[..., str]) -> None:
    text = compare("baseline", "lane01_w4", "--benchmark", "komt_bench")
    assert "kmmlu_pro" not in text and "No different item." in text
    same = compare("baseline", "baseline", "--limit", "0")
    assert "No different item." in same


def test_items_of_one_lane_alone_are_counted(compare: Callable[..., str], results: Path) -> None:
    write_lane(results, "lane03_short", make_rows(1)[1:])
    assert "left out: A 1, B 0" in compare("baseline", "lane03_short")


def test_another_question_under_the_same_id_is_left_out(compare: Callable[..., str], results: Path) -> None:
    rows = make_rows(1)
    rows[1]["question"], rows[3]["gold"], rows[8]["question"] = "다른 물음", "C", "둘째 턴은 다르다"
    write_lane(results, "lane04_other", rows)
    text = compare("baseline", "lane04_other", "--limit", "9")
    line = next(x for x in text.splitlines() if "under the same id, left out" in x)
    assert "left out: 4, e.g. kmmlu_pro pro-1 (1)" in line  # both turns of the item with two
    assert "다른 물음" not in text and "pro-3" not in text
    found = json.loads(compare("baseline", "lane04_other", "--json"))
    assert (found["n_other_questions"], found["benchmarks"][0]["n_items"]) == (4, 5)
    write_lane(results, "lane05_all", [row | {"question": "?"} for row in rows])
    with pytest.raises(InputError, match="under the same ids the two lanes were asked other questions"):
        compare("baseline", "lane05_all")


def test_a_contaminated_lane_is_marked(compare: Callable[..., str], results: Path) -> None:
    assert "⚠" not in compare("baseline", "lane01_w4")
    content = {"lane": "lane01_w4", "contamination": {"kmmlu_pro": 3, "ko_longrag": 0}}
    (results / "lane01_w4" / "metrics.json").write_text(json.dumps(content), encoding="utf-8")
    text = compare("baseline", "lane01_w4")
    assert "B = lane01_w4 ⚠" in text and "text that holds items: 3 of kmmlu_pro" in text
    (results / "lane01_w4" / "metrics.json").write_text("[", encoding="utf-8")
    assert "⚠" not in compare("baseline", "lane01_w4")


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (("baseline", "lane01_w8"), "no lane 'lane01_w8' (did you mean 'lane01_w4'?); there are: baseline"),
        (("baseline", "lane02_old"), "lane02_old/items.parquet: there are no per-item outputs"),
        (("baseline", "lane01_w4", "--benchmark", "kmlu_pro"), "(did you mean 'kmmlu_pro'?)"),
        (("baseline", "broken"), "broken/items.parquet: cannot be read"),
        (("baseline", "lacking"), "lacking/items.parquet: lacks the column value"),
    ],
)
def test_mistakes_are_named_with_a_remedy(
    compare: Callable[..., str], results: Path, options: tuple[str, ...], expected: str
) -> None:
    write_lane(results, "lacking", [{n: v for n, v in row.items() if n != "value"} for row in make_rows(0)])
    (results / "broken").mkdir()
    (results / "broken" / "items.parquet").write_bytes(b"PAR1 no more")
    with pytest.raises(InputError, match=re.escape(expected)) as caught:
        compare(*options)
    assert caught.value.remedy


def test_a_mistake_ends_the_command_without_a_traceback(results: Path) -> None:
    command = [sys.executable, str(ROOT / "scripts" / "compare_lanes.py"), "baseline", "lane9"]
    done = subprocess.run(
        [*command, "--results", str(results)],
        env=make_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: ") and "Traceback" not in done.stderr


def write_screen(results: Path, lane: str, kl: list[float], text: str = "t") -> None:
    screen = ScreenResult(
        n_tokens=20, n_sequences=2, kl_mean=sum(kl) / 20, kl_error=0.1, kl_median=0.0, kl_p99=1.0,
        same_top=0.9 if sum(kl) else 1.0, ppl=2.0, base_ppl=2.0, ppl_ratio=1.0 + sum(kl), text=text,
        sequence_tokens=[10, 10], sequence_kl=kl,
    )  # fmt: skip
    record = LaneRecord(lane=lane, screen=screen)
    (results / lane / "metrics.json").write_text(record.model_dump_json(), encoding="utf-8")


def test_the_screens_stand_beside_each_other_with_their_difference(
    compare: Callable[..., str], results: Path
) -> None:
    assert json.loads(compare("baseline", "lane01_w4", "--json"))["screen"] == {
        "a": None, "b": None, "difference": None,
    }  # fmt: skip
    assert "screen" not in compare("baseline", "lane01_w4")
    write_screen(results, "baseline", [0.0, 0.0])
    write_screen(results, "lane01_w4", [0.4, 0.2])
    text = compare("baseline", "lane01_w4")
    assert "screen, A: KL 0.0000 ± 0.1000, same top-1 100.0%" in text
    assert "screen, B: KL 0.0300 ± 0.1000, same top-1 90.0%, PPL/base 1.6000 (20 held-out tokens)" in text
    assert "screen, B − A: KL +0.0300 ± 0.0100, same top-1 -10.0 points, PPL/base +0.6000" in text
    found = json.loads(compare("baseline", "lane01_w4", "--json"))["screen"]
    assert found["difference"]["kl"] == pytest.approx(0.03) == found["b"]["kl_mean"]
    write_screen(results, "lane01_w4", [0.4, 0.2], "another")
    assert "screen, B − A: not the same text" in compare("baseline", "lane01_w4")
