"""Reading data: real schemas in JSONL and Parquet, and errors that name the place."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lanekit.conversations import read_conversations
from lanekit.errors import InputError
from lanekit.params import PrepareBenchmarksParams, PrepareCorpusParams, Source
from lanekit.progress import ignore_progress
from trainer.rows import read_rows
from trainer.stages import prepare_benchmarks, prepare_corpus

CHOICE = {"question": "무엇인가?", "options": ["가", "나", "다", "라", "마"], "solution": "5"}
TALK = [{"role": "user", "content": "안녕?"}, {"role": "assistant", "content": "안녕하세요."}]


def write_lines(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in rows), encoding="utf-8")
    return path


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


def test_limit_keeps_the_first_rows(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "a.jsonl", [{**CHOICE, "question": str(i)} for i in range(9)])
    assert [r["question"] for r in read_rows(Source(source=str(path)), "kmmlu_pro", 2)] == ["0", "1"]


def test_a_sample_is_seeded_and_reaches_beyond_the_first_rows(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "a.jsonl", [{**CHOICE, "question": str(i)} for i in range(50)])
    first, again, other = (
        [r["question"] for r in read_rows(Source(source=str(path)), "kmmlu_pro", 10, sample_seed=seed)]
        for seed in (42, 42, 7)
    )
    assert first == again != other
    assert len(set(first)) == 10
    assert max(map(int, first)) >= 10


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


def test_the_corpus_is_split_by_the_seed_without_overlap(tmp_path: Path) -> None:
    rows = [
        {"conversations": [{"role": "user", "content": f"질문 {i}"}, *TALK[1:]], "complexity": 1.0}
        for i in range(10)
    ]
    path = write_lines(tmp_path / "manta.jsonl", rows)
    parts: dict[int, dict[str, list[str]]] = {}
    for seed in (42, 42, 7):
        out = tmp_path / f"out-{len(list(tmp_path.glob('out-*')))}"
        out.mkdir()
        prepare_corpus.run(make_corpus_spec(path, seed=seed), {}, out, ignore_progress)
        found = {
            name: [c[0]["content"] for c in read_conversations(out / f"{name}.jsonl")]
            for name in ("train", "validation", "calibration")
        }
        if seed in parts:
            assert found == parts[seed]
        parts[seed] = found
    assert parts[42] != parts[7]
    assert len(parts[42]["train"]) == 6
    assert len(parts[42]["validation"]) == 2
    assert not set(parts[42]["train"]) & set(parts[42]["validation"])
    assert set(parts[42]["calibration"]) < set(parts[42]["train"])


def test_faulty_conversations_are_left_out_and_counted(tmp_path: Path) -> None:
    rows = [{"conversations": TALK, "complexity": 1.0}] * 8
    faulty = [
        {"conversations": TALK[:1], "complexity": 1.0},
        {"conversations": [{"role": "narrator", "content": "x"}, *TALK], "complexity": 1.0},
    ]
    path = write_lines(tmp_path / "manta.jsonl", [*faulty, *rows])
    prepare_corpus.run(make_corpus_spec(path), {}, tmp_path, ignore_progress)
    report = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert sum(report["refused"].values()) == 2
    assert "it does not end with an answer of the assistant" in report["refused"]


def test_too_small_a_corpus_says_how_many_rows_there_are(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "manta.jsonl", [{"conversations": TALK, "complexity": 1.0}] * 4)
    with pytest.raises(InputError, match="8 conversations are asked for, 4 of 4 rows read are usable"):
        prepare_corpus.run(make_corpus_spec(path), {}, tmp_path, ignore_progress)


def test_benchmarks_are_laid_out_in_their_schemas(data_folder: Path, tmp_path: Path) -> None:
    names = ("kmmlu_pro", "kmmlu_redux", "ko_longrag", "komt_bench")
    sets = {name: {"source": str(data_folder / f"{name}.jsonl")} for name in names}
    spec = PrepareBenchmarksParams.model_validate({"sets": sets, "limit_items": 3})
    prepare_benchmarks.run(spec, {}, tmp_path, ignore_progress)
    for name in names:
        source = (data_folder / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
        stored = (tmp_path / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
        assert [json.loads(x) for x in stored] == [json.loads(x) for x in source[:3]]
