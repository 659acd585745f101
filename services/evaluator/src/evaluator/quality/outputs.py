"""items.parquet: what a model said to each item, one row an item and turn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from lanekit.errors import InputError

_NEVER_NULL = {
    "benchmark": pa.string(),
    "index": pa.int32(),  # the item's position in its set, from 0
    "id": pa.string(),
    "turn": pa.int8(),  # 1; 2 for a second turn
    "part": pa.string(),  # e.g. "answerable"; "" where there are no parts
    "task": pa.string(),
    "question": pa.string(),  # what was asked, for people
    "prompt_tokens": pa.int32(),
    "new_tokens": pa.int32(),
    "finished": pa.bool_(),  # the model ended the reply itself, or by a stop text
    "response": pa.string(),
}
_NULLABLE = {
    "parsed": pa.string(),  # null: no answer could be read
}
_NULLABLE_RESULTS = {
    "value": pa.float64(),  # from 0 to 1; null: not judged
    "exact": pa.bool_(),
    "context_tokens": pa.int32(),  # null: nothing was cut
    "kept_tokens": pa.int32(),
    "answer_lost": pa.bool_(),
}

# The columns of items.parquet, in order.
ITEM_SCHEMA = pa.schema(
    [
        *(pa.field(name, kind, nullable=False) for name, kind in _NEVER_NULL.items()),
        *(pa.field(name, kind) for name, kind in _NULLABLE.items()),
        pa.field("gold", pa.string(), nullable=False),
        *(pa.field(name, kind) for name, kind in _NULLABLE_RESULTS.items()),
        pa.field("note", pa.string(), nullable=False),  # "", or e.g. the judge's words
    ]
)


def write_items(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows with the columns of ITEM_SCHEMA, in the order given.

    Raises:
        ValueError: a row lacks a column or has another, or a value that may not be null is null.
    """
    for row in rows:
        if set(row) != set(ITEM_SCHEMA.names):
            different = sorted(set(row) ^ set(ITEM_SCHEMA.names))
            raise ValueError(f"a row of {path.name} lacks or has besides: {', '.join(different)}")
    table = pa.Table.from_pylist([dict(row) for row in rows], schema=ITEM_SCHEMA)
    table.validate(full=True)
    for field in ITEM_SCHEMA:
        if not field.nullable and table[field.name].null_count:
            raise ValueError(f"a row of {path.name} has no value in '{field.name}'")
    pq.write_table(table, path, compression="zstd")


def read_items(path: Path) -> list[dict[str, Any]]:
    """Return the rows of a file that `write_items` wrote, in its order.

    Raises:
        InputError: the file is missing, is no parquet file or has other columns.
    """
    remedy = "evaluate the model again"
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"{path}: cannot be read: {error}", remedy=remedy) from error
    if not table.schema.equals(ITEM_SCHEMA):
        raise InputError(
            f"{path}: it has the columns {', '.join(table.schema.names)}, or of other types, where "
            f"{', '.join(ITEM_SCHEMA.names)} are wanted",
            remedy=remedy,
        )
    rows: list[dict[str, Any]] = table.to_pylist()
    return rows
