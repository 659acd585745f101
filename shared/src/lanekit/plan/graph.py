"""The graph of a plan: stage runs, their inputs by key, and the lanes that want them. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from pydantic import BaseModel, ConfigDict, Field

from lanekit.plan.keys import SHORT_KEY_CHARACTERS, compute_stage_key
from lanekit.spec.params import Parameters
from lanekit.spec.source import drop_local_paths
from lanekit.spec.stages import STAGE_TYPES, StageType

BASELINE = "baseline"


class Locator(Protocol):
    """What a store needs to find an artifact: the full key, and its place, `bucket/name`."""

    @property
    def key(self) -> str:
        """The stage key, 64 hex digits."""

    @property
    def bucket(self) -> str:
        """The bucket."""

    @property
    def name(self) -> str:
        """The readable name with the short key; the prefix of the files in the bucket."""


class ArtifactRef(BaseModel):
    """An artifact without the run that makes it; `path` is "bucket/name". Checked, for it travels."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    key: str = Field(pattern=r"^[0-9a-f]{64}$")
    path: str = Field(pattern=r"^[a-z]+/[A-Za-z0-9._-]+$")

    @property
    def bucket(self) -> str:
        """See Locator."""
        return self.path.partition("/")[0]

    @property
    def name(self) -> str:
        """See Locator."""
        return self.path.partition("/")[2]


@dataclass(frozen=True)
class StageRun:
    """One distinct stage run. `inputs` maps the input's role to the key of the run that makes it."""

    key: str
    type: StageType
    params: Parameters
    inputs: Mapping[str, str]

    @property
    def name(self) -> str:
        """The artifact's readable name: label and short key."""
        return f"{self.type.label(self.params)}-{self.key[:SHORT_KEY_CHARACTERS]}"

    @property
    def bucket(self) -> str:
        """The store's bucket for its artifact."""
        return self.type.bucket

    @property
    def path(self) -> str:
        """The artifact's place in a store: bucket and name."""
        return f"{self.bucket}/{self.name}"

    @property
    def ref(self) -> ArtifactRef:
        """The artifact alone."""
        return ArtifactRef(key=self.key, path=self.path)


@dataclass(frozen=True)
class LanePlan:
    """The runs of one lane, in order; `model_key` is the run whose artifact is the lane's model.

    A chain that is not to be evaluated has neither `evaluate_key` nor `speed_key`; `judge_key` is there where
    a judge is configured, `screen_key` where the model is screened.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")  # a stored run holds lanes as they are

    name: str
    title: str
    group: str
    stage_keys: tuple[str, ...]
    model_key: str
    evaluate_key: str | None = None
    speed_key: str | None = None
    judge_key: str | None = None
    screen_key: str | None = None

    @property
    def target_keys(self) -> tuple[str, ...]:
        """The runs that must be committed for the lane to be complete."""
        keys = (self.model_key, self.evaluate_key, self.judge_key, self.speed_key)
        return tuple(key for key in keys if key)

    @property
    def wanted_keys(self) -> tuple[str, ...]:
        """The runs that are made for the lane: the screen, too, without which it is complete all the same."""
        return (*self.target_keys, *filter(None, (self.screen_key,)))


@dataclass
class Plan:
    """All distinct runs by key, in an order in which inputs come first, and the lanes over them."""

    runs: dict[str, StageRun] = field(default_factory=dict)
    lanes: dict[str, LanePlan] = field(default_factory=dict)

    def list_inputs(self, run: StageRun) -> dict[str, ArtifactRef]:
        """Return a run's input artifacts by role."""
        return {role: self.runs[key].ref for role, key in run.inputs.items()}

    def collect_needed(self, key: str) -> set[str]:
        """Return the run `key` and all that it needs, directly or not."""
        needed = {key}
        for parent in self.runs[key].inputs.values():
            needed |= self.collect_needed(parent)
        return needed

    def collect_lane_runs(self, lane: str) -> set[str]:
        """Return every run that is made for a lane, up to its evaluation and its screen."""
        return set().union(*(self.collect_needed(key) for key in self.lanes[lane].wanted_keys))

    def collect_required(self, lane: str) -> set[str]:
        """Return the runs without which a lane is not complete."""
        return set().union(*(self.collect_needed(key) for key in self.lanes[lane].target_keys))

    def list_lane_keys(self, lane: str) -> tuple[str, ...]:
        """Return the keys of the runs that are made for a lane, in the plan's order."""
        needed = self.collect_lane_runs(lane)
        return tuple(key for key in self.runs if key in needed)

    def count_asked(self) -> int:
        """Return how many stage runs the lanes would make, were nothing shared."""
        return sum(len(self.collect_lane_runs(lane)) for lane in self.lanes)

    def list_lanes_of(self, key: str) -> list[str]:
        """Return the lanes for which the run `key` is made."""
        return [lane for lane in self.lanes if key in self.collect_lane_runs(lane)]

    def list_lanes_requiring(self, key: str) -> list[str]:
        """Return the lanes that the run's failure takes with it."""
        return [lane for lane in self.lanes if key in self.collect_required(lane)]


def make_stage_run(
    stage: str,
    params: Parameters,
    inputs: Mapping[str, str],
    lock_digests: Mapping[str, str],
) -> StageRun:
    """Make one run and its key; `lock_digests` maps each service to its lock's digest."""
    stage_type = STAGE_TYPES[stage]
    key = compute_stage_key(
        stage,
        stage_type.version,
        drop_local_paths(params).model_dump(mode="json", exclude=set(params.not_in_key)),
        inputs,
        lock_digests[stage_type.service],
    )
    return StageRun(key, stage_type, params, dict(inputs))
