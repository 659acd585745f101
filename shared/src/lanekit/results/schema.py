"""What is known of a lane after its evaluation: the schema of results/<lane>/metrics.json."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, JsonValue

from lanekit.results.screen import ScreenResult
from lanekit.results.speed import SpeedResult
from lanekit.spec.lane_engine import PLAIN, LaneEngine

LaneStatus = Literal["ok", "failed", "unreadable", "foreign", "refused", "incomplete", "unscored"]
NOT_USED: tuple[LaneStatus, ...] = (
    "unreadable",
    "foreign",
    "refused",
)  # the file is nobody's to rank or write
FAILED: tuple[LaneStatus, ...] = ("failed", *NOT_USED)


class _Schema(BaseModel):
    model_config = ConfigDict(extra="forbid", protected_namespaces=())


class PartResult(_Schema):
    """Some items of a benchmark, e.g. the unanswerable ones."""

    n_items: int
    value: float
    exact_match: float | None = None


class BenchmarkResult(_Schema):
    """One benchmark; `value` is a fraction of 1, None where it was left out (`note` says why).

    `n_cut` prompts lost document text to the token budget; in `n_gold_lost` of them the gold answer stood in
    the documents and stands there no more. `parts` are subsets reported apart, by name. `judge` names the
    model that gave the ratings: values of two judges are not comparable.
    """

    metric: str
    version: int
    value: float | None
    n_items: int = 0
    n_unparsed: int = 0
    n_cut: int = 0
    n_gold_lost: int = 0
    exact_match: float | None = None
    parts: dict[str, PartResult] = {}
    judge: str = ""
    note: str = ""


class RecordIdentity(_Schema):
    """Which experiment a record is of, as sha256 (`base_source` of a hub model: its commit).

    `base_model` is of the base model's weights and config, `base_source` what its source was named by;
    `suite` of the benchmarks' rows, `settings` of how they are asked; `lane` of the lane's stages, their
    parameters and its engine arguments, "" for a model that was made elsewhere.
    """

    base_model: str
    base_source: str
    suite: str
    settings: str
    lane: str


class LaneStage(_Schema):
    """One of a lane's own stages and all its parameters, defaults included, without local paths."""

    name: str
    parameters: dict[str, JsonValue]


class LaneRecord(_Schema):
    """All that ranking and packaging need to know of one lane.

    `model`, `evaluation`, `judgement`, `timing` and `screening` are places in the store. `screen_reason` says
    why a screen that was asked for is not there; it keeps no lane from its rank. `contamination` counts, by
    benchmark, the items that stand in the text which this lane was trained or calibrated on: {} where there
    are none, None where it is not known, as for a model that was made elsewhere. `recipe` tells what the
    `stages`, places in the store, are, one for one; records of earlier versions have none. `engine` holds the
    engine arguments that the lane has and the baseline has not. `notes` are those of its own stages: what was
    not done as asked.
    """

    lane: str
    title: str = ""
    group: str = ""
    status: LaneStatus = "ok"
    reason: str = ""
    benchmarks: dict[str, BenchmarkResult] = {}
    speed: SpeedResult | None = None
    size_bytes: int | None = None
    model: str = ""
    evaluation: str = ""
    judgement: str = ""
    timing: str = ""
    screen: ScreenResult | None = None
    screening: str = ""
    screen_reason: str = ""
    identity: RecordIdentity | None = None
    contamination: dict[str, int] | None = None
    stages: list[str] = []
    recipe: list[LaneStage] = []
    engine: LaneEngine = PLAIN
    stage_seconds: dict[str, float] = {}
    notes: list[str] = []
    log_tail: list[str] = []

    @property
    def is_contaminated(self) -> bool:
        """Whether benchmark items are known to stand in its training or calibration text."""
        return any((self.contamination or {}).values())
