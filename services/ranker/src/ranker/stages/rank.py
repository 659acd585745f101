"""Score and rank the lanes' records; write the tables, the page, the picture and one metrics file a lane."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from pydantic import ValidationError

from lanekit.errors import InputError
from lanekit.params import RankParams
from lanekit.progress import Progress
from lanekit.results import LaneRecord, RankedLane
from lanekit.scoring import rank_lanes
from ranker.html import render_html
from ranker.plots import draw_summary
from ranker.tables import list_benchmarks, render_csv, render_markdown


def run(spec: RankParams, inputs: Mapping[str, Path], out: Path, progress: Progress) -> None:
    """Write summary.csv, .md, .html and .png, baseline.json, ranking.json and lanes/<lane>/metrics.json.

    Raises:
        InputError: a record is malformed, two are of one lane, or the baseline's is missing.
    """
    records = [parse_record(content) for content in spec.records]
    ranking = rank_lanes(
        records,
        spec.weights,
        quality_weight=spec.quality_weight,
        baseline=spec.baseline,
        experiment=spec.experiment,
    )
    progress(1, 3, "tables")
    benchmarks = list_benchmarks(ranking, list(spec.weights))
    out.mkdir(parents=True, exist_ok=True)
    _write(out / "summary.csv", render_csv(ranking, benchmarks))
    _write(out / "summary.md", render_markdown(ranking, benchmarks, spec.quality_weight))
    _write(out / "ranking.json", ranking.model_dump_json(indent=2) + "\n")
    baseline = next(record for record in records if record.lane == spec.baseline)
    _write(out / "baseline.json", baseline.model_dump_json(indent=2) + "\n")
    for lane in ranking.lanes:
        folder = out / "lanes" / lane.record.lane
        folder.mkdir(parents=True)
        _write(folder / "metrics.json", render_metrics(lane))
    progress(2, 3, "page and picture")
    _write(out / "summary.html", render_html(ranking, benchmarks, spec.quality_weight))
    draw_summary(ranking, out / "summary.png")
    progress(3, 3, "ranked")


def parse_record(content: Mapping[str, object]) -> LaneRecord:
    """Parse one record.

    Raises:
        InputError: it does not fit the schema, or its lane cannot name a folder.
    """
    try:
        record = LaneRecord.model_validate(content)
    except ValidationError as error:
        detail = error.errors()[0]
        place = ".".join(str(part) for part in detail["loc"])
        raise InputError(
            f"the record of lane '{content.get('lane', '?')}' is malformed: {place}: {detail['msg']}",
            remedy="evaluate this lane again with this version (scripts/04_eval_vllm.py --help)",
        ) from error
    if not record.lane or record.lane.startswith(".") or set(record.lane) & set("/\\\0"):
        raise InputError(f"'{record.lane}' cannot name a lane", remedy="use a-z, 0-9 and _ alone")
    return record


def render_metrics(lane: RankedLane) -> str:
    """Return metrics.json's text: the lane's record with its rank and score beside it."""
    content = lane.record.model_dump(mode="json") | lane.model_dump(mode="json", exclude={"record"})
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
