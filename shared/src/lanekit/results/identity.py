"""Which experiment a record is of: what does not fit the baseline, or the experiment file, is not ranked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from lanekit.errors import InputError
from lanekit.files.hashing import digest_json
from lanekit.plan.graph import BASELINE, LanePlan, Plan
from lanekit.results.schema import FAILED, LaneRecord, LaneStage, RecordIdentity
from lanekit.spec.evaluation import EngineParams, EvaluateParams
from lanekit.spec.lane_engine import PLAIN, LaneEngine, read_lane_engine
from lanekit.spec.lane_file import Lane
from lanekit.spec.params import FetchModelParams, Parameters
from lanekit.spec.replicates import split_replicate, vary_params
from lanekit.spec.source import drop_local_paths
from lanekit.store.card import CARD_NAME
from lanekit.store.manifest import Manifest

EXPLAINED = {
    "base_model": "it is of another base model than the baseline",
    "suite": "it was asked other rows of the benchmarks than the baseline",
    "settings": "it was asked with other settings of the benchmarks than the baseline",
}
RUN_AGAIN = "run scripts/run_all.py again: what is committed is kept, and the records are written anew"


def identify_record(
    plan: Plan, lane: LanePlan, manifests: Mapping[str, Manifest | None]
) -> RecordIdentity | None:
    """Return the identity of an evaluated lane's record; None where a part of it is not committed.

    Args:
        manifests: of the runs that the lane needs, by key.
    """
    if lane.speed_key is None or lane.evaluate_key is None:
        return None
    base_key, suite_key = (
        plan.runs[lane.speed_key].inputs.get("baseline"),
        plan.runs[lane.evaluate_key].inputs.get("suite"),
    )
    base, suite = manifests.get(base_key or ""), manifests.get(suite_key or "")
    evaluation = plan.runs[lane.evaluate_key].params
    if base is None or suite is None or base_key is None or not isinstance(evaluation, EvaluateParams):
        return None
    fetch = plan.runs[base_key].params
    return RecordIdentity(
        base_model=_digest_files(base, lambda name: name.endswith(".safetensors") or name == "config.json"),
        base_source=fetch.model.digest if isinstance(fetch, FetchModelParams) else "",
        suite=_digest_files(suite, lambda name: name not in (CARD_NAME, "report.json")),
        settings=digest_settings(evaluation),
        lane=digest_lane(
            ((plan.runs[key].type.name, plan.runs[key].params) for key in lane.stage_keys),
            read_lane_engine(plan.runs[lane.speed_key].params),
        ),
    )


def digest_settings(evaluation: EvaluateParams) -> str:
    """Return the digest of how the suite is asked, whatever the engine."""
    return digest_json(
        evaluation.model_dump(mode="json", include={"benchmarks", "limit_items", "enable_thinking"})
    )


def digest_lane(stages: Iterable[tuple[str, Parameters]], engine: LaneEngine = PLAIN) -> str:
    """Return the digest of a lane's stages, parameters and own engine arguments; "" where it has none."""
    described: list[list[Any]] = [
        [stage.name, stage.parameters] for stage in (describe_stage(*stage) for stage in stages)
    ]
    described += [["engine", engine.arguments]] if engine.arguments else []
    return digest_json(described) if described else ""


def describe_stage(name: str, params: Parameters) -> LaneStage:
    """Return a stage with the parameters that decide what it computes."""
    parameters = drop_local_paths(params).model_dump(mode="json", exclude=set(params.not_in_key))
    return LaneStage(name=name, parameters=parameters)


def _digest_file(lane: Lane, replicate: int, shared: EngineParams) -> str:
    """Return the digest that a lane file's record has, where `shared` is the experiment's engine."""
    stages = ((stage.type.name, vary_params(stage.params, replicate)) for stage in lane.stages)
    return digest_lane(stages, lane.engine.reduce(shared))


def _digest_files(manifest: Manifest, is_wanted: Any) -> str:
    return digest_json({name: entry.sha256 for name, entry in manifest.files.items() if is_wanted(name)})


def refuse_foreign(records: Sequence[LaneRecord]) -> list[LaneRecord]:
    """Return the records, those marked as foreign that are not of the baseline's experiment."""
    base = next((record for record in records if record.lane == BASELINE), None)
    if base is None:
        return list(records)
    return [
        _mark_foreign(record, _explain_difference(record.identity, base.identity))
        if record.lane != BASELINE and record.status not in FAILED
        else record
        for record in records
    ]


def _explain_difference(mine: RecordIdentity | None, base: RecordIdentity | None) -> str:
    if mine is None or base is None:
        return "" if mine is base else f"it does not say which experiment it is of; remedy: {RUN_AGAIN}"
    found = [words for name, words in EXPLAINED.items() if getattr(mine, name) != getattr(base, name)]
    return f"{'; '.join(found)}; remedy: evaluate it again with this experiment" if found else ""


def _mark_foreign(record: LaneRecord, reason: str) -> LaneRecord:
    if not reason:
        return record
    return record.model_copy(update={"status": "foreign", "reason": f"not of this experiment: {reason}"})


def check_experiment(
    records: Sequence[LaneRecord],
    base_source: str,
    evaluation: EvaluateParams,
    lanes: Iterable[Lane],
    where: str,
) -> list[LaneRecord]:
    """Return the records, those marked as foreign whose lane file says something else now.

    Args:
        base_source: the digest of the experiment's base model.
        evaluation: how the experiment asks its suite, and with what engine.
        where: the experiment file, for messages.

    Raises:
        InputError: the baseline's record is of another base model or suite, or does not say of which.
    """
    base = next((record for record in records if record.lane == BASELINE), None)
    if base is not None and base.status not in FAILED:
        if base.identity is None:
            raise InputError(
                "the baseline's record does not say which experiment it is of: an earlier version wrote it",
                remedy=RUN_AGAIN,
            )
        other = ["base model"] if base.identity.base_source != base_source else []
        other += ["suite"] if base.identity.settings != digest_settings(evaluation) else []
        if other:
            raise InputError(
                f"the baseline's record is of another {' and another '.join(other)} than {where} names",
                remedy="pass the --experiment that it was made with, or evaluate this one's baseline: "
                "scripts/run_all.py, or scripts/04_eval_vllm.py --baseline",
            )
    by_name = {lane.name: lane for lane in lanes}
    checked = []
    for record in records:
        measured = record.identity.lane if record.identity else ""
        name, number = split_replicate(record.lane)
        lane = by_name.get(name)
        is_other = measured and lane is not None and _digest_file(lane, number, evaluation.engine) != measured
        reason = "its lane file says other stages or parameters now; remedy: run the lane again"
        checked.append(_mark_foreign(record, reason if is_other and record.status not in FAILED else ""))
    return checked
