"""The embedded main job: lanes in, ranking and packages out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console

from lanekit.artifacts import FolderStore
from lanekit.embedded import run_plan
from lanekit.errors import InputError, LanekitError
from lanekit.execute import StageCaller
from lanekit.experiment import Experiment
from lanekit.params import EngineParams, PackageParams, RankParams, VerifyPackageParams
from lanekit.plan import LanePlan, Plan, StageRun, make_stage_run
from lanekit.records import clear_packages, export_package, export_ranking
from lanekit.results import LaneRecord, RankedLane, Ranking
from lanekit.schedule import RunState
from lanekit.view import RunView


@dataclass
class Session:
    """What one command needs to run plans here."""

    experiment: Experiment
    store: FolderStore
    call: StageCaller
    engine: EngineParams
    environments: Mapping[str, str]
    console: Console
    slots: int = 1

    def run(self, plan: Plan) -> RunState:
        """Run a plan under the live view."""
        with RunView(plan, self.console) as view:
            return run_plan(plan, self.store, self.call, view, self.slots)


@dataclass
class Outcome:
    """The ranking, and what became of the packages: lane by position, and reasons of refused ones."""

    ranking: Ranking
    packages: list[str] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)


def rank_and_package(
    session: Session, records: list[LaneRecord], results: Path, submissions: Path
) -> Outcome:
    """Rank the records, write the tables, package and verify the best lanes.

    A lane whose package fails its check is named with the reason, and the next one takes its place.

    Raises:
        InputError: the records cannot be ranked at all.
    """
    experiment = session.experiment
    params = RankParams(
        records=tuple(r.model_dump(mode="json") for r in records),
        weights=dict(experiment.scoring.benchmark_weights),
        quality_weight=experiment.scoring.quality_weight,
        experiment=experiment.name,
    )
    rank = make_stage_run("rank", params, {}, session.environments)
    folder = _run_single(session, rank, "ranking")
    export_ranking(folder, results)
    ranking = Ranking.model_validate_json((folder / "ranking.json").read_text(encoding="utf-8"))
    outcome = Outcome(ranking)
    clear_packages(submissions)
    base = next(lane.record for lane in ranking.lanes if lane.rank is None and lane.record.lane == "baseline")
    queue = [lane for lane in ranking.lanes if lane.rank is not None]
    while queue and len(outcome.packages) < experiment.packaging.top_k:
        wanted = experiment.packaging.top_k - len(outcome.packages)
        batch, queue = queue[:wanted], queue[wanted:]
        _package(session, batch, base, submissions, outcome)
    return outcome


def name_package(base_name: str, lane: str) -> str:
    """Return a package's name: it begins with the base model's, as its licence asks."""
    return f"{base_name}-{lane.replace('_', '-')}"


def _package(
    session: Session, lanes: list[RankedLane], base: LaneRecord, submissions: Path, outcome: Outcome
) -> None:
    plan = Plan()
    base_run = session.store.load_run(base.model)
    plan.runs[base_run.key] = base_run
    experiment = session.experiment
    for lane in lanes:
        name = lane.record.lane
        try:
            model_run = session.store.load_run(lane.record.model)
        except LanekitError as error:
            outcome.refused[name] = str(error)
            continue
        package = make_stage_run(
            "package",
            PackageParams(
                package_name=name_package(experiment.base_model.name, name),
                lane=name,
                base_model_name=experiment.base_model.name,
                base_model_source=_name_source(experiment),
                **experiment.packaging.model_dump(exclude={"top_k"}),
            ),
            {"model": model_run.key, "base": base_run.key},
            session.environments,
        )
        verify = make_stage_run(
            "verify_package",
            VerifyPackageParams(engine=session.engine),
            {"package": package.key},
            session.environments,
        )
        plan.runs.update({run.key: run for run in (model_run, package, verify)})
        plan.lanes[name] = LanePlan(name, f"package {name}", "Package", (package.key,), verify.key)
    state = session.run(plan)
    for name in plan.lanes:
        reason = state.explain_lane(name)
        if reason:
            outcome.refused[name] = reason
            continue
        folder = session.store.fetch_artifact(plan.runs[plan.lanes[name].stage_keys[0]])
        outcome.packages.append(name)
        export_package(folder, submissions, len(outcome.packages))


def _name_source(experiment: Experiment) -> str:
    """Local paths stay out of packages."""
    source = experiment.base_model.source
    return experiment.base_model.name if source.startswith("/") else source


def _run_single(session: Session, run: StageRun, title: str) -> Path:
    plan = Plan(runs={run.key: run}, lanes={title: LanePlan(title, title, "", (), run.key)})
    state = session.run(plan)
    reason = state.explain_lane(title)
    if reason:
        raise InputError(reason)
    return session.store.fetch_artifact(run)
