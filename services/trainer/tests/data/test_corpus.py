"""Reading data: real schemas in JSONL and Parquet, and errors that name the place."""

from __future__ import annotations

import json
import re
import shutil
import tracemalloc
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lanekit.errors import InputError
from lanekit.files.conversations import read_conversations
from lanekit.files.json_lines import RowFault, read_json_lines
from lanekit.progress import ignore_progress
from lanekit.spec.params import PrepareBenchmarksParams, PrepareCorpusParams, Source
from lanekit.spec.rows import parse_row
from trainer.data.rows import iterate_rows, sample_rows
from trainer.stages import prepare_benchmarks, prepare_corpus

CHOICE = {"question": "무엇인가?", "options": ["가", "나", "다", "라", "마"], "solution": "5"}
TALK = [{"role": "user", "content": "안녕?"}, {"role": "assistant", "content": "안녕하세요."}]


def write_lines(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in rows), encoding="utf-8")
    return path


def read_rows(source: Source, name: str) -> list[dict[str, Any]]:
    """Return the rows; a row that cannot be read is an error, as it is for a benchmark."""
    rows = []
    for where, row in iterate_rows(source, name):
        if isinstance(row, RowFault):
            raise row.as_error(where)
        rows.append(row)
    return rows


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
    assert first.n_source == 50
    assert [int(r["question"]) + 1 for r in first.rows if isinstance(r, dict)] == first.numbers
    assert len(set(first.numbers)) == 10
    line = 2 * first.numbers[0] - 1 if suffix == "jsonl" else 0  # every other line is empty
    expected = {"jsonl": f"a.jsonl:{line}", "parquet": "a.parquet: row 41", "": "2.parquet: row 21"}
    assert first.places[0].endswith("/" + expected[suffix])
    assert first.numbers == [41, 8, 2, 18, 16, 15, 9, 7, 35, 6]
    assert sample_rows(Source(source=str(path)), "kmmlu_pro", 99, 1).n_source == 50


def test_lines_outside_the_sample_are_not_held(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    text = json.dumps({"conversations": [{**TALK[0], "content": "가" * 2000}, TALK[1]], "complexity": 1.0})
    path.write_text((text + "\n") * 4000, encoding="utf-8")
    size = path.stat().st_size
    tracemalloc.start()
    sample = sample_rows(Source(source=str(path)), "manta", 20, 42)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (len(sample.rows), sample.n_source) == (20, 4000)
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


@pytest.mark.parametrize("content", [b"", b"PAR1", b"question,options\n", b"PAR1" + bytes(64) + b"PAR1"])
def test_what_is_no_parquet_is_refused_by_both_stages(
    tmp_path: Path, inputs: dict[str, Path], content: bytes
) -> None:
    path = tmp_path / "a.parquet"
    path.write_bytes(content)
    sets = PrepareBenchmarksParams.model_validate({"sets": {"kmmlu_pro": {"source": str(path)}}})
    for run in (
        lambda: prepare_benchmarks.run(sets, {}, tmp_path, ignore_progress),
        lambda: prepare_corpus.run(make_corpus_spec(path), inputs, tmp_path, ignore_progress),
    ):
        with pytest.raises(InputError, match=r"a\.parquet: not a readable Parquet file") as caught:
            run()
        assert caught.value.remedy


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


def make_talk(number: int, **changes: Any) -> dict[str, Any]:
    talk = [{"role": "user", "content": f"안녕 {number}?"}, TALK[1]]
    return {"conversations": talk, "complexity": 1.0, **changes}


def prepare(path: Path, inputs: dict[str, Path], out: Path, **changes: Any) -> dict[str, Any]:
    out.mkdir(exist_ok=True)
    prepare_corpus.run(make_corpus_spec(path, **changes), inputs, out, ignore_progress)
    report: dict[str, Any] = json.loads((out / "report.json").read_text(encoding="utf-8"))
    return report


HUGE = "1" + "0" * 400
NOT_A_NUMBER = "its complexity is not a number"


@pytest.mark.parametrize(
    ("complexity", "reason"),
    [
        (HUGE, NOT_A_NUMBER), ("-" + HUGE, NOT_A_NUMBER), ("1e200", NOT_A_NUMBER), ("Infinity", NOT_A_NUMBER),
        ("-Infinity", NOT_A_NUMBER), ("NaN", NOT_A_NUMBER), ("null", NOT_A_NUMBER), ("true", NOT_A_NUMBER),
        ('"2.63"', NOT_A_NUMBER), ("[1]", NOT_A_NUMBER), ("9" * 5000, "holds a number that cannot be read"),
    ],
    ids=lambda value: value[:12],
)  # fmt: skip
def test_a_number_that_is_none_leaves_its_row_out(
    tmp_path: Path, inputs: dict[str, Path], complexity: str, reason: str
) -> None:
    path = write_lines(tmp_path / "manta.jsonl", [make_talk(i) for i in range(8)])
    bad = json.dumps(make_talk(99), ensure_ascii=False).replace("1.0", complexity)
    path.write_text(path.read_text(encoding="utf-8") + bad + "\n", encoding="utf-8")
    report = prepare(path, inputs, tmp_path / "out")
    assert report["refused"] == {reason: 1}
    assert report["notes"] == [f"manta: of 9 rows read, left out: {reason}: 1"]
    for part in ("train", "validation", "calibration"):
        for _, row in read_json_lines(tmp_path / "out" / f"{part}.jsonl"):
            assert row["complexity"] == 1.0


BROKEN_LINES = {
    "not valid JSON": b"{broken",
    "not UTF-8": '{"conversations": "안녕"}'.encode("cp949"),
    "holds half a character": b'{"conversations": "\\ud800", "complexity": 1.0}',
    "not a JSON object": b"[1, 2]",
    "nested too deeply": b"[" * 100_000,
    "the column 'complexity' is missing": b'{"conversations": []}',
    "it is not a list of messages": b'{"conversations": "x", "complexity": 1.0}',
}


@pytest.mark.parametrize("reason", BROKEN_LINES)
def test_a_broken_row_of_the_corpus_is_left_out_and_counted(
    tmp_path: Path, inputs: dict[str, Path], reason: str
) -> None:
    path = write_lines(tmp_path / "manta.jsonl", [make_talk(i) for i in range(8)])
    path.write_bytes(path.read_bytes() + BROKEN_LINES[reason] + b"\n")
    assert prepare(path, inputs, tmp_path / "out")["refused"] == {reason: 1}


def test_conversations_that_train_nothing_are_left_out_and_counted(
    tmp_path: Path, inputs: dict[str, Path]
) -> None:
    lone = [{"conversations": [{**TALK[1], "content": f"답 {i}"}], "complexity": 1.0} for i in range(12)]
    told = [{"conversations": [{"role": "system", "content": f"너는 {i}"}, TALK[1]], "complexity": 1.0}
            for i in range(3)]  # fmt: skip
    path = write_lines(tmp_path / "manta.jsonl", [*lone, *told, *(make_talk(i) for i in range(8))])
    report = prepare(path, inputs, tmp_path / "out")
    assert report["refused"] == {"nobody asks: it has no message of the user": 15}
    assert (report["train_rows"], report["validation_rows"]) == (6, 2)
    with pytest.raises(InputError, match="nobody asks") as caught:
        prepare(path, inputs, tmp_path / "out", train_rows=10)
    assert "message of the user" in caught.value.remedy


def test_a_row_that_the_chat_template_refuses_is_left_out_and_counted(
    tmp_path: Path, tiny_model: Path, data_folder: Path
) -> None:
    model = tmp_path / "model"
    shutil.copytree(tiny_model, model)
    template = model / "chat_template.jinja"
    refusal = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system') }}{% endif %}"
    template.write_text(refusal + template.read_text(encoding="utf-8"), encoding="utf-8")
    opening = {"role": "system", "content": "너"}
    talks = [make_talk(i) for i in range(16)]
    for talk in talks[:8]:
        talk["conversations"] = [opening, *talk["conversations"]]
    path = write_lines(tmp_path / "manta.jsonl", talks)
    report = prepare(path, {"model": model, "suite": data_folder}, tmp_path / "out")
    assert set(report["refused"]) == {"the model's chat template does not take it"}
    assert (report["train_rows"], report["validation_rows"]) == (6, 2)
    assert not any(talk[0] == opening for talk in read_conversations(tmp_path / "out" / "train.jsonl"))


@pytest.mark.parametrize(
    ("talk", "found"),
    [
        ([{"from": "human", "value": "안녕?"}, {"from": "gpt", "value": "네"}], "found {from, value}"),
        ([{"role": "user", "content": [{"type": "text", "text": "안녕?"}]}, TALK[1]], '"type": "text"'),
        ([TALK[0], {"role": "tool", "content": "3"}, TALK[1]], 'its role "tool"'),
        (json.dumps(TALK), "(str)"),
    ],
    ids=["sharegpt", "parts", "tool", "text"],
)
def test_where_most_rows_have_another_form_the_remedy_is_the_form(
    tmp_path: Path, inputs: dict[str, Path], talk: Any, found: str
) -> None:
    path = write_lines(tmp_path / "manta.jsonl", [make_talk(i, conversations=talk) for i in range(20)])
    with pytest.raises(
        InputError, match=r"8 conversations are asked for, 0 of 20 rows can be used"
    ) as caught:
        prepare(path, inputs, tmp_path / "out")
    assert found in caught.value.remedy
    number, place = re.match(r"row (\d+) \((.*?)\)", caught.value.remedy).groups()  # type: ignore[union-attr]
    assert place == f"{path}:{number}" and '{"role": …, "content": …}' in caught.value.remedy
    assert "lower" not in caught.value.remedy


def test_where_few_rows_are_bad_the_remedy_says_how_many_there_are(
    tmp_path: Path, inputs: dict[str, Path]
) -> None:
    rows = [make_talk(i) for i in range(7)] + [make_talk(9, complexity="2.63")]
    with pytest.raises(InputError, match=f"{NOT_A_NUMBER}: 1") as caught:
        prepare(write_lines(tmp_path / "manta.jsonl", rows), inputs, tmp_path / "out")
    assert "to 7 in all" in caught.value.remedy and "'2.63' (str)" in caught.value.remedy


@pytest.mark.parametrize(
    ("kind", "fault"),
    [
        (pa.decimal128(10, 4), ""), (pa.int64(), ""), (pa.float16(), ""), (pa.float32(), ""),
        (pa.string(), "(str)"),
        (pa.bool_(), "(bool)"),
    ],
    ids=str,
)  # fmt: skip
def test_complexity_is_read_from_every_column_type_of_numbers(
    tmp_path: Path, inputs: dict[str, Path], kind: pa.DataType, fault: str
) -> None:
    table = pa.Table.from_pylist([make_talk(i) for i in range(8)])
    values: list[Any] = [2] * 8
    if pa.types.is_float16(kind):
        values = list(np.full(8, 2, np.float16))
    elif pa.types.is_string(kind):
        values = ["2.63"] * 8
    elif pa.types.is_boolean(kind):
        values = [True] * 8
    elif pa.types.is_decimal(kind):
        values = [Decimal(2)] * 8
    column = pa.array(values, kind)
    path = tmp_path / "manta.parquet"
    pq.write_table(table.set_column(table.schema.get_field_index("complexity"), "complexity", column), path)
    if not fault:
        assert prepare(path, inputs, tmp_path / "out")["refused"] == {}
        row = next(row for _, row in read_json_lines(tmp_path / "out" / "train.jsonl"))
        assert row["complexity"] == 2.0
        return
    with pytest.raises(InputError, match=f"{NOT_A_NUMBER}: 8") as caught:
        prepare(path, inputs, tmp_path / "out")
    assert fault in caught.value.remedy and "lower" not in caught.value.remedy


def test_dictionary_and_large_columns_are_read(tmp_path: Path) -> None:
    rows = [{**CHOICE, "question": f"문항 {i}"} for i in range(3)]
    table = pa.table(
        {
            "question": pa.array([r["question"] for r in rows]).dictionary_encode(),
            "options": pa.array([r["options"] for r in rows], pa.large_list(pa.large_string())),
            "solution": pa.array([r["solution"] for r in rows], pa.large_string()),
        }
    )
    pq.write_table(table, tmp_path / "a.parquet")
    assert read_rows(Source(source=str(tmp_path / "a.parquet")), "kmmlu_pro") == rows


def test_hidden_files_and_metadata_are_no_rows(tmp_path: Path) -> None:
    folder = tmp_path / "hubset"
    (folder / ".cache" / "huggingface").mkdir(parents=True)
    (folder / ".ipynb_checkpoints").mkdir()
    write_lines(folder / "test.jsonl", [CHOICE])
    (folder / "._test.jsonl").write_bytes(b"\x00\x05\x16\x07")
    (folder / ".cache" / "huggingface" / "trash.json").write_text("{}")
    write_lines(folder / ".ipynb_checkpoints" / "test-checkpoint.jsonl", [CHOICE])
    (folder / "dataset_infos.json").write_text('{\n  "default": {}\n}\n')
    (folder / "README.md").write_text("x")
    (folder / "more.csv").write_text("x")
    assert read_rows(Source(source=str(folder)), "kmmlu_pro") == [CHOICE]
    out = tmp_path / "out"
    out.mkdir()
    spec = PrepareBenchmarksParams.model_validate({"sets": {"kmmlu_pro": {"source": str(folder)}}})
    prepare_benchmarks.run(spec, {}, out, ignore_progress)
    assert json.loads((out / "report.json").read_text(encoding="utf-8"))["notes"] == [
        "kmmlu_pro: passed over (metadata of the data set): dataset_infos.json",
        "kmmlu_pro: passed over (not .jsonl, .json, .parquet): more.csv",
    ]


def test_an_array_of_rows_is_refused_in_its_own_words(tmp_path: Path) -> None:
    path = tmp_path / "k_arr.json"
    path.write_text(json.dumps([CHOICE] * 3, indent=2), encoding="utf-8")
    with pytest.raises(
        InputError, match="a JSON array, where one JSON object on each line is needed"
    ) as caught:
        read_rows(Source(source=str(path)), "kmmlu_pro")
    assert "k_arr.jsonl" in caught.value.remedy


def prepare_set(tmp_path: Path, name: str, rows: list[dict[str, Any]]) -> dict[str, Any]:
    path = write_lines(tmp_path / f"{name}.jsonl", rows)
    out = tmp_path / "out"
    out.mkdir()
    spec = PrepareBenchmarksParams.model_validate({"sets": {name: {"source": str(path)}}})
    prepare_benchmarks.run(spec, {}, out, ignore_progress)
    report: dict[str, Any] = json.loads((out / "report.json").read_text(encoding="utf-8"))
    return report


def test_equal_options_and_repeated_questions_are_counted_and_told(tmp_path: Path) -> None:
    other = {**CHOICE, "options": ["a", "b", "c", "d"], "solution": "1"}
    rows = [
        CHOICE,
        {**CHOICE, "question": "같은 것?", "options": ["가", "가 ", " 가", "가"], "solution": "1"},
        {**CHOICE, "question": "무엇인가? "},
        other,
        {**CHOICE, "question": "x² 은?", "options": ["x²", "x2", "x", "y", "z"]},
        {**CHOICE, "question": "영\x00?"},
    ]
    report = prepare_set(tmp_path, "kmmlu_pro", rows)
    assert report["rows"] == {"kmmlu_pro": 6}
    assert report["notes"] == [
        "kmmlu_pro: 1 row have equal options (cannot be answered for certain): kmmlu_pro.jsonl:2",
        "kmmlu_pro: 1 row repeat an earlier row's question and all that goes with it: kmmlu_pro.jsonl:3",
        "kmmlu_pro: 1 row ask an earlier row's question with other options or documents: kmmlu_pro.jsonl:4",
        "kmmlu_pro: 1 row hold control characters in the question: kmmlu_pro.jsonl:6",
    ]


def test_repeated_ids_and_tasks_of_null_are_counted_and_told(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        DOCUMENT,
        {**DOCUMENT, "question": "마?", "task": None},
        {**DOCUMENT, "id": None, "question": "바?"},
    ]
    report = prepare_set(tmp_path, "ko_longrag", rows)
    assert report["findings"]["ko_longrag"] == {"have no task": 1, "repeat an earlier row's id": 1}
    assert parse_row("ko_longrag", rows[1], "x:2").task == ""  # type: ignore[union-attr]


def test_rows_without_an_id_repeat_none(tmp_path: Path) -> None:
    rows = [{"turns": ["가", "나"], "reference": None}, {"turns": ["다", "라"], "reference": None}]
    assert "notes" not in prepare_set(tmp_path, "komt_bench", rows)


def test_all_bad_rows_of_a_benchmark_are_named_at_once(tmp_path: Path) -> None:
    rows = [CHOICE, *[{**CHOICE, "solution": "9"}] * 6, {**CHOICE, "solution": "1" * 5000}]
    with pytest.raises(InputError, match="7 rows of the benchmark sets cannot be used") as caught:
        prepare_set(tmp_path, "kmmlu_pro", rows)
    assert all(f"kmmlu_pro.jsonl:{n}: column 'solution'" in caught.value.message for n in range(2, 7))
    assert "and 2 more rows" in caught.value.message and caught.value.remedy


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
