"""Two lanes item by item: where they differ, counts and the exact paired test. Pure but for reading."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from lanekit.errors import InputError, did_you_mean
from lanekit.results.collect import ITEMS_NAME, METRICS_NAME
from lanekit.results.folder import RANKING_NAME
from lanekit.results.ranking import MarginTest
from ranker.statistics.items import read_table
from ranker.statistics.margin import judge_mean, judge_values
from ranker.statistics.resampling import make_rng
from ranker.statistics.significance import compare_pairs

Change = Literal["gained", "lost", "changed", "same"]
COLUMNS = ("part", "task", "question", "response", "parsed", "gold")
RESAMPLES = 10_000
CONFIDENCE = 0.95
MARGIN = 0.01  # of A's value


@dataclass(frozen=True)
class Answer:
    """What one lane said to an item."""

    value: float | None
    parsed: str | None
    response: str


@dataclass(frozen=True)
class Pair:
    """One item (and turn) as two lanes answered it; `change` is told from A to B.

    `is_same_item` is false where another question or gold answer stands under the same id for B.
    """

    benchmark: str
    index: int
    id: str
    turn: int
    question: str
    gold: str
    a: Answer
    b: Answer
    is_same_item: bool = True

    @property
    def change(self) -> Change:
        """Whether B gained or lost value, or has the same value by another answer."""
        a, b = self.a.value, self.b.value
        if a is not None and b is not None and a != b:
            return "gained" if b > a else "lost"
        return "same" if self.a.parsed == self.b.parsed and (a is None) == (b is None) else "changed"


@dataclass(frozen=True)
class Counts:
    """One benchmark's counts over the items that both lanes were asked.

    Right means the full value of 1; `p_value` is of the paired test of the values, None where one lane lacks
    them. `n_changed` counts equal values by another answer. `margin_test` is of B's mean less A's; its margin
    is a share of A's mean.
    """

    benchmark: str
    n_items: int
    both_right: int
    only_a: int
    only_b: int
    neither: int
    n_gained: int
    n_lost: int
    n_changed: int
    test: str
    p_value: float | None
    margin_test: MarginTest | None = None


def load_lane(results: Path, lane: str) -> list[dict[str, Any]]:
    """Return the rows of a lane's per-item outputs in a results folder.

    Raises:
        InputError: there is no such lane, or no or a malformed items.parquet.
    """
    path = results / lane / ITEMS_NAME
    if not path.is_file():
        known = sorted(found.parent.name for found in results.glob(f"*/{ITEMS_NAME}"))
        if (results / lane).is_dir() or not known:
            raise InputError(
                f"{path}: there are no per-item outputs of '{lane}'",
                remedy="rank again with this version (scripts/run_all.py; scripts/fetch.py for the stack)",
            )
        raise InputError(
            f"{results}: no lane '{lane}'{did_you_mean(lane, known)}; there are: {', '.join(known)}",
            remedy="name one of them",
        )
    rows: list[dict[str, Any]] = read_table(path, COLUMNS).to_pylist()
    return rows


def pair_lanes(a: Iterable[Mapping[str, Any]], b: Iterable[Mapping[str, Any]]) -> list[Pair]:
    """Pair two lanes' rows by benchmark, id, index and turn, in A's order.

    Raises:
        InputError: the lanes were asked nothing in common.
    """
    others = {_key(row): row for row in b}
    pairs = [
        Pair(
            benchmark=row["benchmark"], index=row["index"], id=row["id"], turn=row["turn"],
            question=row["question"], gold=row["gold"], a=_answer(row), b=_answer(others[_key(row)]),
            is_same_item=_is_same_item(row, others[_key(row)]),
        )
        for row in a
        if _key(row) in others
    ]  # fmt: skip
    if not pairs:
        raise InputError(
            "the two lanes were asked no item in common", remedy="evaluate both on the same sets"
        )
    return pairs


def leave_out_unlike(pairs: Sequence[Pair]) -> tuple[list[Pair], list[Pair]]:
    """Return the pairs to compare, and those of items that are not the same for both lanes in every turn.

    Raises:
        InputError: no item is the same.
    """
    unlike = {(p.benchmark, p.id, p.index) for p in pairs if not p.is_same_item}
    parts: tuple[list[Pair], list[Pair]] = ([], [])
    for pair in pairs:
        parts[(pair.benchmark, pair.id, pair.index) in unlike].append(pair)
    if not parts[0]:
        raise InputError(
            f"under the same ids the two lanes were asked other questions, e.g. {parts[1][0].id}",
            remedy="evaluate both on the same sets",
        )
    return parts


def read_contamination(results: Path, lane: str) -> dict[str, int]:
    """Return, by benchmark, how many items stand in the text a lane learnt from; {} where it is not known."""
    try:
        content = json.loads((results / lane / METRICS_NAME).read_text(encoding="utf-8"))
        return {str(name): int(count) for name, count in (content["contamination"] or {}).items() if count}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def count_pairs(pairs: Sequence[Pair], margin: float = MARGIN) -> list[Counts]:
    """Return each benchmark's counts; an item of two turns is one item, with the mean of their values.

    `margin` is the loss that counts as none, as a fraction of A's mean.
    """
    counts = []
    for benchmark in dict.fromkeys(pair.benchmark for pair in pairs):
        mine = [pair for pair in pairs if pair.benchmark == benchmark]
        a, b = (_average(mine, side) for side in ("a", "b"))
        known = np.isfinite(a) & np.isfinite(b)
        test, p_value, margin_test = "", None, None
        if known.any():
            rng = make_rng(42, f"comparison of {benchmark}")
            test, p_value = compare_pairs(a[known], b[known], RESAMPLES, rng)
            margin_test = judge_values(b[known], a[known], margin, CONFIDENCE)
        right_a, right_b = a[known] == 1, b[known] == 1
        counts.append(
            Counts(
                benchmark=benchmark,
                n_items=len(a),
                both_right=int((right_a & right_b).sum()),
                only_a=int((right_a & ~right_b).sum()),
                only_b=int((right_b & ~right_a).sum()),
                neither=int((~right_a & ~right_b).sum()),
                n_gained=int((b > a).sum()),
                n_lost=int((b < a).sum()),
                n_changed=sum(pair.change == "changed" for pair in mine),
                test=test,
                p_value=p_value,
                margin_test=margin_test,
            )
        )
    return counts


def judge_perf(pairs: Sequence[Pair], weights: Mapping[str, float], margin: float) -> MarginTest | None:
    """Return the verdict on Perf, B against A; None where a benchmark that counts has no values of both."""
    values = {}
    for benchmark in weights:
        mine = [pair for pair in pairs if pair.benchmark == benchmark]
        a, b = (_average(mine, side) for side in ("a", "b"))
        known = np.isfinite(a) & np.isfinite(b)
        if known.any():
            values[benchmark] = b[known], a[known]
    return judge_mean(values, weights, margin, CONFIDENCE)


def read_rules(results: Path) -> tuple[dict[str, float], float]:
    """Return the last ranking's weights and its margin; no weights and 1 % where they are not known."""
    try:
        content = json.loads((results / RANKING_NAME).read_text(encoding="utf-8"))
        weights = {str(name): float(weight) for name, weight in content["weights_used"].items()}
        return weights, float(content.get("margin") or MARGIN)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}, MARGIN


def describe_pair(pair: Pair) -> dict[str, Any]:
    """Return a pair as JSON values."""
    content = asdict(pair) | {"change": pair.change}
    del content["is_same_item"]
    return content


def describe_counts(counts: Counts) -> dict[str, Any]:
    """Return a benchmark's counts as JSON values."""
    test = counts.margin_test
    return asdict(counts) | {"margin_test": test.model_dump(mode="json") if test else None}


def _key(row: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(row[name] for name in ("benchmark", "id", "index", "turn"))


def _is_same_item(a: Mapping[str, Any], b: Mapping[str, Any]) -> bool:
    is_judged = a["value"] is not None and b["value"] is not None
    return bool(a["question"] == b["question"] and (a["gold"] == b["gold"] or not is_judged))


def _answer(row: Mapping[str, Any]) -> Answer:
    value = row["value"]
    is_known = value is not None and math.isfinite(value)
    return Answer(value if is_known else None, row["parsed"], row["response"])


def _average(pairs: Sequence[Pair], side: Literal["a", "b"]) -> np.ndarray:
    """Return the items' values (n_items,), NaN where a turn has none."""
    values: dict[tuple[str, int], list[float]] = {}
    for pair in pairs:
        value = getattr(pair, side).value
        values.setdefault((pair.id, pair.index), []).append(math.nan if value is None else value)
    return np.array([math.fsum(turns) / len(turns) for turns in values.values()])
