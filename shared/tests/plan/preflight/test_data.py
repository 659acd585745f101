"""The rows of the data sets before the first stage: counted in every form, read by the stages' readers."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from preflight_bench import N_CORPUS_ROWS, SAMPLE_ROWS, Bench, make_row, write_rows

from lanekit.commands.preflight import Asked, collect_findings, read_inputs
from lanekit.commands.setup.needs import check_preflight
from lanekit.plan.preflight.finding import Finding
from lanekit.spec.corpus_rows import FIRST_ROWS, look_at_rows

Row = dict[str, Any]
SHAREGPT = [{"from": "human", "value": "안녕?"}, {"from": "gpt", "value": "네"}]
N_ASKED = 208  # by the bench's experiment


@pytest.fixture
def trained(bench: Bench) -> Bench:
    """An experiment that trains, so that the corpus is read."""
    bench.write_lane("lane01_x", "sft")
    return bench


def make_rows(name: str, count: int) -> list[Row]:
    return [make_row(name, number) for number in range(count)]


def write_parquet(path: Path, rows: Iterable[Row], **options: Any) -> Path:
    pq.write_table(pa.Table.from_pylist(list(rows)), path, **options)
    return path


def set_source(bench: Bench, name: str, path: Path, **more: Any) -> None:
    bench.change(lambda s: s["data"][name].update(source=str(path), **more))


def spoil(bench: Bench, name: str, changes: dict[int, Row]) -> None:
    """Change rows, by their line, of a set's JSON-lines file."""
    path = bench.folder / f"{name}.jsonl"
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    for line, change in changes.items():
        rows[line - 1] |= change
    write_rows(path, rows)


def put_jsonl(folder: Path, rows: list[Row]) -> Path:
    path = write_rows(folder / "a.jsonl", rows)
    path.write_text(path.read_text(encoding="utf-8").replace("\n", "\n\n"), encoding="utf-8")
    return path


def put_json(folder: Path, rows: list[Row]) -> Path:
    return write_rows(folder / "a.json", rows)


def put_parquet(folder: Path, rows: list[Row]) -> Path:
    return write_parquet(folder / "a.parquet", rows, row_group_size=7)


def put_folder(folder: Path, rows: list[Row]) -> Path:
    """Lay the rows out as the split `test` in two files of two forms, beside another split and metadata."""
    home = folder / "set"
    (home / "data").mkdir(parents=True)
    half = len(rows) // 2
    write_rows(home / "data" / "test-1.jsonl", rows[:half])
    write_parquet(home / "data" / "test-2.parquet", rows[half:])
    write_rows(home / "data" / "train-1.jsonl", rows * 3)
    (home / "dataset_infos.json").write_text("{}", encoding="utf-8")
    return home


FORMS = [put_jsonl, put_json, put_parquet, put_folder]


@pytest.mark.parametrize("put", FORMS)
def test_rows_of_every_form_are_counted(bench: Bench, put: Callable[[Path, list[Row]], Path]) -> None:
    path = put(bench.folder, make_rows("kmmlu_pro", SAMPLE_ROWS))
    set_source(bench, "kmmlu_pro", path, rows=13, split="test")
    (text,) = bench.list_texts()
    assert f"{path.name} has 12 rows, the published set has 13" in text
    set_source(bench, "kmmlu_pro", path, rows=12)
    assert bench.collect() == []


@pytest.mark.parametrize("put", FORMS)
def test_fewer_conversations_than_asked_are_told_of_every_form(
    trained: Bench, put: Callable[[Path, list[Row]], Path]
) -> None:
    path = put(trained.folder, make_rows("manta", N_ASKED - 1))
    set_source(trained, "manta", path, split="test")
    (text,) = trained.list_texts()
    assert f"{N_ASKED} conversations are asked for" in text and f"has {N_ASKED - 1} rows" in text


def test_a_corpus_that_no_stage_reads_is_counted_alone(bench: Bench) -> None:
    bench.write_lane("lane01_x", "fp8: {scheme: FP8_DYNAMIC}")
    bench.change(lambda settings: settings.update(screen=None))
    write_rows(bench.folder / "manta.jsonl", [{}] * N_CORPUS_ROWS)
    assert bench.collect() == []
    (bench.folder / "manta.parquet").write_bytes(b"PAR1")
    set_source(bench, "manta", bench.folder / "manta.parquet")
    assert bench.collect() == []


def test_a_corpus_that_the_screen_alone_reads_is_checked(bench: Bench) -> None:
    bench.write_lane("lane01_x", "fp8: {scheme: FP8_DYNAMIC}")
    assert bench.collect() == []
    write_rows(bench.folder / "manta.jsonl", [{}] * N_CORPUS_ROWS)
    (finding,) = bench.collect()
    assert "manta" in finding.message and finding.remedy


def test_bad_rows_of_all_sets_are_told_at_once_with_file_and_row(bench: Bench) -> None:
    spoil(bench, "kmmlu_pro", {line: {"solution": "9"} for line in range(4, 11)})
    write_parquet(bench.folder / "redux.parquet", [make_row("kmmlu_redux", 1), {**make_row("kmmlu_redux", 2),
                  "options": ["가"]}])  # fmt: skip
    set_source(bench, "kmmlu_redux", bench.folder / "redux.parquet")
    path = bench.folder / "ko_longrag.jsonl"
    path.write_text(path.read_text(encoding="utf-8") + "{broken\n", encoding="utf-8")
    pro, redux, longrag = bench.list_texts()
    assert pro.startswith("lanes/experiment.yaml:")
    assert "7 rows of the benchmark sets cannot be used:" in pro
    named = [f"kmmlu_pro.jsonl:{line}: column 'solution': must lie between 1 and 4" for line in range(4, 9)]
    assert all(line in pro for line in named) and "kmmlu_pro.jsonl:9" not in pro
    assert pro.endswith("and 2 more rows")
    assert "redux.parquet: row 2: column 'options': must be a list of 4 or 5 texts" in redux
    assert f"ko_longrag.jsonl:{SAMPLE_ROWS + 1}: not valid JSON" in longrag
    assert all(finding.remedy and finding.level == "fault" for finding in bench.collect())


def test_a_benchmark_that_nothing_asks_is_not_read(bench: Bench) -> None:
    bench.write_lane("lane01_x", "fp8: {scheme: FP8_DYNAMIC}")
    spoil(bench, "kmmlu_pro", {4: {"solution": "9"}})
    inputs = read_inputs(bench.experiment)
    assert collect_findings(inputs, Asked(inputs.lanes)) == []
    assert len(collect_findings(inputs, Asked(reads_corpus=True))) == 1  # the guard compares with all of them


def damage_middle(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[4:200] = bytes(196)
    path.write_bytes(bytes(content))


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "cut": (lambda path: path.write_bytes(path.read_bytes()[:-20]), "not a readable Parquet file"),
    "nothing": (lambda path: path.write_bytes(b""), "not a readable Parquet file"),
    "text": (lambda path: path.write_text("question,options\n"), "not a readable Parquet file"),
    "pages": (damage_middle, "not a readable Parquet file"),
    "columns": (lambda path: write_parquet(path, [{"question": "?", "option": ["가"], "solution": "1"}]),
                "the column 'options' is missing (did you mean 'option'?)"),
    "rows": (lambda path: write_parquet_schema(path), "the data set 'kmmlu_pro' has no rows"),
}  # fmt: skip


def write_parquet_schema(path: Path) -> None:
    pq.write_table(pa.Table.from_pylist(make_rows("kmmlu_pro", 1)).slice(0, 0), path)


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_parquet_file_that_cannot_be_used_is_a_fault_with_its_name(bench: Bench, damage: str) -> None:
    path = write_parquet(bench.folder / "a.parquet", make_rows("kmmlu_pro", 400), compression="none")
    act, expected = DAMAGES[damage]
    act(path)
    set_source(bench, "kmmlu_pro", path)
    (finding,) = bench.collect()
    assert f"{path}: {expected}" in finding.message
    assert finding.remedy and finding.where.startswith(str(bench.experiment))


def test_every_damaged_byte_of_a_parquet_file_is_a_fault_or_none(bench: Bench) -> None:
    path = write_parquet(bench.folder / "a.parquet", make_rows("kmmlu_pro", 30))
    set_source(bench, "kmmlu_pro", path)
    whole = path.read_bytes()
    inputs = read_inputs(bench.experiment)
    for place in range(0, len(whole), 37):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        for finding in collect_findings(inputs, Asked(reads_corpus=True, parts=("benchmarks",))):
            assert finding.remedy and str(path) in finding.message


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ('[{"question": "?"}]', ":1: a JSON array, where one JSON object on each line is needed"),
        ('{\n  "question": "?"\n}', ":1: one JSON object over several lines"),
        ("", ": the data set 'kmmlu_pro' has no rows"),
        ("\n \n", ": the data set 'kmmlu_pro' has no rows"),
    ],
)
def test_a_file_that_is_no_json_lines_is_a_fault(bench: Bench, content: str, expected: str) -> None:
    path = bench.folder / "kmmlu_pro.jsonl"
    path.write_text(content, encoding="utf-8")
    (finding,) = bench.collect()
    assert f"{path}{expected}" in finding.message and finding.remedy


def test_files_that_cannot_be_chosen_are_told_with_all_else(bench: Bench) -> None:
    set_source(bench, "kmmlu_pro", put_folder(bench.folder, make_rows("kmmlu_pro", 4)), split="validation")
    (bench.folder / "redux.csv").write_text("x", encoding="utf-8")
    set_source(bench, "kmmlu_redux", bench.folder / "redux.csv")
    split, form = bench.collect()
    assert "holds the splits test, train, and none of the name 'validation'" in split.message
    assert "redux.csv: not one of .jsonl, .json, .parquet" in form.message and "convert it" in form.remedy


def test_parquet_is_passed_over_where_nothing_can_read_it(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_source(bench, "kmmlu_pro", write_parquet(bench.folder / "a.parquet", [{"x": 1}]), rows=7)
    assert len(bench.collect()) == 1
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setattr("lanekit.files.parquet.find_spec", lambda name: None)
    assert bench.collect() == []


def check_corpus(bench: Bench, rows: list[Row]) -> Finding:
    """Return the one finding about these rows."""
    write_rows(bench.folder / "manta.jsonl", rows)
    (finding,) = bench.collect()
    return finding


def test_bad_conversations_among_the_first_are_a_warning_with_counts(trained: Bench) -> None:
    spoil(trained, "manta", {3: {"conversations": SHAREGPT}, 7: {"complexity": "2.63"},
                             9: {"complexity": None}, 250: {"complexity": None}})  # fmt: skip
    (finding,) = trained.collect()
    assert finding.level == "warning"
    assert "manta.jsonl: of the first 200 rows, 3 will be left out (" in finding.message
    assert "a message's role is not one of system, user, assistant: 1" in finding.message
    assert "its complexity is not a number: 2" in finding.message
    assert f"row 7 ({trained.folder}/manta.jsonl:7): it is a finite number" in finding.remedy
    assert f"row 3 ({trained.folder}/manta.jsonl:3): a conversation is a list of" in finding.remedy


def test_a_corpus_without_one_usable_row_is_a_fault(trained: Bench) -> None:
    rows = [{**row, "conversations": SHAREGPT} for row in make_rows("manta", N_CORPUS_ROWS)]
    finding = check_corpus(trained, rows)
    assert finding.level == "fault"
    assert f"{N_ASKED} conversations are asked for, at most 100 of 300 rows can be used" in finding.message
    assert "of the first 200 rows: a message's role is not one of" in finding.message
    assert finding.remedy.startswith("row 1 (") and "found {from, value}" in finding.remedy
    assert "lower" not in finding.remedy


def test_rows_after_many_bad_ones_are_not_refused(trained: Bench) -> None:
    good = make_rows("manta", 2 * N_ASKED)
    bad = [{**row, "complexity": "1"} for row in make_rows("manta", FIRST_ROWS + 50)]
    finding = check_corpus(trained, bad + good)
    assert finding.level == "warning" and "of the first 251 rows, 250 will be left out" in finding.message


@pytest.mark.parametrize(("n_bad", "level"), [(92, "warning"), (93, "fault")])
def test_the_fault_begins_where_too_few_rows_are_left(trained: Bench, n_bad: int, level: str) -> None:
    rows = make_rows("manta", N_CORPUS_ROWS)
    finding = check_corpus(trained, [{**row, "complexity": "1"} for row in rows[:n_bad]] + rows[n_bad:])
    assert finding.level == level
    if level == "fault":
        assert "at most 207 of 300 rows can be used" in finding.message
        assert "to 207 in all; or mend the source: row 1 (" in finding.remedy


def test_rows_that_stand_twice_are_counted_as_the_stage_counts_them(trained: Bench) -> None:
    rows = make_rows("manta", N_ASKED)
    rows[5] = rows[4]
    finding = check_corpus(trained, rows)
    assert finding.level == "fault"
    assert "at most 207 of 208 rows can be used (of the first 200 rows: duplicates: 1)" in finding.message
    assert "to 207 in all" in finding.remedy


def test_a_small_corpus_is_told_once(trained: Bench) -> None:
    rows = make_rows("manta", 20)
    finding = check_corpus(trained, rows)
    assert "has 20 rows" in finding.message
    write_rows(trained.folder / "manta.jsonl", [{**row, "complexity": "1"} for row in rows])
    amount, form = sorted(trained.collect(), key=lambda found: "has 20 rows" not in found.message)
    assert "has 20 rows" in amount.message
    assert "0 of 20 rows can be used (of the 20 rows: its complexity is not a number: 20)" in form.message


def test_only_the_first_rows_are_read_where_one_can_be_used() -> None:
    read = []

    def read_rows() -> Iterable[tuple[str, Row]]:
        for number in range(1000):
            read.append(number)
            yield f"a:{number}", make_row("manta", number)

    first = look_at_rows(read_rows(), 1000, 500)
    assert (first.n_read, first.n_usable, len(read)) == (FIRST_ROWS, FIRST_ROWS, FIRST_ROWS)


def test_the_setup_check_reads_the_sets_that_are_there(bench: Bench) -> None:
    spoil(bench, "kmmlu_pro", {4: {"solution": "9"}})
    (bench.folder / "ko_longrag.jsonl").unlink()  # it may be made yet: the sources have a line of their own
    found = [
        finding for finding in check_preflight(read_inputs(bench.experiment), {}) if "jsonl" in finding.found
    ]
    assert len(found) == 1 and found[0].level == "fault"
    assert f"{bench.folder}/kmmlu_pro.jsonl:4: column 'solution'" in found[0].found
