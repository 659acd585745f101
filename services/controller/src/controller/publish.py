"""A run's outcome, written for programs and for people who browse the store."""

from __future__ import annotations

import posixpath

from controller.committed import CommittedStore
from lanekit.errors import StoreError
from lanekit.plan.graph import BASELINE
from lanekit.results.collect import METRICS_NAME
from lanekit.results.course import Outcome
from lanekit.results.folder import LANE_FILES
from lanekit.results.outcome import EndPhase, LaneOutcome, RankedPackage, RunOutcome
from lanekit.results.ranking import RankedLane
from lanekit.results.schema import FAILED
from lanekit.store.documents import JSON, RunDocuments, RunPaths

CONTENT_TYPES = {
    ".md": "text/markdown; charset=utf-8",
    ".csv": "text/csv; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".png": "image/png",
    ".json": JSON,
}
SUMMARIES = ("summary.md", "summary.csv", "summary.html", "summary.png")
README = "README.md"


def describe_outcome(run_id: str, outcome: Outcome) -> RunOutcome:
    """Return what is kept of a director's outcome; a run without a ranked lane failed."""
    lanes = outcome.ranking.lanes
    others = [lane for lane in lanes if lane.record.lane != BASELINE]
    phase: EndPhase = "complete"
    reason = ""
    failed = [lane for lane in outcome.ranking.evaluated if lane.record.status in FAILED]
    if others and not any(lane.rank is not None for lane in others):
        phase = "failed"
        reason = f"no lane could be ranked: {_find_reason(lanes)}"
    elif failed or outcome.refused:
        counts = [(len(failed), "lane(s) failed"), (len(outcome.refused), "package(s) refused")]
        reason = ", ".join(f"{count} {what}" for count, what in counts if count)
    return RunOutcome(
        run_id=run_id,
        phase=phase,
        reason=reason,
        summary=outcome.summary,
        packages=tuple(
            RankedPackage(lane=lane, position=position, key=ref.key, path=ref.path)
            for position, (lane, ref) in enumerate(outcome.packages.items(), start=1)
        ),
        refused=dict(outcome.refused),
        passed_over=dict(outcome.passed_over),
        records=tuple(
            LaneOutcome(
                lane=lane.record.lane,
                status=lane.record.status,
                reason=lane.record.reason,
                rank=lane.rank,
                score=lane.score,
            )
            for lane in outcome.ranking.evaluated
        ),
    )


def _find_reason(lanes: list[RankedLane]) -> str:
    return next((lane.record.reason for lane in lanes if lane.record.reason), "none was scored")


def publish_outcome(
    documents: RunDocuments, store: CommittedStore, ended: RunOutcome, models: dict[str, str] | None = None
) -> None:
    """Write tables, metrics, items and an index under the run, the tables at the top, and the outcome last.

    `models`: the place of each lane's model.

    Raises:
        TransientError: the store could not be reached; to be called again.
    """
    copied: list[str] = []
    if ended.summary is not None:
        ref = ended.summary
        manifest = store.find_artifact(ref)
        if manifest is None:
            raise StoreError(f"{ref.path}: the ranking is gone", remedy="scripts/retry.py RUN makes it anew")
        for name in sorted(manifest.files):
            is_lanes = name.startswith("lanes/") and posixpath.basename(name) in LANE_FILES
            if name not in SUMMARIES and not is_lanes:
                continue
            content = store.read_file(ref, name)
            documents.write(ended.run_id, name, content, choose_type(name))
            if name in SUMMARIES:
                copied.append(name)
    readme = render_readme(ended, models or {})
    documents.write(ended.run_id, README, readme.encode(), choose_type(README))
    if copied:
        documents.copy_to_top(ended.run_id, copied)
    content = (ended.model_dump_json(indent=2) + "\n").encode()
    documents.write(ended.run_id, RunPaths.OUTCOME, content, JSON)


def choose_type(name: str) -> str:
    """Return a document's content type."""
    return CONTENT_TYPES.get(posixpath.splitext(name)[1], "application/octet-stream")


def render_readme(ended: RunOutcome, models: dict[str, str]) -> str:
    """Return the index of a run: how it ended, the lanes by rank, and where everything is."""
    lines = [f"# Run `{ended.run_id}`", "", f"It ended: **{ended.phase}**."]
    if ended.reason:
        lines += ["", *(f"> {line}" for line in ended.reason.splitlines())]
    if ended.packages:
        lines += ["", "## Packages", "", "| # | lane | zip |", "| ---: | :--- | :--- |"]
        lines += [f"| {p.position} | `{p.lane}` | `{p.path}/submit.zip` |" for p in ended.packages]
    for lane, reason in ended.refused.items():
        lines += ["", f"The package of `{lane}` was refused: {' '.join(reason.split())}"]
    for lane, reason in ended.passed_over.items():
        lines += ["", f"`{lane}` has no package: {' '.join(reason.split())}"]
    if ended.records:
        lines += ["", "## Lanes", "", "| rank | lane | score | status | metrics | model |"]
        lines += ["| ---: | :--- | ---: | :--- | :--- | :--- |"]
        for record in ended.records:
            model = f"`{models[record.lane]}`" if models.get(record.lane) else ""
            score = "" if record.score is None else f"{record.score:.4f}"
            lines.append(
                f"| {record.rank or '–'} | `{record.lane}` | {score} | {record.status} | "
                f"`lanes/{record.lane}/{METRICS_NAME}` | {model} |"
            )
    if ended.summary is not None:
        tables = ", ".join(f"`{name}`" for name in SUMMARIES)
        lines += ["", f"The whole tables, with intervals and benchmarks: {tables} here."]
        lines += ["", f"The ranking with its manifest: `{ended.summary.path}`."]
    lines += ["", "Places are `bucket/name`; `outcome.json` says the same for programs.", ""]
    return "\n".join(lines)
