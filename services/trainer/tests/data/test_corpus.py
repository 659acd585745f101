"""Reading data: real schemas in JSONL and Parquet, and errors that name the place."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lanekit.errors import InputError
from lanekit.files.conversations import read_conversations, read_json_lines
from lanekit.progress import ignore_progress
from lanekit.spec.params import PrepareBenchmarksParams, PrepareCorpusParams, Source
from trainer.data.rows import iterate_rows, sample_rows
from trainer.stages import prepare_benchmarks, prepare_corpus

CHOICE = {"question": "무엇인가?", "options": ["가", "나", "다", "라", "마"], "solution": "5"}
TALK = [{"role": "user", "content": "안녕?"}, {"role": "assistant", "content": "안녕하세요."}]


def write_lines(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in rows), encoding="utf-8")
    return path


def read_rows(source: Source, name: str) -> list[dict[str, Any]]:
    return [row for _, row in iterate_rows(source, name)]


def make_corpus_spec(path: Path, **changes: Any) -> PrepareCorpusParams:
    values = {"train_rows": 6, "validation_rows": 2, "calibration_rows": 3, **changes}
    return PrepareCorpusParams.model_validate({"corpus": {"source": str(path)}, **values})


def test_jsonl_and_parquet_give_the_same_rows(tmp_path: Path) -> None:
    rows = [{**CHOICE, "question": f"문항 {i}"} for i in range(5)]
    jsonl = write_lines(tmp_path / "a.jsonl", rows)
    parquet = tmp_path / "b.parquet"
    pq.write_table(pa.Table.from_pylist(rows), parquet)
    first = read_rows(Source(source=str(jsonl)), "kmmlu_pro")
    second = read_rows(Source(source=str(parquet)), "kmmlu_pro")
    assert first == second == rows


def test_a_folder_is_read_in_the_order_of_its_files(tmp_path: Path) -> None:
    for number in (2, 1):
        write_lines(tmp_path / f"part-{number}.jsonl", [{**CHOICE, "question": str(number)}])
    rows = read_rows(Source(source=str(tmp_path)), "kmmlu_pro")
    assert [r["question"] for r in rows] == ["1", "2"]


@pytest.mark.parametrize("suffix", ["jsonl", "parquet", ""])
def test_a_sample_is_seeded_and_the_same_in_every_format(tmp_path: Path, suffix: str) -> None:
    rows = [{**CHOICE, "question": str(i)} for i in range(50)]
    path = tmp_path / f"a.{suffix}"
    if suffix == "jsonl":
        write_lines(path, rows)
        path.write_text(path.read_text(encoding="utf-8").replace("\n", "\n\n"), encoding="utf-8")
    elif suffix == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=7)
    else:
        path = tmp_path / "folder"
        path.mkdir()
        write_lines(path / "1.jsonl", rows[:20])
        pq.write_table(pa.Table.from_pylist(rows[20:]), path / "2.parquet")
    first, again, other = (
        sample_rows(Source(source=str(path)), "kmmlu_pro", 10, seed) for seed in (42, 42, 7)
    )
    assert first == again != other
    numbers, sample, total = first
    assert total == 50
    assert [int(r["question"]) + 1 for r in sample] == numbers
    assert len(set(numbers)) == 10
    assert numbers == [41, 8, 2, 18, 16, 15, 9, 7, 35, 6]
    assert sample_rows(Source(source=str(path)), "kmmlu_pro", 99, 1)[2] == 50


def test_lines_outside_the_sample_are_not_held(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    text = json.dumps({"conversations": [{**TALK[0], "content": "가" * 2000}, TALK[1]], "complexity": 1.0})
    path.write_text((text + "\n") * 4000, encoding="utf-8")
    size = path.stat().st_size
    tracemalloc.start()
    _, rows, total = sample_rows(Source(source=str(path)), "manta", 20, 42)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (len(rows), total) == (20, 4000)
    assert peak < size / 20


def test_the_expected_number_of_rows_is_checked_where_it_is_given(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "a.jsonl", [CHOICE] * 3)
    assert len(read_rows(Source(source=str(path), rows=3), "kmmlu_pro")) == 3
    with pytest.raises(InputError, match="3 rows, 2822 are expected"):
        read_rows(Source(source=str(path), rows=2822), "kmmlu_pro")


def test_a_missing_column_names_file_line_and_the_likely_one(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "a.jsonl", [CHOICE, {"question": "?", "options": [], "solutions": "1"}])
    with pytest.raises(InputError) as caught:
        read_rows(Source(source=str(path)), "kmmlu_redux")
    assert f"{path}:2: the column 'solution' is missing (did you mean 'solutions'?)" in str(caught.value)
    assert "needs question, options, solution" in str(caught.value)


def test_a_missing_column_of_a_parquet_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.Table.from_pylist([{"conversations": TALK}]), path)
    with pytest.raises(InputError, match=r"a\.parquet: the column 'complexity' is missing"):
        read_rows(Source(source=str(path)), "manta")


def test_bad_json_names_its_line(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps(CHOICE) + "\n{broken\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"a\.jsonl:2: not valid JSON"):
        read_rows(Source(source=str(path)), "kmmlu_pro")


def test_a_truncated_parquet_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.Table.from_pylist([CHOICE] * 50), path)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(InputError, match="not a readable Parquet file"):
        read_rows(Source(source=str(path)), "kmmlu_pro")


def test_a_missing_path_is_refused() -> None:
    with pytest.raises(InputError, match=r"/nowhere/x\.jsonl: no such file"):
        read_rows(Source(source="/nowhere/x.jsonl"), "manta")


@pytest.fixture
def inputs(tiny_model: Path, data_folder: Path) -> dict[str, Path]:
    return {"model": tiny_model, "suite": data_folder}


def test_the_corpus_is_split_by_the_seed_without_overlap(tmp_path: Path, inputs: dict[str, Path]) -> None:
    rows = [
        {"conversations": [{"role": "user", "content": f"질문 {i}"}, *TALK[1:]], "complexity": 1.0}
        for i in range(10)
    ]
    again = {"conversations": [{"role": "user", "content": "질문  3 "}, *TALK[1:]], "complexity": 2.0}
    path = write_lines(tmp_path / "manta.jsonl", [*rows, again])
    parts: dict[int, dict[str, list[str]]] = {}
    for seed in (42, 42, 7):
        out = tmp_path / f"out-{len(list(tmp_path.glob('out-*')))}"
        out.mkdir()
        prepare_corpus.run(make_corpus_spec(path, seed=seed), inputs, out, ignore_progress)
        found = {
            name: [" ".join(c[0]["content"].split()) for c in read_conversations(out / f"{name}.jsonl")]
            for name in ("train", "validation", "calibration")
        }
        if seed in parts:
            assert found == parts[seed]
        parts[seed] = found
        report = json.loads((out / "report.json").read_text(encoding="utf-8"))
        assert report["duplicates"] == 1
    assert parts[42] != parts[7]
    assert len(set(parts[42]["train"])) == 6
    assert len(set(parts[42]["validation"])) == 2
    assert not set(parts[42]["train"]) & set(parts[42]["validation"])
    assert set(parts[42]["calibration"]) < set(parts[42]["train"])


def test_faulty_conversations_are_left_out_and_counted(tmp_path: Path, inputs: dict[str, Path]) -> None:
    rows = [
        {"conversations": [{**TALK[0], "content": f"안녕 {i}?"}, TALK[1]], "complexity": 1.0}
        for i in range(8)
    ]
    faulty = [
        {"conversations": TALK[:1], "complexity": 1.0},
        {"conversations": [{"role": "narrator", "content": "x"}, *TALK], "complexity": 1.0},
        {"conversations": TALK, "complexity": None},
    ]
    path = write_lines(tmp_path / "manta.jsonl", [*faulty, *rows])
    prepare_corpus.run(make_corpus_spec(path), inputs, tmp_path, ignore_progress)
    report = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert sum(report["refused"].values()) == 3
    assert "it does not end with an answer of the assistant" in report["refused"]
    assert "its complexity is not a number" in report["refused"]


def test_the_sample_grows_until_it_has_enough_usable_rows(tmp_path: Path, inputs: dict[str, Path]) -> None:
    rows = [
        {"conversations": [{**TALK[0], "content": f"안녕 {i % 9}?"}, TALK[1]], "complexity": 1.0}
        for i in range(200)
    ]
    path = write_lines(tmp_path / "manta.jsonl", rows)
    spec = make_corpus_spec(path, train_rows=7, validation_rows=2)
    prepare_corpus.run(spec, inputs, tmp_path, ignore_progress)
    assert len(read_conversations(tmp_path / "train.jsonl")) == 7
    report = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert report["rows"] - report["duplicates"] == 9


def test_too_small_a_corpus_says_how_many_rows_there_are(tmp_path: Path, inputs: dict[str, Path]) -> None:
    path = write_lines(tmp_path / "manta.jsonl", [{"conversations": TALK, "complexity": 1.0}] * 4)
    wanted = r"8 conversations are asked for, 1 of 4 rows can be used \(duplicates: 3\)"
    with pytest.raises(InputError, match=wanted):
        prepare_corpus.run(make_corpus_spec(path), inputs, tmp_path, ignore_progress)


def test_benchmarks_are_laid_out_in_their_schemas(data_folder: Path, tmp_path: Path) -> None:
    names = ("kmmlu_pro", "kmmlu_redux", "ko_longrag", "komt_bench")
    sets = {name: {"source": str(data_folder / f"{name}.jsonl")} for name in names}
    spec = PrepareBenchmarksParams.model_validate({"sets": sets})
    prepare_benchmarks.run(spec, {}, tmp_path, ignore_progress)
    for name in names:
        assert list(read_json_lines(tmp_path / f"{name}.jsonl")) == list(
            read_json_lines(data_folder / f"{name}.jsonl")
        )


DOCUMENT = {
    "id": "1", "titles": "가", "context": "나", "question": "다?", "answer": "라", "task": "single",
    "prompt": "{context} {question}",
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "row", "problem"),
    [
        ("kmmlu_pro", {**CHOICE, "solution": "6"}, "'solution': must lie between 1 and 5"),
        ("kmmlu_pro", {**CHOICE, "solution": "0"}, "'solution': must lie between 1 and 5"),
        ("kmmlu_redux", {**CHOICE, "solution": 1}, "'solution': must be a 1-based number as text"),
        ("kmmlu_redux", {**CHOICE, "options": ["가"]}, "'options': must be a list of 4 or 5 texts"),
        ("kmmlu_redux", {**CHOICE, "options": ["가", "나", "다", " "]}, "'options': an option is empty"),
        ("kmmlu_pro", {**CHOICE, "question": ""}, "'question': must be a text that is not empty"),
        ("ko_longrag", {**DOCUMENT, "prompt": "{context}"}, "'prompt': the template lacks {question}"),
        ("ko_longrag", {**DOCUMENT, "answer": None}, "'answer': must be a text"),
        ("ko_longrag", {**DOCUMENT, "context": 3}, "'context': must be a text or a list of texts"),
        ("komt_bench", {"turns": [], "reference": None}, "'turns': must be a list of 2 texts"),
    ],
)
def test_a_row_that_cannot_be_asked_is_refused_with_its_line(
    tmp_path: Path, name: str, row: dict[str, Any], problem: str
) -> None:
    good = {"ko_longrag": DOCUMENT, "komt_bench": {"turns": ["가", "나"], "reference": None}}.get(
        name, CHOICE
    )
    path = write_lines(tmp_path / "set.jsonl", [good, row])
    spec = PrepareBenchmarksParams.model_validate({"sets": {name: {"source": str(path)}}})
    with pytest.raises(InputError) as caught:
        prepare_benchmarks.run(spec, {}, tmp_path, ignore_progress)
    assert f"{path}:2: column {problem}" in str(caught.value)
