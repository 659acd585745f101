"""Lane records out of committed artifacts, and in and out of the results folder."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Protocol

from pydantic import ValidationError

from lanekit.artifacts import explain_os_errors
from lanekit.errors import InputError, LanekitError
from lanekit.manifest import Manifest
from lanekit.plan import BASELINE, LanePlan, Locator, Plan
from lanekit.results import BenchmarkResult, LaneRecord, SpeedResult
from lanekit.schedule import RunState

METRICS_NAME = "metrics.json"
ITEMS_NAME = "items.parquet"
UNREADABLE = "its record cannot be read"  # how the reason of such a lane begins
LANE_FILES = (METRICS_NAME, ITEMS_NAME)  # of each lane in a ranking's artifact
OWN_NAMES = ("manifest.json", "report.json", "README.md")  # of the artifact itself


class ResultReader(Protocol):
    """What records are read from; see artifacts.ArtifactStore."""

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
    manifests = {key: _find(store, plan, key) for key in _list_lane_keys(plan, lane)}
    record.stage_seconds = {
        plan.runs[key].type.name: manifest.seconds for key, manifest in manifests.items() if manifest
    }
    record.stages = [plan.runs[key].path for key in lane_plan.stage_keys]
    record.model = plan.runs[lane_plan.model_key].path
    record.contamination = count_contamination(plan, lane_plan, store)
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
    except LanekitError as error:
        if error.transient:
            raise
        record.status, record.reason = "failed", str(error)
        return record
    except (OSError, ValueError, KeyError, TypeError) as error:  # a result of another version of the code
        record.status, record.reason = "failed", f"its metrics cannot be read: {error}"
        return record
    record.benchmarks, record.size_bytes, record.speed = benchmarks, size_bytes, speed
    record.evaluation = plan.runs[lane_plan.evaluate_key].path
    return record


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
        except LanekitError as error:
            if error.transient:
                raise
            is_known = False
            continue
        except (OSError, ValueError, KeyError, TypeError):  # not made, or by another version of the code
            is_known = False
            continue
        for name, count in found.items():
            counts[name] = max(counts.get(name, 0), int(count))
    counts = {name: count for name, count in counts.items() if count}
    return counts if is_known or counts else None


def read_records(results: Path) -> list[LaneRecord]:
    """Return the records of `baseline.json` and every `<lane>/metrics.json`, the baseline first.

    A lane whose file is not a record has failed, with the reason.

    Raises:
        InputError: there is none, or the baseline's is not a record; names the file.
    """
    paths = [results / "baseline.json", *sorted(results.glob(f"*/{METRICS_NAME}"))]
    records: dict[str, LaneRecord] = {}
    for path in paths:
        if not path.is_file():
            continue
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
            known = {name: data[name] for name in LaneRecord.model_fields if name in data}
            record = LaneRecord.model_validate(known)
        except (ValueError, ValidationError, TypeError) as error:
            lane = path.parent.name
            if path.parent == results or (lane == BASELINE and BASELINE not in records):
                raise InputError(
                    f"{path}: not a lane record: {error}", remedy="evaluate the baseline again"
                ) from error
            where = path.relative_to(results).as_posix()
            what = f"{UNREADABLE}: {where}: not a lane record: {error}; remedy: evaluate the lane again"
            record = LaneRecord(lane=lane, status="failed", reason=what)
        if record.status != "failed":  # what ranking decided last time is decided anew
            record.status, record.reason = "ok", ""
        records.setdefault(record.lane, record)
    if not records:
        raise InputError(
            f"{results}: no results to rank",
            remedy="run scripts/run_all.py, or scripts/04_eval_vllm.py for the baseline and some lanes",
        )
    return list(records.values())


def write_record(results: Path, record: LaneRecord) -> Path:
    """Write one record where `read_records` finds it, and return its path.

    The lane's per-item outputs of an earlier evaluation are removed: they do not belong to this record.
    """
    path = results / record.lane / METRICS_NAME
    if record.lane == BASELINE:
        path = results / "baseline.json"
    with explain_os_errors(f"writing {path}"):
        path.parent.mkdir(parents=True, exist_ok=True)
        (results / record.lane / ITEMS_NAME).unlink(missing_ok=True)
        path.write_text(record.model_dump_json(indent=2) + "\n", encoding="utf-8")
    return path


def export_ranking(folder: Path, results: Path) -> None:
    """Copy a ranking artifact's tables to the results folder, each lane's metrics and items to `<lane>/`.

    Items of an earlier evaluation go where the ranking has none. A file that was not readable as a record is
    left as it is.
    """
    with explain_os_errors(f"writing {results}"):
        results.mkdir(parents=True, exist_ok=True)
        for path in sorted(folder.iterdir()):
            if path.is_file() and path.name not in OWN_NAMES:
                shutil.copyfile(path, results / path.name)
        for source in sorted(p for p in (folder / "lanes").glob("*") if p.is_dir()):
            if _is_unreadable(source / METRICS_NAME):
                continue
            target = results / source.name
            target.mkdir(parents=True, exist_ok=True)
            if not (source / ITEMS_NAME).is_file():
                (target / ITEMS_NAME).unlink(missing_ok=True)
            for path in sorted(p for p in source.iterdir() if p.is_file()):
                shutil.copyfile(path, target / path.name)


def _is_unreadable(metrics: Path) -> bool:
    """Whether a ranking's record of a lane only says that the one in the results folder is not readable."""
    if not metrics.is_file():
        return False
    return str(json.loads(metrics.read_text(encoding="utf-8")).get("reason", "")).startswith(UNREADABLE)


def export_package(folder: Path, submissions: Path, position: int) -> None:
    """Copy a package to `top<position>/` and its zip to `submit_top<position>.zip`, replacing old ones."""
    target = submissions / f"top{position}"
    with explain_os_errors(f"writing {submissions}"):
        submissions.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(folder / "package", target)
        shutil.copyfile(folder / "submit.zip", submissions / f"submit_top{position}.zip")


def clear_packages(submissions: Path) -> None:
    """Remove the packages of an earlier ranking."""
    with explain_os_errors(f"clearing {submissions}"):
        for path in submissions.glob("top[0-9]*"):
            shutil.rmtree(path, ignore_errors=True)
        for path in submissions.glob("submit_top[0-9]*.zip"):
            path.unlink()


def _list_lane_keys(plan: Plan, lane: str) -> list[str]:
    needed = plan.collect_lane_runs(lane)
    return [key for key in plan.runs if key in needed]


def _find(store: ResultReader, plan: Plan, key: str) -> Manifest | None:
    try:
        return store.find_artifact(plan.runs[key])
    except LanekitError as error:
        if error.transient:
            raise
        return None
