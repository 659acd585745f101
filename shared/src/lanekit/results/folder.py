"""Lane records and tables in and out of the results folder."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from lanekit.errors import InputError, explain_os_errors, first_finding
from lanekit.files.owned import OwnFiles, describe_tree, open_staging, show_some
from lanekit.plan.graph import BASELINE
from lanekit.results.collect import ITEMS_NAME, METRICS_NAME
from lanekit.results.schema import FAILED, NOT_USED, LaneRecord

LANE_FILES = (METRICS_NAME, ITEMS_NAME)  # of each lane in a ranking's artifact
BASELINE_NAME, RANKING_NAME = "baseline.json", "ranking.json"
TABLES = ("summary.csv", "summary.md", "summary.html", "summary.png", BASELINE_NAME, RANKING_NAME)
UNRANKED = "unranked"  # the tables of a run that ranked nothing, beside the last that did
LISTING_NAME = ".lanekit-results.json"


def read_records(results: Path) -> list[LaneRecord]:
    """Return the records of `baseline.json` and every `<lane>/metrics.json`, the baseline first.

    A lane whose file is not a record, or another lane's, has failed, with the reason.

    Raises:
        InputError: there is none, or the baseline's is not a record; names the file.
    """
    paths = [results / BASELINE_NAME, *sorted(results.glob(f"*/{METRICS_NAME}"))]
    records: dict[str, LaneRecord] = {}
    for path in paths:
        if not path.is_file():
            continue
        is_base = path.parent == results or (path.parent.name == BASELINE and BASELINE not in records)
        lane = BASELINE if is_base else path.parent.name
        try:
            record = _read_record(path, lane)
        except (OSError, ValueError, TypeError) as error:
            reason = first_finding(error) if isinstance(error, ValidationError) else str(error)
            if is_base:
                raise InputError(
                    f"{path}: not a lane record: {reason}", remedy="evaluate the baseline again"
                ) from error
            where = path.relative_to(results).as_posix()
            what = f"{where}: not a lane record: {reason}; remedy: evaluate the lane again"
            record = LaneRecord(lane=lane, status="unreadable", reason=what)
        if (
            record.status != "failed" and record.status != "unreadable"
        ):  # what ranking decided last time is decided anew
            record.status, record.reason = "ok", ""
        records.setdefault(record.lane, record)
    if not records:
        raise InputError(
            f"{results}: no results to rank",
            remedy="run scripts/run_all.py, or scripts/04_eval_vllm.py for the baseline and some lanes",
        )
    return list(records.values())


def _read_record(path: Path, lane: str) -> LaneRecord:
    data = json.loads(path.read_bytes())
    record = LaneRecord.model_validate({name: data[name] for name in LaneRecord.model_fields if name in data})
    if record.lane != lane:
        raise ValueError(f"it is the record of '{record.lane}', not of '{lane}'")
    return record


def check_results(results: Path, lanes: Iterable[str] = ()) -> None:
    """Look whether tables, and the records of some lanes, can be put into a folder.

    Raises:
        InputError: something stands in their place that this product did not write; names it.
    """
    own = OwnFiles(results, LISTING_NAME)
    with explain_os_errors(f"reading {results}"):
        if results.exists() and not results.is_dir():
            raise InputError(f"{results}: not a folder", remedy="pass another --results")
        known = own.read()
        names = [*TABLES, *(f"{lane}/{name}" for lane in lanes if lane != BASELINE for name in LANE_FILES)]
        foreign = [n for n in names if (results / n).exists() and not (n in known or _is_earlier(results, n))]
        links = [n for n in dict.fromkeys(names) if (results / n).is_symlink()]
    if foreign or links:
        raise InputError(
            f"{results}: in the place of results stands what this product did not write: "
            f"{show_some(dict.fromkeys([*foreign, *links]))}",
            remedy="move it away, or pass another --results",
        )


def _is_earlier(results: Path, name: str) -> bool:
    """Whether a file is told as ours by its content: an earlier version kept no listing."""
    folder = (results / name).parent
    if name == RANKING_NAME or (folder == results and not name.endswith(".json")):
        return {"lanes", "weights_used"} <= set(_read_mapping(results / RANKING_NAME))
    record = results / name if name == BASELINE_NAME else folder / METRICS_NAME
    return {"lane", "benchmarks"} <= set(_read_mapping(record))


def _read_mapping(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return data if isinstance(data, dict) else {}


def write_record(results: Path, record: LaneRecord) -> Path:
    """Write one record where `read_records` finds it, and return its path.

    The lane's per-item outputs of an earlier evaluation are removed: they do not belong to this record. A
    failed evaluation leaves the record of one that went well.

    Raises:
        InputError: see `check_results`.
    """
    name = BASELINE_NAME if record.lane == BASELINE else f"{record.lane}/{METRICS_NAME}"
    check_results(results, [record.lane])
    if record.status in FAILED and _read_mapping(results / name).get("status") not in (None, *FAILED):
        return results / name
    with explain_os_errors(f"writing {results}"), open_staging(results) as staging:
        (staging / name).parent.mkdir(parents=True, exist_ok=True)
        (staging / name).write_text(record.model_dump_json(indent=2) + "\n", encoding="utf-8")
        _put(staging, results, gone=[f"{record.lane}/{ITEMS_NAME}"])
    return results / name


def has_ranking(results: Path) -> bool:
    """Whether the tables of a ranking with a ranked lane stand in a results folder."""
    lanes = _read_mapping(results / RANKING_NAME).get("lanes")
    return isinstance(lanes, list) and any(isinstance(x, dict) and x.get("rank") is not None for x in lanes)


def export_ranking(folder: Path, results: Path, *, is_ranked: bool = True) -> Path:
    """Copy a ranking artifact's tables to the results folder, each lane's metrics and items to `<lane>/`.

    Items of an earlier evaluation go where the ranking has none. A file that was not readable as a record is
    left as it is. Where nothing was ranked and the folder holds a ranking, that stays, and the new tables
    stand in `unranked/`.

    Returns:
        The folder of the tables.

    Raises:
        InputError: see `check_results`.
        StoreError: the disk is full, or the folder cannot be written; what stood there stays.
    """
    lanes = [p.name for p in sorted((folder / "lanes").glob("*")) if p.is_dir()]
    lanes = [lane for lane in lanes if not _is_left(folder / "lanes" / lane / METRICS_NAME)]
    check_results(results, lanes)
    keeps_last = not is_ranked and has_ranking(results)
    with explain_os_errors(f"writing {results}"), open_staging(results) as staging:
        place = staging / UNRANKED if keeps_last else staging
        place.mkdir(exist_ok=True)
        for name in (name for name in TABLES if (folder / name).is_file()):
            shutil.copyfile(folder / name, place / name)
        gone = [f"{UNRANKED}/{name}" for name in TABLES]
        for lane in () if keeps_last else lanes:
            shutil.copytree(folder / "lanes" / lane, staging / lane)
            gone.append(f"{lane}/{ITEMS_NAME}")
        _put(staging, results, gone)
    return results / UNRANKED if keeps_last else results


def read_experiment_name(results: Path) -> str | None:
    """Return the name of the experiment whose ranking stands in a results folder; None where there is
    none."""
    name = _read_mapping(results / RANKING_NAME).get("experiment")
    return name if isinstance(name, str) else None


def rewrite_tables(
    results: Path, change: Callable[[str, str], str | None], names: tuple[str, ...]
) -> list[str]:
    """Write some tables anew; `change` takes a table's name and text and returns the text, None for none.

    Returns:
        The names of those for which it returned None; a table that is not there is passed over.

    Raises:
        InputError: see `check_results`.
        StoreError: the folder cannot be written.
    """
    check_results(results)
    lacking = []
    with explain_os_errors(f"writing {results}"), open_staging(results) as staging:
        for name in (name for name in names if (results / name).is_file()):
            text = change(name, (results / name).read_text(encoding="utf-8"))
            if text is None:
                lacking.append(name)
            else:
                (staging / name).write_text(text, encoding="utf-8")
        _put(staging, results, gone=[])
    return lacking


def _put(staging: Path, results: Path, gone: Iterable[str]) -> None:
    """Move files in by their names, and remove those of `gone` that are ours and are not among them."""
    own = OwnFiles(results, LISTING_NAME)
    known, new = own.read(), describe_tree(staging)
    removed = [n for n in gone if n not in new and (n in known or _is_earlier(results, n))]
    own.write(known | new)
    for name in new:
        (results / name).parent.mkdir(parents=True, exist_ok=True)
        (staging / name).replace(results / name)
    for name in removed:
        (results / name).unlink(missing_ok=True)
    own.write({name: digests for name, digests in (known | new).items() if name not in removed})


def _is_left(metrics: Path) -> bool:
    """Whether a ranking's record of a lane only says why the one in the results folder is not used."""
    return _read_mapping(metrics).get("status") in NOT_USED
