"""What is known of a lane after its evaluation: the schema of results/<lane>/metrics.json."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

LaneStatus = Literal["ok", "failed", "incomplete", "unscored"]


class _Schema(BaseModel):
    model_config = ConfigDict(extra="forbid", protected_namespaces=())


class BenchmarkResult(_Schema):
    """One benchmark; `value` is a fraction of 1, None where it was left out (`note` says why)."""

    metric: str
    version: int
    value: float | None
    n_items: int = 0
    n_unparsed: int = 0
    n_cut: int = 0
    exact_match: float | None = None
    note: str = ""


class SpeedResult(_Schema):
    """Seconds per generated token at a fixed length: median, and each repeat, of one sitting.

    `baseline_*` are the uncompressed model's, measured in turn with the candidate's.
    """

    s_per_token: float
    s_per_token_all: list[float]
    baseline_s_per_token: float
    baseline_s_per_token_all: list[float]
    batch_size: int
    prompt_tokens: int
    decode_tokens: int
    engine: str
    device: str
    versions: dict[str, str] = {}

    @property
    def is_cpu(self) -> bool:
        """Whether it was measured on a CPU, so that a table must say so."""
        return self.device.lower().startswith("cpu")


class LaneRecord(_Schema):
    """All that ranking and packaging need to know of one lane."""

    lane: str
    title: str = ""
    group: str = ""
    status: LaneStatus = "ok"
    reason: str = ""
    benchmarks: dict[str, BenchmarkResult] = {}
    speed: SpeedResult | None = None
    size_bytes: int | None = None
    model: str = ""
    stages: list[str] = []
    stage_seconds: dict[str, float] = {}
    log_tail: list[str] = []


class RankedLane(_Schema):
    """A lane with its score; numbers are None where they cannot be computed."""

    rank: int | None
    record: LaneRecord
    perf: float | None = None
    perf_norm: float | None = None
    speed_norm: float | None = None
    score: float | None = None


class Ranking(_Schema):
    """The whole table, best first, the baseline at its head, failures at its end."""

    experiment: str
    lanes: list[RankedLane]
    weights_used: dict[str, float]
    notes: list[str]
