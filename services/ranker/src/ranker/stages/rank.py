"""Score and rank the lanes' records; write the tables, the page, the picture and one metrics file a lane."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ValidationError

from lanekit.errors import InputError, first_finding
from lanekit.progress import Progress
from lanekit.results.collect import ITEMS_NAME
from lanekit.results.ranking import RankedLane
from lanekit.results.schema import LaneRecord
from lanekit.spec.params import RankParams
from ranker.report.html import render_html
from ranker.report.markdown import render_markdown
from ranker.report.notes import list_benchmarks
from ranker.report.plots import draw_summary
from ranker.report.table_csv import render_csv
from ranker.scoring.engine_needs import note_engine_arguments
from ranker.scoring.finite import drop_non_finite
from ranker.scoring.plausible import refuse, refuse_implausible
from ranker.scoring.published import warn_of_published
from ranker.scoring.score import rank_lanes
from ranker.statistics.items import (
    LaneItems,
    collect_values,
    find_unlike_items,
    find_unlike_values,
    merge_tables,
    read_table,
)
from ranker.statistics.lanes import Resampling, add_statistics


def run(spec: RankParams, inputs: Mapping[str, Path], out: Path, progress: Progress) -> None:
    """Write summary.csv, .md, .html and .png, baseline.json, ranking.json and lanes/<lane>/metrics.json.

    `inputs` holds, where they are known, a lane's evaluation as "items.<lane>" and its judging as
    "judged.<lane>"; their per-item outputs, joined, go to lanes/<lane>/items.parquet.

    Raises:
        InputError: a record is malformed, two records are of one lane, or the baseline's is missing.
    """
    records = [refuse_implausible(drop_non_finite(parse_record(content))) for content in spec.records]
    tables, items, notes = collect_items(records, inputs)
    records = [refuse(record, find_unlike_values(record, items.get(record.lane))) for record in records]
    ranking = rank_lanes(
        records,
        spec.weights,
        quality_weight=spec.quality_weight,
        baseline=spec.baseline,
        experiment=spec.experiment,
        objections=list_objections(records, items, spec),
    )
    progress(1, 4, "statistics")
    method = Resampling(spec.resamples, spec.confidence, spec.seed, spec.margin)
    add_statistics(ranking, items, spec.quality_weight, method)
    ranking.published_percent = dict(spec.published_percent)
    needs = note_engine_arguments(ranking, is_plain=spec.plain_packages)
    ranking.notes[:0] = [*notes, *warn_of_published(ranking, spec.confidence), *needs]
    for lane in ranking.lanes:
        lane.has_items = lane.record.lane in tables
    progress(2, 4, "tables")
    benchmarks = list_benchmarks(ranking, list(spec.weights))
    out.mkdir(parents=True, exist_ok=True)
    _write(out / "summary.csv", render_csv(ranking, list(spec.weights), benchmarks[len(spec.weights) :]))
    _write(out / "summary.md", render_markdown(ranking, benchmarks, spec.quality_weight, spec.confidence))
    _write(out / "ranking.json", ranking.model_dump_json(indent=2) + "\n")
    baseline = next(record for record in records if record.lane == spec.baseline)
    _write(out / "baseline.json", baseline.model_dump_json(indent=2) + "\n")
    for lane in ranking.evaluated:
        folder = out / "lanes" / lane.record.lane
        folder.mkdir(parents=True)
        _write(folder / "metrics.json", render_metrics(lane))
        if lane.record.lane in tables:
            pq.write_table(tables[lane.record.lane], folder / ITEMS_NAME, compression="zstd")
    progress(3, 4, "page and picture")
    _write(out / "summary.html", render_html(ranking, benchmarks, spec.quality_weight, spec.confidence))
    draw_summary(ranking, out / "summary.png")
    progress(4, 4, "ranked")


def parse_record(content: Mapping[str, object]) -> LaneRecord:
    """Parse one record.

    Raises:
        InputError: it does not fit the schema, or its lane cannot name a folder.
    """
    try:
        record = LaneRecord.model_validate(content)
    except ValidationError as error:
        raise InputError(
            f"the record of lane '{content.get('lane', '?')}' is malformed: {first_finding(error)}",
            remedy="evaluate this lane again with this version (scripts/04_eval_vllm.py --help)",
        ) from error
    if not record.lane or record.lane.startswith(".") or set(record.lane) & set("/\\\0"):
        raise InputError(f"'{record.lane}' cannot name a lane", remedy="use a-z, 0-9 and _ alone")
    return record


def collect_items(
    records: Sequence[LaneRecord], inputs: Mapping[str, Path]
) -> tuple[dict[str, pa.Table], dict[str, LaneItems], list[str]]:
    """Return the lanes' per-item outputs as tables and as values, by lane, and a note on each that has none.

    A lane whose file is missing or malformed is ranked without: its artifact may be of an earlier version.
    """
    judged = {n for record in records for n, r in record.benchmarks.items() if r.metric == "judge"}
    tables, items, notes = {}, {}, []
    for record in records:
        try:
            table = read_lane_items(record.lane, inputs)
            if table is None:
                continue
            items[record.lane] = collect_values(table, judged)
        except InputError as error:
            reason = " ".join(str(error).split())
            for folder in inputs.values():  # its place says nothing, and is another on another machine
                reason = reason.replace(f"{folder}/", "")
            notes.append(f"The per-item outputs of {record.lane} are not used: {reason}.")
        else:
            tables[record.lane] = table
    return tables, items, notes


def read_lane_items(lane: str, inputs: Mapping[str, Path]) -> pa.Table | None:
    """Return a lane's per-item outputs, the judge's in place of the evaluation's; None where there are none.

    Raises:
        InputError: a file is malformed.
    """
    evaluated, judged = inputs.get(f"items.{lane}"), inputs.get(f"judged.{lane}")
    if evaluated is None:
        return None
    table = read_table(evaluated / ITEMS_NAME)
    return merge_tables(table, read_table(judged / ITEMS_NAME)) if judged else table


def list_objections(
    records: Sequence[LaneRecord], items: Mapping[str, LaneItems], spec: RankParams
) -> dict[str, str]:
    """Return, by lane, why its items are not the baseline's, over the benchmarks that have a weight."""
    weighted = [name for name, weight in spec.weights.items() if weight > 0]
    objections = {}
    for record in records:
        if record.lane == spec.baseline or record.lane not in items or spec.baseline not in items:
            continue
        valued = [n for n in weighted if (r := record.benchmarks.get(n)) and r.value is not None]
        reason = find_unlike_items(items[record.lane], items[spec.baseline], valued)
        if reason:
            objections[record.lane] = reason
    return objections


def render_metrics(lane: RankedLane) -> str:
    """Return metrics.json's text: the lane's record with its rank and score beside it."""
    content = lane.record.model_dump(mode="json") | lane.model_dump(mode="json", exclude={"record"})
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
