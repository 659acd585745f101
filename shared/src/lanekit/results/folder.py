"""Lane records, tables and packages in and out of the results and submissions folders."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from pydantic import ValidationError

from lanekit.errors import InputError, explain_os_errors
from lanekit.plan.graph import BASELINE
from lanekit.results.collect import ITEMS_NAME, METRICS_NAME
from lanekit.results.schema import FAILED, LaneRecord

LANE_FILES = (METRICS_NAME, ITEMS_NAME)  # of each lane in a ranking's artifact


OWN_NAMES = ("manifest.json", "report.json", "README.md")  # of the artifact itself


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
            what = f"{where}: not a lane record: {error}; remedy: evaluate the lane again"
            record = LaneRecord(lane=lane, status="unreadable", reason=what)
        if record.status not in FAILED:  # what ranking decided last time is decided anew
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
    return bool(json.loads(metrics.read_text(encoding="utf-8")).get("status") == "unreadable")


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
