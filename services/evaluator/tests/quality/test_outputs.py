"""items.parquet: the columns, what may be null, and files that are none."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from evaluator.quality.grade import Graded
from evaluator.quality.outputs import ITEM_SCHEMA, read_items, write_items
from lanekit.errors import InputError

ROW: dict[str, Any] = {
    "benchmark": "ko_longrag", "index": 3, "id": "d3", "turn": 1, "part": "answerable", "task": "singledocQA",
    "question": "1번 마을의 강은?", "prompt_tokens": 300, "new_tokens": 4, "finished": True,
    "response": "2호 강", "parsed": "2호 강", "gold": "39호 강", "value": 0.5, "exact": False,
    "context_tokens": 900, "kept_tokens": 250, "answer_lost": True, "note": "",
}  # fmt: skip
UNJUDGED = ROW | dict.fromkeys(
    ("parsed", "value", "exact", "context_tokens", "kept_tokens", "answer_lost")
) | {"turn": 2}  # fmt: skip


def test_rows_come_back_as_they_went(tmp_path: Path) -> None:
    rows = [ROW, UNJUDGED, ROW | {"index": 1}]
    write_items(tmp_path / "items.parquet", rows)
    assert read_items(tmp_path / "items.parquet") == rows
    write_items(tmp_path / "none.parquet", [])
    assert read_items(tmp_path / "none.parquet") == []


def test_a_graded_reply_has_the_columns() -> None:
    assert [field.name for field in dataclasses.fields(Graded)] == ITEM_SCHEMA.names


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({k: v for k, v in ROW.items() if k != "gold"}, "gold"),
        (ROW | {"cut": None}, "cut"),
        (ROW | {"response": None}, "'response'"),
    ],
)
def test_other_rows_are_refused(tmp_path: Path, row: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        write_items(tmp_path / "items.parquet", [ROW, row])
    assert not list(tmp_path.iterdir())


def test_other_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "items.parquet"
    with pytest.raises(InputError, match="cannot be read"):
        read_items(path)
    path.write_bytes(b"no parquet")
    with pytest.raises(InputError, match="cannot be read"):
        read_items(path)
    pq.write_table(pa.table({"value": [1.0]}), path)
    with pytest.raises(InputError, match=r"has the columns value, or of other types, where benchmark,"):
        read_items(path)
