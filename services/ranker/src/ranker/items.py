"""Per-item outputs of evaluation and judging: items.parquet read, joined and checked.

The ranker reads only the columns it needs of what the evaluator writes, one row an item and turn.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from lanekit.errors import InputError

ITEMS_NAME = "items.parquet"
KEY_COLUMNS = ("benchmark", "index", "id", "turn")
NAMED = 5  # items named in a message
REMEDY = "evaluate this lane again with this version (scripts/run_all.py does it where it is due)"


@dataclass(frozen=True)
class ItemValues:
    """One benchmark's items, in the set's order: keys (id, index), values (n_items,), NaN if not judged."""

    keys: tuple[tuple[str, int], ...]
    values: np.ndarray

    def align(self, keys: Sequence[tuple[str, int]]) -> np.ndarray:
        """Return the values in the order of `keys`.

        Raises:
            KeyError: a key is none of these items.
        """
        if tuple(keys) == self.keys:
            return self.values
        places = {key: place for place, key in enumerate(self.keys)}
        return self.values[[places[key] for key in keys]]


LaneItems = dict[str, ItemValues]


def read_table(path: Path, columns: Sequence[str] = ()) -> pa.Table:
    """Return a file of per-item outputs; with `columns` only these.

    Raises:
        InputError: it is missing, no parquet file, or lacks a column.
    """
    needed = [*dict.fromkeys([*KEY_COLUMNS, "value", *columns])]
    try:
        names = pq.read_schema(path).names
        lacking = [name for name in needed if name not in names]
        if lacking:
            raise InputError(f"{path}: lacks the column {', '.join(lacking)}", remedy=REMEDY)
        return pq.read_table(path, columns=needed if columns else None)
    except FileNotFoundError as error:
        raise InputError(f"{path}: there is no such file", remedy=REMEDY) from error
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"{path}: cannot be read: {error}", remedy=REMEDY) from error


def merge_tables(evaluated: pa.Table, judged: pa.Table) -> pa.Table:
    """Return the evaluation's rows, those of the judged benchmarks replaced by the judge's.

    Raises:
        InputError: the judge's rows have other columns.
    """
    try:
        judged = judged.select(evaluated.column_names).cast(evaluated.schema)
    except (KeyError, ValueError, pa.ArrowException) as error:
        raise InputError(
            f"the judge's per-item outputs have other columns: {error}", remedy=REMEDY
        ) from error
    replaced = set(judged.column("benchmark").to_pylist())
    order = dict.fromkeys([*evaluated.column("benchmark").to_pylist(), *sorted(replaced)])
    parts = []
    for name in order:
        source = judged if name in replaced else evaluated
        parts.append(source.filter(pc.equal(source.column("benchmark"), name)))
    return pa.concat_tables(parts) if parts else evaluated


def collect_values(table: pa.Table) -> LaneItems:
    """Return each benchmark's items; an item of several turns has the mean of their values.

    Raises:
        InputError: an item's turn stands there twice.
    """
    benchmarks, indices, ids, turns = (table.column(name).to_pylist() for name in KEY_COLUMNS)
    values = table.column("value").cast(pa.float64()).to_numpy(zero_copy_only=False)
    found: dict[str, dict[tuple[str, int], dict[int, float]]] = {}
    for benchmark, index, name, turn, value in zip(benchmarks, indices, ids, turns, values, strict=True):
        item = found.setdefault(benchmark, {}).setdefault((name, index), {})
        if turn in item:
            raise InputError(
                f"{benchmark}: item {name} ({index}), turn {turn} stands there twice", remedy=REMEDY
            )
        item[turn] = float(value)
    return {
        benchmark: ItemValues(tuple(items), np.array([sum(t.values()) / len(t) for t in items.values()]))
        for benchmark, items in found.items()
    }


def find_mismatch(
    lane: Mapping[str, ItemValues], base: Mapping[str, ItemValues], names: Sequence[str]
) -> str:
    """Return why a lane cannot be paired with the baseline on the benchmarks `names`; "" where it can.

    Items are paired by id and index; what the judge gave no rating was still asked.
    """
    reasons = []
    for name in names:
        if name not in lane or name not in base:
            continue
        mine, other = (set(items[name].keys) for items in (lane, base))
        lacking, extra = sorted(other - mine), sorted(mine - other)
        if lacking:
            reasons.append(f"{name}: {_count(lacking)} of the baseline's missing: {_name(lacking)}")
        if extra:
            reasons.append(f"{name}: {_count(extra)} that the baseline was not asked: {_name(extra)}")
    return "; ".join(reasons)


def _count(keys: Sequence[tuple[str, int]]) -> str:
    return f"{len(keys)} item{'s' if len(keys) > 1 else ''}"


def _name(keys: Sequence[tuple[str, int]]) -> str:
    names = [f"{name} ({index})" for name, index in keys[:NAMED]]
    return ", ".join(names) + (", …" if len(keys) > NAMED else "")
