"""A run as data: what `enqueue_lane.py` hands to the controller, and what every driver directs. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Literal

from pydantic import AliasChoices, ConfigDict, Field, ValidationError

from lanekit.errors import InputError, first_finding
from lanekit.files.hashing import digest_json
from lanekit.plan.graph import LanePlan, Plan, StageRun, make_stage_run
from lanekit.plan.keys import SHORT_KEY_CHARACTERS
from lanekit.spec.evaluation import EngineParams
from lanekit.spec.experiment_file import Experiment, PackagingSettings, RankingRules, ScoringSettings
from lanekit.spec.params import Parameters
from lanekit.spec.source import drop_local_paths
from lanekit.spec.stages import STAGE_TYPES

ONE_VERSION = "bring host and images to one version: docker compose up -d --build"
RUN_ID = re.compile(r"^[a-z0-9][a-z0-9-]*-[0-9a-f]{12}$")


class StageSpec(Parameters):
    """One stage run; `inputs` maps roles to stage keys."""

    stage: str
    key: str
    params: dict[str, Any]
    inputs: dict[str, str]

    def make_run(self, lock_digests: Mapping[str, str]) -> StageRun:
        """Return the stage run.

        Raises:
            InputError: the stage or a parameter is unknown, or the key is not that of the contents.
        """
        return check_stage_run(self.stage, self.params, self.inputs, self.key, lock_digests)


class RankingSettings(Parameters):
    """What ranking and packaging need to know of an experiment."""

    experiment: str
    base_model_name: str
    base_model_source: str
    scoring: ScoringSettings
    rules: RankingRules = RankingRules()
    published_percent: dict[str, float] = Field(default_factory=dict)
    packaging: PackagingSettings


class RunSpec(Parameters):
    """Everything that a run is; its id follows from its contents, so the same request is the same run."""

    model_config = ConfigDict(serialize_by_alias=True)

    format_version: Literal[1] = 1
    run_id: str
    ranking: RankingSettings
    engine: EngineParams
    hardware: str
    lock_digests: dict[str, str] = Field(  # by service; stored under an older name
        validation_alias=AliasChoices("environments", "lock_digests"), serialization_alias="environments"
    )
    runs: tuple[StageSpec, ...]
    lanes: tuple[LanePlan, ...]

    def make_plan(self) -> Plan:
        """Return the plan of the lanes.

        Raises:
            InputError: a stage run is not what its key says.
        """
        plan = Plan()
        for spec in self.runs:
            plan.runs[spec.key] = spec.make_run(self.lock_digests)
        for lane in self.lanes:
            plan.lanes[lane.name] = lane
        return plan


def check_stage_run(
    stage: str,
    params: Mapping[str, Any],
    inputs: Mapping[str, str],
    key: str,
    lock_digests: Mapping[str, str],
) -> StageRun:
    """Return the stage run that untrusted data describes.

    Raises:
        InputError: the stage or a parameter is unknown, or the key is not that of the contents.
    """
    stage_type = STAGE_TYPES.get(stage)
    if stage_type is None:
        raise InputError(f"unknown stage '{stage}'", remedy="known stages: " + ", ".join(STAGE_TYPES))
    if stage_type.service not in lock_digests:
        raise InputError(
            f"stage {stage}: it is the {stage_type.service}'s, which is not at work here",
            remedy="enqueue the run again: scripts/enqueue_lane.py",
        )
    try:
        checked = stage_type.params.model_validate(params)
        run = make_stage_run(stage, checked, inputs, lock_digests)
    except ValidationError as error:
        raise InputError(f"stage {stage}: {first_finding(error)}", remedy=ONE_VERSION) from error
    except ValueError as error:
        raise InputError(f"stage {stage}: {error}", remedy=ONE_VERSION) from error
    if run.key != key:
        raise InputError(
            f"stage {stage}: its key {key[:SHORT_KEY_CHARACTERS]} is not that of its contents here "
            f"({run.key[:SHORT_KEY_CHARACTERS]}): another version of the code or of the "
            f"{stage_type.service}'s requirements.lock made it",
            remedy=ONE_VERSION,
        )
    return run


def describe_ranking(experiment: Experiment) -> RankingSettings:
    """Return what ranking needs of an experiment; local paths stay out of packages."""
    source = experiment.base_model.source
    return RankingSettings(
        experiment=experiment.name,
        base_model_name=experiment.base_model.name,
        base_model_source=experiment.base_model.name if source.startswith("/") else source,
        scoring=experiment.scoring,
        rules=experiment.ranking,
        published_percent=experiment.base_model.published_percent,
        packaging=experiment.packaging,
    )


def describe_run(
    experiment: Experiment,
    plan: Plan,
    engine: EngineParams,
    lock_digests: Mapping[str, str],
    hardware: str,
) -> RunSpec:
    """Return a plan as a run; local paths are left out, their digests stay."""
    runs = tuple(
        StageSpec(
            stage=run.type.name,
            key=run.key,
            params=drop_local_paths(run.params).model_dump(mode="json"),
            inputs=dict(run.inputs),
        )
        for run in plan.runs.values()
    )
    lanes = tuple(plan.lanes.values())
    ranking = describe_ranking(experiment)
    contents = {
        "ranking": ranking.model_dump(mode="json"),
        "engine": engine.model_dump(mode="json"),
        "environments": dict(lock_digests),
        "lanes": [asdict(lane) for lane in lanes],
    }
    digest = digest_json(contents)
    name = re.sub(r"[^a-z0-9]+", "-", experiment.name.lower()).strip("-") or "run"
    return RunSpec(
        run_id=f"{name}-{digest[:SHORT_KEY_CHARACTERS]}",
        ranking=ranking,
        engine=engine,
        hardware=hardware,
        lock_digests=dict(lock_digests),
        runs=runs,
        lanes=lanes,
    )


def parse_run(content: bytes, where: str) -> RunSpec:
    """Parse a stored run.

    Raises:
        InputError: it is not a run; `where` names it.
    """
    try:
        return RunSpec.model_validate_json(content)
    except ValidationError as error:
        raise InputError(
            f"{where}: not a readable run: {first_finding(error)}",
            remedy="enqueue it again with this version",
        ) from error
