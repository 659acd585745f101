"""Samples that lm-evaluation-harness 0.4.13 logged, cut to two small tasks: rows, choices and errors."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lanekit.errors import InputError
from ranker.statistics.comparison import count_pairs, pair_lanes
from ranker.statistics.harness_folders import are_folders, load_rows, map_choices

SAMPLES = Path(__file__).parents[4] / "scripts" / "tests" / "lm_eval_samples"
DATES = {"a": "2026-11-28T06-44-51.498004", "b": "2026-11-28T06-46-50.944607"}
CHOSEN = ({"mini_law": "acc"}, {"mini_sum": "flexible-extract"})
Rows = list[list[dict[str, Any]]]


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    shutil.copytree(SAMPLES, tmp_path / "out")
    return tmp_path / "out"


def find(folders: Path, side: str, task: str) -> Path:
    return folders / side / f"samples_{task}_{DATES[side]}.jsonl"


def change(path: Path, line: int, edit: Callable[[dict[str, Any]], object]) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    sample = json.loads(lines[line - 1])
    edit(sample)
    lines[line - 1] = json.dumps(sample, ensure_ascii=False)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def load(folders: Path, notes: list[str] | None = None, task: str = "", chosen: Any = CHOSEN) -> Rows:
    names = [str(folders / side) for side in "ab"]
    metrics, filters = chosen
    return load_rows(names, task, metrics, filters, [] if notes is None else notes)


def test_rows_are_those_of_the_harness(folders: Path) -> None:
    notes: list[str] = []
    a, b = load(folders, notes)
    law, total = a[0], a[12]
    assert (law["benchmark"], law["index"], law["gold"], law["value"], law["parsed"]) == (
        "mini_law", 0, "0", 1.0, "0",
    )  # fmt: skip
    assert law["question"].endswith("정답:") and law["response"].startswith("시효 -4.1008; 상속 -4.5621")
    assert (total["benchmark"], total["gold"], total["parsed"], total["response"], total["value"]) == (
        "mini_sum", "79", "80", "정답: 80", 0.0,
    )  # fmt: skip
    assert (len(a), len(b)) == (22, 22)
    means = [sum(row["value"] for row in side if row["benchmark"] == "mini_sum") / 10 for side in (a, b)]
    assert means == [0.6, 0.7]  # as the harness's own table has them
    assert notes == [
        f"mini_law: acc, filter none, {DATES['a']} and {DATES['b']}",
        f"mini_sum: exact_match, filter flexible-extract, {DATES['a']} and {DATES['b']}",
    ]


def test_counts_flips_and_intervals_come_of_them(folders: Path) -> None:
    law, total = count_pairs(pair_lanes(*load(folders)))
    assert (law.n_items, law.n_lost, law.n_gained, law.test) == (12, 1, 0, "exact McNemar")
    assert (total.n_items, total.n_gained - total.n_lost) == (10, 1)
    assert total.margin_test and total.margin_test.difference == pytest.approx(0.1)
    assert total.margin_test.interval.low < 0 < total.margin_test.interval.high


def test_what_has_to_be_chosen_is_asked_for_all_at_once(folders: Path) -> None:
    with pytest.raises(InputError) as caught:
        load(folders, chosen=({}, {}))
    assert "the task 'mini_law' has 2 metrics on both sides: acc, acc_norm" in caught.value.message
    assert "the task 'mini_sum' has 2 filters on both sides: strict-match" in caught.value.message
    assert "--metric" in caught.value.remedy and "--filter" in caught.value.remedy


@pytest.mark.parametrize(
    ("metrics", "filters", "expected"),
    [
        ({"": "acc_nrm"}, {}, "the task 'mini_law' has no metric 'acc_nrm' (did you mean 'acc_norm'?)"),
        ({"mini_lew": "acc"}, {}, "--metric: no task 'mini_lew' (did you mean 'mini_law'?)"),
        ({}, {"": "strict-match"}, "the task 'mini_law' has no filter 'strict-match'"),
    ],
)
def test_a_choice_that_is_none_is_named(
    folders: Path, metrics: dict[str, str], filters: dict[str, str], expected: str
) -> None:
    with pytest.raises(InputError) as caught:
        load(folders, chosen=(metrics, filters))
    assert expected in caught.value.message and caught.value.remedy


def test_the_newest_of_several_dates_is_taken_and_said(folders: Path) -> None:
    old = folders / "a" / "samples_mini_law_2026-11-27T00-00-00.000001.jsonl"
    shutil.copy(find(folders, "a", "mini_law"), old)
    change(old, 1, lambda sample: sample.update(acc=0.0))
    notes: list[str] = []
    assert load(folders, notes)[0][0]["value"] == 1.0
    assert "mini_law was run more than once; 2026-11-27T00-00-00.000001 is passed over" in notes[0]


def test_documents_that_are_not_the_same_are_named_by_file_and_line(folders: Path) -> None:
    a, b = (find(folders, side, "mini_law") for side in "ab")
    change(b, 3, lambda sample: sample.update(doc_hash="0" * 64))
    change(b, 5, lambda sample: sample.update(target="9"))
    change(b, 7, lambda sample: sample.update(doc_id=99))
    change(a, 12, lambda sample: sample.update(doc_id=10))
    with pytest.raises(InputError) as caught:
        load(folders)
    for expected in (
        f"{a}:3: the document 2 has another doc_hash than in {b}:3",
        f"{a}:7: the document 6 is not in the other folder",
        f"{b}:7: the document 99 is not in the other folder",
        f"{a}:12: the document 10 stands in line 11 already",
        "1 more",
    ):
        assert expected in caught.value.message
    assert "--limit" in caught.value.remedy


def test_a_missing_task_is_named_and_another_can_be_chosen(folders: Path) -> None:
    find(folders, "b", "mini_sum").unlink()
    with pytest.raises(InputError, match="the other folder has no task 'mini_sum'") as caught:
        load(folders)
    assert str(find(folders, "a", "mini_sum")) in caught.value.message
    assert "--benchmark" in caught.value.remedy
    assert len(load(folders, task="mini_law", chosen=({"": "acc"}, {}))[0]) == 12
    with pytest.raises(InputError, match="no samples of the task 'mini_lew'"):
        load(folders, task="mini_lew")


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("{", ":13: not JSON"),
        ('{"doc_id": 1}', ":13: lacks target, arguments, resps"),
        ("[]", ":13: lacks doc_id, target"),
    ],
)
def test_a_malformed_line_is_named(folders: Path, line: str, expected: str) -> None:
    path = find(folders, "a", "mini_law")
    path.write_text(path.read_text(encoding="utf-8") + line + "\n", encoding="utf-8")
    with pytest.raises(InputError) as caught:
        load(folders)
    assert f"{path}{expected}" in caught.value.message and "--log_samples" in caught.value.remedy


def test_files_that_cannot_be_compared_are_told(folders: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"no samples_\*\.jsonl in it"):
        load_rows([str(tmp_path / "empty")] * 2, None, {}, {}, [])
    with pytest.raises(InputError, match="samples of several models lie below it: a, b"):
        load_rows([str(folders)] * 2, None, {}, {}, [])
    find(folders, "a", "mini_law").rename(folders / "a" / "samples_mini_law.jsonl")
    with pytest.raises(InputError, match="its name is not samples_<task>_<date>"):
        load(folders)


def test_a_metric_of_which_less_is_better_is_refused_and_an_unknown_one_said(folders: Path) -> None:
    path = folders / "b" / f"results_{DATES['b']}.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    content["higher_is_better"]["mini_law"]["acc"] = False
    path.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(InputError, match="of mini_law's acc less is better"):
        load(folders)
    path.unlink()
    notes: list[str] = []
    load(folders, notes)
    assert f"mini_law: {path} does not say whether more of acc is better; it is taken to be" in notes


def test_other_prompts_of_the_same_documents_are_said(folders: Path) -> None:
    change(find(folders, "b", "mini_law"), 1, lambda sample: sample.update(prompt_hash="0" * 64))
    notes: list[str] = []
    load(folders, notes)
    assert any(note.startswith("mini_law: 1 documents were put to the two in other words") for note in notes)


def test_a_value_that_is_no_number_is_unknown(folders: Path) -> None:
    change(find(folders, "b", "mini_law"), 1, lambda sample: sample.update(acc=float("nan")))
    pairs = pair_lanes(*load(folders))
    assert pairs[0].b.value is None and pairs[1].b.value is not None


def test_folders_are_told_from_lanes(folders: Path, tmp_path: Path) -> None:
    results = tmp_path / "results"
    (results / "lane01").mkdir(parents=True)
    a, b = str(folders / "a"), str(folders / "b")
    assert are_folders(results, (a, b), ["acc"])
    assert not are_folders(results, ("baseline", "lane01"), [])
    for names, choices, expected in (
        ((a, "lane01"), [], "is a folder of samples, lane01 a lane"),
        ((a, b + "/no"), [], "there is no such folder"),
        (("baseline", "lane01"), ["acc"], "--metric and --filter (acc)"),
    ):
        with pytest.raises(InputError) as caught:
            are_folders(results, names, choices)
        assert expected in caught.value.message and caught.value.remedy


def test_choices_are_for_a_task_or_for_all() -> None:
    assert map_choices(["acc", "gsm8k=exact_match"]) == {"": "acc", "gsm8k": "exact_match"}
