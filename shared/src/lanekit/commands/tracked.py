"""What a tracker is told of a lane: parameters, metrics, where its artifacts are. Of the ranking alone."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from lanekit.errors import PermanentError
from lanekit.files.hashing import digest_json
from lanekit.plan.graph import ArtifactRef
from lanekit.results.course import Outcome
from lanekit.results.ranking import RankedLane
from lanekit.results.schema import FAILED, NOT_USED, LaneRecord
from lanekit.spec.source import drop_local_paths
from lanekit.store.folder import FolderStore
from lanekit.store.manifest import MANIFEST_NAME

MAX_VALUE_CHARACTERS = 500  # what every tracker takes for a parameter


@dataclass(frozen=True)
class Tracked:
    """One lane as a tracker's run; `key` is of what it was made from, so that it is known again."""

    key: str
    name: str
    parameters: Mapping[str, str]
    metrics: Mapping[str, float]
    tags: Mapping[str, str]
    is_failed: bool


def describe_lanes(outcome: Outcome, store: FolderStore) -> list[Tracked]:
    """Return the lanes of a ranking; those whose file was nobody's to rank are left out."""
    lanes = [lane for lane in outcome.ranking.lanes if lane.record.status not in NOT_USED]
    return [
        Tracked(
            key=identify_lane(outcome.ranking.experiment, lane.record),
            name=lane.record.lane,
            parameters=dict(_list_parameters(lane.record, store)),
            metrics=dict(_list_metrics(lane)),
            tags=dict(_list_tags(lane, outcome, store)),
            is_failed=lane.record.status in FAILED,
        )
        for lane in lanes
    ]


def identify_lane(experiment: str, record: LaneRecord) -> str:
    """Return the digest of a lane's name and of the places of what it came to, which hold their keys."""
    places = [record.model, record.evaluation, record.judgement, record.timing]
    places += [record.screening] * bool(record.screening)
    return digest_json([experiment, record.lane, *places])


def _list_parameters(record: LaneRecord, store: FolderStore) -> Iterator[tuple[str, str]]:
    """Give the lane's own parameters, and those of its stages whose artifacts are here."""
    yield "lane", record.lane
    yield "group", record.group or "–"
    yield "stages", _shorten(" → ".join(place.partition("/")[2] for place in record.stages) or "–")
    if record.speed:
        yield "engine", record.speed.engine
        yield "device", _shorten(record.speed.device)
        yield "speed_form", record.speed.form
    for position, place in enumerate(record.stages, start=1):
        try:
            run = store.load_run(place)
        except PermanentError:  # only the ranking and the packages of a stack's run come here
            continue
        shown = drop_local_paths(run.params).model_dump(mode="json")
        for name, value in _flatten(shown):
            yield f"{position}.{run.type.name}.{name}", _shorten(value)


def _flatten(value: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, inner in value.items():
        if isinstance(inner, dict):
            yield from _flatten(inner, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", str(inner)


def _list_metrics(lane: RankedLane) -> Iterator[tuple[str, float]]:
    record = lane.record
    found: dict[str, float | None] = {
        "score": lane.score,
        "rank": lane.rank,
        "perf": lane.perf,
        "perf_norm": lane.perf_norm,
        "speed_norm": lane.speed_norm,
        "size_bytes": record.size_bytes,
    }
    if lane.score_interval:
        found |= {"score.low": lane.score_interval.low, "score.high": lane.score_interval.high}
    if record.speed:
        found["s_per_token"] = record.speed.s_per_token
        found["baseline_s_per_token"] = record.speed.baseline_s_per_token
    if record.screen:
        found |= {
            "screen.kl_mean": record.screen.kl_mean,
            "screen.same_top": record.screen.same_top,
            "screen.ppl_ratio": record.screen.ppl_ratio,
        }
    for name, result in record.benchmarks.items():
        found[f"benchmark.{name}"] = result.value
    for name, statistics in lane.benchmark_statistics.items():
        found[f"benchmark.{name}.recovery"] = statistics.recovery
        found[f"benchmark.{name}.p_adjusted"] = statistics.p_adjusted
    found |= {f"seconds.{stage}": seconds for stage, seconds in record.stage_seconds.items()}
    for name, value in found.items():
        if value is not None and math.isfinite(value):
            yield name, float(value)


def _list_tags(lane: RankedLane, outcome: Outcome, store: FolderStore) -> Iterator[tuple[str, str]]:
    record = lane.record
    yield "lanekit.status", record.status
    if record.reason:
        yield "lanekit.reason", _shorten(record.reason)
    if record.is_contaminated:
        yield "lanekit.contaminated", "true"
    package: ArtifactRef | None = outcome.packages.get(record.lane)
    places = {
        "model": record.model,
        "evaluation": record.evaluation,
        "judgement": record.judgement,
        "timing": record.timing,
        "screening": record.screening,
        "package": package.path if package else "",
        "ranking": outcome.summary.path,
    }
    for role, place in places.items():
        if place:
            yield f"lanekit.artifact.{role}", find_address(place, store)


def find_address(place: str, store: FolderStore) -> str:
    """Return an artifact's folder; where it is not here, its place in the stack's store, "bucket/name"."""
    folder = store.root / place
    return str(folder) if (folder / MANIFEST_NAME).is_file() else place


def _shorten(text: str) -> str:
    return text if len(text) <= MAX_VALUE_CHARACTERS else text[: MAX_VALUE_CHARACTERS - 1] + "…"
