"""How a run goes, whoever drives it: the lanes, then the ranking, then packages until enough are good.

A director is a generator: it yields a plan, is sent the finished state of that plan, and returns the
outcome. The embedded driver runs each plan where it stands; the controller replays the director over what
is committed, so that it needs no memory of its own.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from lanekit.errors import InputError, PermanentError
from lanekit.plan.graph import BASELINE, ArtifactRef, LanePlan, Plan, StageRun, make_stage_run
from lanekit.plan.run_document import RankingSettings, RunSpec
from lanekit.plan.state import RunState
from lanekit.results.collect import ResultReader, collect_record
from lanekit.results.identity import refuse_foreign
from lanekit.results.ranking import RankedLane, Ranking
from lanekit.results.schema import FAILED, NOT_USED, LaneRecord
from lanekit.spec.evaluation import EngineParams, VerifyPackageParams
from lanekit.spec.lane_engine import PLAIN, LaneEngine
from lanekit.spec.params import PackageParams, RankParams

RANKING_TITLE = "ranking"


class ArtifactReader(ResultReader, Protocol):
    """What a director reads of a store; see store.base.ArtifactStore."""

    def load_run(self, path: str) -> StageRun:
        """Return the run behind a committed artifact."""


@dataclass
class Outcome:
    """The ranking, the packages in order with their artifacts, and why others were refused.

    `passed_over` tells which lanes had a place and are no plain package; that is nobody's failure.
    """

    ranking: Ranking
    summary: ArtifactRef
    packages: dict[str, ArtifactRef] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    passed_over: dict[str, str] = field(default_factory=dict)

    @property
    def is_complete(self) -> bool:
        """Whether something was ranked, no lane failed and no package was refused."""
        failed = any(lane.record.status in FAILED for lane in self.ranking.evaluated)
        return bool(self.packages) and not failed and not self.refused


Director = Generator[Plan, RunState, Outcome]


def direct_run(spec: RunSpec, plan: Plan, store: ArtifactReader) -> Director:
    """Direct a whole run; `plan` is that of its lanes.

    Raises:
        InputError: the records cannot be ranked at all.
    """
    state = yield plan
    records = [collect_record(plan, state, store, lane) for lane in plan.lanes]
    outcome = yield from direct_ranking(records, spec.ranking, spec.engine, spec.lock_digests, store)
    return outcome


def direct_ranking(
    records: list[LaneRecord],
    settings: RankingSettings,
    engine: EngineParams,
    lock_digests: Mapping[str, str],
    store: ArtifactReader,
) -> Director:
    """Rank the records, package and verify the best lanes.

    A lane whose package fails its check, or that cannot be a plain package where the contest takes no other,
    is named with the reason, and the next one takes its place.

    Raises:
        InputError: the records cannot be ranked at all.
    """
    records = refuse_foreign(records)
    params = RankParams(
        records=tuple(record.model_dump(mode="json") for record in records),
        weights=dict(settings.scoring.benchmark_weights),
        quality_weight=settings.scoring.quality_weight,
        experiment=settings.experiment,
        resamples=settings.scoring.resamples,
        confidence=settings.scoring.confidence,
        margin=settings.rules.margin,
        published_percent=settings.published_percent,
        plain_packages=settings.packaging.plain,
    )
    plan = Plan()
    inputs = {}
    for record in records:
        for role, path in list_item_artifacts(record).items():
            run = load_committed(path, store)
            if run is not None:
                plan.runs[run.key] = run
                inputs[role] = run.key
    rank = make_stage_run("rank", params, inputs, lock_digests)
    title = RANKING_TITLE
    plan.runs[rank.key] = rank
    plan.lanes[title] = LanePlan(title, title, "", (), rank.key)
    state = yield plan
    reason = state.explain_lane(title)
    if reason:
        raise InputError(reason, remedy="see the ranking's log (logs/ in the store)")
    outcome = Outcome(Ranking.model_validate_json(store.read_file(rank, "ranking.json")), rank.ref)
    ranked = outcome.ranking.lanes
    base = next(lane.record for lane in ranked if lane.rank is None and lane.record.lane == BASELINE)
    queue = [lane for lane in ranked if lane.rank is not None]
    while queue and len(outcome.packages) < settings.packaging.top_k:
        wanted = settings.packaging.top_k - len(outcome.packages)
        batch = _take_next(queue, wanted, outcome.passed_over, is_plain=settings.packaging.plain)
        if not batch:
            break
        plan = plan_packages(batch, base, settings, engine, lock_digests, store, outcome.refused)
        state = yield plan
        for name, lane in plan.lanes.items():
            reason = state.explain_lane(name)
            if reason:
                outcome.refused[name] = reason
            else:
                outcome.packages[name] = plan.runs[lane.stage_keys[0]].ref
    return outcome


def _take_next(
    queue: list[RankedLane], wanted: int, passed_over: dict[str, str], *, is_plain: bool
) -> list[RankedLane]:
    """Take so many lanes off the queue's head; those that are no plain package go to `passed_over`."""
    batch: list[RankedLane] = []
    while queue and len(batch) < wanted:
        lane = queue.pop(0)
        if is_plain and lane.record.engine.arguments:
            passed_over[lane.record.lane] = (
                f"it needs engine arguments: {lane.record.engine}, and the contest takes plain packages "
                "(packaging.plain); the next lane has its place"
            )
        else:
            batch.append(lane)
    return batch


def list_item_artifacts(record: LaneRecord) -> dict[str, str]:
    """Return the places of a lane's per-item outputs by the roles that the ranking knows them by."""
    places = {f"items.{record.lane}": record.evaluation, f"judged.{record.lane}": record.judgement}
    is_used = record.benchmarks and record.status not in NOT_USED
    return {role: path for role, path in places.items() if path and is_used}


def load_committed(path: str, store: ArtifactReader) -> StageRun | None:
    """Return the run behind an artifact; None where it is gone."""
    try:
        return store.load_run(path)
    except PermanentError:
        return None


def name_package(base_name: str, lane: str) -> str:
    """Return a package's name: it begins with the base model's, as its licence asks."""
    return f"{base_name}-{lane.replace('_', '-')}"


def make_package_run(
    lane: str,
    model: StageRun,
    base: StageRun,
    settings: RankingSettings,
    lock_digests: Mapping[str, str],
    engine: LaneEngine = PLAIN,
) -> StageRun:
    """Return the run that lays out a lane's model as a submission; `engine` is what the lane needs."""
    params = PackageParams(
        package_name=name_package(settings.base_model_name, lane),
        lane=lane,
        base_model_name=settings.base_model_name,
        base_model_source=settings.base_model_source,
        engine_arguments=engine.arguments,
        **settings.packaging.model_dump(exclude={"top_k", "plain"}),
    )
    return make_stage_run("package", params, {"model": model.key, "base": base.key}, lock_digests)


def make_verify_run(package_key: str, engine: EngineParams, lock_digests: Mapping[str, str]) -> StageRun:
    """Return the run that asks a package, with its lane's own engine arguments."""
    params = VerifyPackageParams(engine=engine)
    return make_stage_run("verify_package", params, {"package": package_key}, lock_digests)


def plan_packages(
    lanes: list[RankedLane],
    base: LaneRecord,
    settings: RankingSettings,
    engine: EngineParams,
    lock_digests: Mapping[str, str],
    store: ArtifactReader,
    refused: dict[str, str],
) -> Plan:
    """Plan the packages of some lanes; one whose model is gone goes to `refused`.

    Raises:
        StoreError: the base model's artifact is gone.
    """
    plan = Plan()
    base_run = store.load_run(base.model)
    plan.runs[base_run.key] = base_run
    for lane in lanes:
        name = lane.record.lane
        try:
            model_run = store.load_run(lane.record.model)
        except PermanentError as error:
            refused[name] = str(error)
            continue
        own = lane.record.engine
        package = make_package_run(name, model_run, base_run, settings, lock_digests, own)
        verify = make_verify_run(package.key, own.apply(engine), lock_digests)
        plan.runs.update({run.key: run for run in (model_run, package, verify)})
        plan.lanes[name] = LanePlan(name, f"package {name}", "Package", (package.key,), verify.key)
    return plan
