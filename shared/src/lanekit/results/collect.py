"""Lane records out of committed artifacts."""

from __future__ import annotations

import json
from typing import Protocol

from lanekit.errors import PermanentError
from lanekit.plan.graph import BASELINE, LanePlan, Locator, Plan
from lanekit.plan.state import RunState
from lanekit.results.identity import describe_stage, identify_record
from lanekit.results.schema import BenchmarkResult, LaneRecord
from lanekit.results.screen import ScreenResult
from lanekit.results.speed import SpeedResult
from lanekit.spec.lane_engine import read_lane_engine
from lanekit.store.manifest import Manifest

METRICS_NAME = "metrics.json"
ITEMS_NAME = "items.parquet"


class ResultReader(Protocol):
    """What records are read from; see store.base.ArtifactStore."""

    def find_artifact(self, locator: Locator) -> Manifest | None:
        """Return a committed artifact's manifest."""

    def read_file(self, locator: Locator, name: str) -> bytes:
        """Return one small file of an artifact."""


def collect_record(plan: Plan, state: RunState, store: ResultReader, lane: str) -> LaneRecord:
    """Return what is known of a lane after a run; a failed lane carries its reason and its log's tail.

    Raises:
        TransientError: the store could not be reached.
    """
    lane_plan = plan.lanes[lane]
    record = LaneRecord(lane=lane, title=lane_plan.title, group=lane_plan.group)
    manifests = {key: _find(store, plan, key) for key in plan.list_lane_keys(lane)}
    record.stage_seconds = {
        plan.runs[key].type.name: manifest.seconds for key, manifest in manifests.items() if manifest
    }
    own = [plan.runs[key] for key in lane_plan.stage_keys]
    record.stages = [run.path for run in own]
    record.recipe = [describe_stage(run.type.name, run.params) for run in own]
    made = [manifests[key] for key in lane_plan.stage_keys]
    record.notes = [note for manifest in made if manifest for note in manifest.notes]
    record.model = plan.runs[lane_plan.model_key].path
    record.contamination = count_contamination(plan, lane_plan, store)
    if lane_plan.speed_key:
        record.engine = read_lane_engine(plan.runs[lane_plan.speed_key].params)
    record.identity = identify_record(plan, lane_plan, manifests)
    _add_screen(record, plan, state, store)
    reason = state.explain_lane(lane)
    if reason:
        record.status, record.reason = "failed", reason
        record.log_tail = state.show_log_tail(lane)
        return record
    assert lane_plan.evaluate_key and lane_plan.speed_key
    try:
        quality = json.loads(store.read_file(plan.runs[lane_plan.evaluate_key], METRICS_NAME))
        timing = store.read_file(plan.runs[lane_plan.speed_key], METRICS_NAME)
        results = dict(quality["benchmarks"])
        if lane_plan.judge_key:
            judged = json.loads(store.read_file(plan.runs[lane_plan.judge_key], METRICS_NAME))
            results |= judged["benchmarks"]
            record.judgement = plan.runs[lane_plan.judge_key].path
        benchmarks = {name: BenchmarkResult.model_validate(result) for name, result in results.items()}
        size_bytes = int(quality["size_bytes"])
        speed = SpeedResult.model_validate_json(timing)
    except PermanentError as error:
        record.status, record.reason = "failed", str(error)
        return record
    except (OSError, ValueError, KeyError, TypeError) as error:  # a result of another version of the code
        record.status, record.reason = "failed", f"its metrics cannot be read: {error}"
        return record
    record.benchmarks, record.size_bytes, record.speed = benchmarks, size_bytes, speed
    record.evaluation = plan.runs[lane_plan.evaluate_key].path
    record.timing = plan.runs[lane_plan.speed_key].path
    return record


def _add_screen(record: LaneRecord, plan: Plan, state: RunState, store: ResultReader) -> None:
    """Give a record its screen, or the reason why it has none, which does not fail the lane."""
    key = plan.lanes[record.lane].screen_key
    if key is None:
        return
    record.screen_reason = state.explain_screen(record.lane)
    if record.screen_reason:
        return
    try:
        content = store.read_file(plan.runs[key], METRICS_NAME)
        record.screen, record.screening = ScreenResult.model_validate_json(content), plan.runs[key].path
    except PermanentError as error:
        record.screen_reason = str(error)
    except (OSError, ValueError) as error:  # a result of another version of the code
        record.screen_reason = f"its numbers cannot be read: {error}"


def count_contamination(plan: Plan, lane: LanePlan, store: ResultReader) -> dict[str, int] | None:
    """Return, by benchmark, how many items stand in the text that a lane's stages read of the corpus.

    Returns:
        The counts; None where they are not known: a corpus's report cannot be read, or the lane has no
        stages here and is not the baseline, so that it was made elsewhere.

    Raises:
        TransientError: the store could not be reached.
    """
    is_known = bool(lane.stage_keys) or lane.name == BASELINE
    counts: dict[str, int] = {}
    for run in (plan.runs[key] for key in lane.stage_keys):
        corpus = run.inputs.get("corpus")
        if corpus is None:
            continue
        try:
            report = json.loads(store.read_file(plan.runs[corpus], "report.json"))
            found = report["contamination"][run.type.corpus_part]
        except PermanentError:
            is_known = False
            continue
        except (OSError, ValueError, KeyError, TypeError):  # not made, or by another version of the code
            is_known = False
            continue
        for name, count in found.items():
            counts[name] = max(counts.get(name, 0), int(count))
    counts = {name: count for name, count in counts.items() if count}
    return counts if is_known or counts else None


def _find(store: ResultReader, plan: Plan, key: str) -> Manifest | None:
    try:
        return store.find_artifact(plan.runs[key])
    except PermanentError:
        return None
