"""Per-item outputs of evaluation and judging: items.parquet read, joined and checked.

The ranker reads only the columns it needs of what the evaluator writes, one row an item and turn.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from lanekit.errors import InputError
from lanekit.results.schema import LaneRecord

KEY_COLUMNS = ("benchmark", "index", "id", "turn")
ASKED_COLUMNS = ("question", "gold")
TOLERANCE = 1e-6  # between a record's value and the mean of its items
NAMED = 5  # items named in a message
REMEDY = "evaluate this lane again with this version (scripts/run_all.py does it where it is due)"


@dataclass(frozen=True)
class ItemValues:
    """One benchmark's items, in the set's order: keys (id, index), values (n_items,), NaN if not judged.

    `digests` are of what was asked and of the gold answer, one an item.
    """

    keys: tuple[tuple[str, int], ...]
    values: np.ndarray
    digests: tuple[str, ...]

    def align(self, keys: Sequence[tuple[str, int]]) -> np.ndarray:
        """Return the values in the order of `keys`.

        Raises:
            KeyError: a key is none of these items.
        """
        if tuple(keys) == self.keys:
            return self.values
        places = {key: place for place, key in enumerate(self.keys)}
        return self.values[[places[key] for key in keys]]

    def find_changed(self, other: ItemValues) -> list[tuple[str, int]]:
        """Return the keys of both under which another question stands, or another gold answer."""
        digests = dict(zip(other.keys, other.digests, strict=True))
        mine = zip(self.keys, self.digests, strict=True)
        return sorted(key for key, digest in mine if digests.get(key, digest) != digest)

    def is_asked_as(self, other: ItemValues) -> bool:
        """Whether the items are the same ones, in any order."""
        return set(self.keys) == set(other.keys) and not self.find_changed(other)


LaneItems = dict[str, ItemValues]


def read_table(path: Path, columns: Sequence[str] = ()) -> pa.Table:
    """Return a file of per-item outputs; with `columns` only these.

    Raises:
        InputError: it is missing, no parquet file, or lacks a column.
    """
    needed = [*dict.fromkeys([*KEY_COLUMNS, "value", *ASKED_COLUMNS, *columns])]
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


def collect_values(table: pa.Table, judged: Collection[str] = ()) -> LaneItems:
    """Return each benchmark's items; an item of several turns has the mean of their values.

    Gold answers of the benchmarks `judged` tell no item from another: a judge's references are not asked.

    Raises:
        InputError: an item's turn stands there twice.
    """
    benchmarks, indices, ids, turns = (table.column(name).to_pylist() for name in KEY_COLUMNS)
    values = table.column("value").cast(pa.float64()).to_numpy(zero_copy_only=False)
    asked = zip(*(table.column(name).to_pylist() for name in ASKED_COLUMNS), strict=True)
    found: dict[str, dict[tuple[str, int], dict[int, tuple[float, str]]]] = {}
    columns = zip(benchmarks, indices, ids, turns, values, asked, strict=True)
    for benchmark, index, name, turn, value, (question, gold) in columns:
        item = found.setdefault(benchmark, {}).setdefault((name, index), {})
        if turn in item:
            raise InputError(
                f"{benchmark}: item {name} ({index}), turn {turn} stands there twice", remedy=REMEDY
            )
        item[turn] = float(value), repr((turn, question, "" if benchmark in judged else gold))
    return {
        benchmark: ItemValues(
            tuple(items),
            np.array(
                [math.fsum(value for value, _ in turns.values()) / len(turns) for turns in items.values()]
            ),
            tuple(_digest(text for _, (_, text) in sorted(turns.items())) for turns in items.values()),
        )
        for benchmark, items in found.items()
    }


def _digest(texts: Iterable[str]) -> str:
    return hashlib.blake2b("\n".join(texts).encode(), digest_size=12).hexdigest()


def find_unlike_items(
    lane: Mapping[str, ItemValues], base: Mapping[str, ItemValues], names: Sequence[str]
) -> str:
    """Return why a lane cannot be paired with the baseline on the benchmarks `names`; "" where it can.

    Items are paired by id and index, and must then ask the same; what the judge gave no rating was still
    asked.
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
        changed = lane[name].find_changed(base[name])
        if changed:
            reasons.append(
                f"{name}: {_count(changed)} with another question or gold answer: {_name(changed)}"
            )
    return "; ".join(reasons)


def find_unlike_values(record: LaneRecord, items: Mapping[str, ItemValues] | None) -> list[str]:
    """Return what of a record's values its own per-item outputs do not give; nothing where there are none."""
    if not items:
        return []
    faults = []
    for name, result in record.benchmarks.items():
        if result.value is None:
            continue
        known = items[name].values[np.isfinite(items[name].values)] if name in items else np.array([])
        if not len(known):
            faults.append(f"{name}: the per-item outputs give no value, the record says {result.value:g}")
        elif abs(float(known.mean()) - result.value) > TOLERANCE:
            given = f"the per-item outputs give {float(known.mean()):.6g}"
            faults.append(f"{name}: {given}, the record says {result.value:.6g}")
    return faults


def _count(keys: Sequence[tuple[str, int]]) -> str:
    return f"{len(keys)} item{'s' if len(keys) > 1 else ''}"


def _name(keys: Sequence[tuple[str, int]]) -> str:
    names = [f"{name} ({index})" for name, index in keys[:NAMED]]
    return ", ".join(names) + (", …" if len(keys) > NAMED else "")
