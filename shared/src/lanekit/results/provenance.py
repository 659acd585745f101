"""Whether a record says what the artifacts say that it was made from."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Protocol

from lanekit.errors import PermanentError
from lanekit.plan.graph import StageRun
from lanekit.plan.keys import SHORT_KEY_CHARACTERS
from lanekit.results.collect import METRICS_NAME, ResultReader
from lanekit.results.schema import FAILED, BenchmarkResult, LaneRecord
from lanekit.results.speed import SpeedResult
from lanekit.spec.lane_engine import read_lane_engine
from lanekit.spec.replicates import split_replicate


class RunReader(ResultReader, Protocol):
    """What is read of a store; see store.base.ArtifactReader."""

    def load_run(self, path: str) -> StageRun:
        """Return the run behind a committed artifact."""


def refuse_altered(records: Sequence[LaneRecord], store: RunReader) -> list[LaneRecord]:
    """Return the records, those refused whose numbers are not those of the artifacts that they name.

    An artifact that is gone is no reason: a store may be cleared.

    Raises:
        TransientError: the store could not be reached.
    """
    models = {record.lane: record.model for record in records}
    checked = []
    for record in records:
        timed = models.get(split_replicate(record.lane)[0], "")  # a replicate was timed as its lane's first
        reasons = find_alterations(record, store, timed) if record.status not in FAILED else []
        if reasons:
            reason = f"{'; '.join(reasons)}; remedy: evaluate the lane again"
            record = record.model_copy(update={"status": "refused", "reason": reason})
        checked.append(record)
    return checked


def find_alterations(record: LaneRecord, store: RunReader, timed_model: str) -> list[str]:
    """Return what of a record differs from what is committed, each with the artifact's place.

    Args:
        timed_model: the place of the model whose speed is the record's; "" where that is not known.
    """
    reasons = []
    for path in filter(None, (record.evaluation, record.judgement)):
        found = _read(path, store)
        results = found.get("benchmarks", {}) if found else {}
        judged = path == record.evaluation and bool(record.judgement)
        for name, result in results.items():
            if judged and result.get("metric") == "judge":
                continue
            mine = record.benchmarks.get(name)
            if mine is None or mine != BenchmarkResult.model_validate(result):
                reasons.append(f"its {name} is not what {path} holds")
    if record.timing:
        found = _read(record.timing, store)
        if found and record.speed != SpeedResult.model_validate(found):
            reasons.append(f"its speed is not what {record.timing} holds")
        if not _has_engine_of(record, store):
            reasons.append(f"its engine arguments are not those of {record.timing}")
    for path, role, model in (
        (record.evaluation, "evaluation", record.model),
        (record.timing, "speed measurement", timed_model),
    ):
        if path and model and not _is_of_model(path, model, store):
            reasons.append(f"its {role} {path} is of another model than {model}")
    return reasons


def _read(path: str, store: RunReader) -> dict[str, dict[str, dict[str, object]]] | None:
    try:
        content = json.loads(store.read_file(store.load_run(path), METRICS_NAME))
    except (PermanentError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def _has_engine_of(record: LaneRecord, store: RunReader) -> bool:
    """Whether a record names the engine arguments that it was timed with; True where the timing is gone."""
    try:
        return record.engine == read_lane_engine(store.load_run(record.timing).params)
    except PermanentError:
        return True


def _is_of_model(path: str, model: str, store: RunReader) -> bool:
    """Whether an artifact was made from the model at a place; True where it is gone."""
    try:
        manifest = store.find_artifact(store.load_run(path))
    except PermanentError:
        return True
    measured = manifest.inputs.get("model", "") if manifest else ""
    return not measured or model.endswith(f"-{measured[:SHORT_KEY_CHARACTERS]}")
