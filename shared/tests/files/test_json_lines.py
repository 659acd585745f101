"""One JSON object a line: what is none is named with its line, a reason and a remedy of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from lanekit.errors import InputError
from lanekit.files.json_lines import RowFault, parse_json_line, read_json_lines


@pytest.mark.parametrize(
    ("line", "expected", "remedy"),
    [
        (b"{broken", "not valid JSON: ", "one JSON object"),
        (b'{"a": 1} {"b": 2}', "not valid JSON: Extra data", "one JSON object"),
        ('{"a": "안녕"}'.encode("cp949"), "not UTF-8: byte 8 of the line is 0xbe", "iconv"),
        ('{"a": 1}'.encode("utf-16"), "not UTF-8", "iconv"),
        (b'{"a": "\\ud83d"}', "holds half a character", "cut in two"),
        (b'{"a": ' + b"9" * 5000 + b"}", "holds a number that cannot be read", "number"),
        (b"[" * 100_000, "nested too deeply", "flat"),
        (b'"text"', "not a JSON object", "one JSON object"),
        (b"17", "not a JSON object", "one JSON object"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, line: bytes, expected: str, remedy: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"a": 0}\n\n' + line.replace(b"\n", b"") + b"\n")
    with pytest.raises(InputError) as caught:
        list(read_json_lines(path))
    assert f"{path}:3: {expected}" in caught.value.message
    assert remedy in caught.value.remedy


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('[\n  {"a": 1},\n  {"a": 2}\n]', "a JSON array"),
        ('[{"a": 1}, {"a": 2}]', "a JSON array"),
        ('\ufeff[{"a": 1}]', "a JSON array"),
        ('{\n  "a": 1\n}', "one JSON object over several lines"),
    ],
)
def test_valid_json_in_another_layout_is_said_to_be_that(tmp_path: Path, text: str, expected: str) -> None:
    path = tmp_path / "k_arr.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=expected) as caught:
        list(read_json_lines(path))
    assert caught.value.remedy


def test_whole_characters_marks_of_order_and_line_separators_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    rows = ['\ufeff{"a": "\\ud83d\\ude00"}', '{"a": "x\u2028y\u0085z"}', '{"a": 1e5, "b": NaN}']
    path.write_bytes("\r\n".join(rows).encode())
    found = [row for _, row in read_json_lines(path)]
    assert [row["a"] for row in found] == ["😀", "x\u2028y\u0085z", 1e5]
    assert [number for number, _ in read_json_lines(path, {1, 2})] == [2, 3]


def test_a_fault_is_counted_by_what_it_shares_with_others() -> None:
    first, second = parse_json_line(b"{broken"), parse_json_line(b'{"a": 1')
    assert isinstance(first, RowFault) and isinstance(second, RowFault)
    assert first.reason == second.reason == "not valid JSON"
    assert first.detail != second.detail
