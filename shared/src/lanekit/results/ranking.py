"""A ranking of lanes with its statistics: the schema of ranking.json."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

from lanekit.results.schema import LaneRecord


class _Schema(BaseModel):
    model_config = ConfigDict(extra="forbid", protected_namespaces=())


class Interval(_Schema):
    """A confidence interval."""

    low: float
    high: float


Verdict = Literal["no worse", "worse", "cannot tell"]


class MarginTest(_Schema):
    """A lane's difference from the baseline on the same items, against the largest loss that is allowed.

    All are fractions of 1, 0.01 one percentage point: `difference` is value − baseline, `margin` the loss
    allowed, `detectable` the smallest difference that these items show with 80 % power. `n_items_needed`
    settle a verdict that cannot be told, were the difference seen the true one; None where no number does.
    """

    difference: float
    interval: Interval
    margin: float
    verdict: Verdict
    n_items: int
    detectable: float | None = None
    n_items_needed: int | None = None


class BenchmarkStatistics(_Schema):
    """One lane's benchmark against the baseline's, on the same items.

    `recovery` is value/baseline (1 is 100 %). `difference` is value − baseline; `p_value` is of the paired
    test `test`, `p_adjusted` after Holm over the lanes. None where there is nothing to compare.
    `better_items` and `worse_items` are the ids of the items that `n_better` and `n_worse` count.
    """

    interval: Interval | None = None
    recovery: float | None = None
    recovery_interval: Interval | None = None
    difference: float | None = None
    n_better: int = 0
    n_worse: int = 0
    better_items: list[str] = []
    worse_items: list[str] = []
    test: str = ""
    p_value: float | None = None
    p_adjusted: float | None = None
    margin_test: MarginTest | None = None


class DrawSpread(_Schema):
    """Mean over replicates and sample standard deviation between them, of their values with an order."""

    mean: float
    deviation: float


class Replicates(_Schema):
    """A lane over its draws: `lanes` names the replicates, that of the package first, the others by number.

    `perfs` and `scores` are theirs, None where one has no score. `perf` and `score` are over those that have,
    None for fewer than two; `perf_interval` holds the choice of items and of the draw, as the lane's other
    intervals then do.
    """

    lanes: list[str]
    perfs: list[float | None]
    scores: list[float | None]
    perf: DrawSpread | None = None
    score: DrawSpread | None = None
    benchmarks: dict[str, DrawSpread] = {}
    perf_interval: Interval | None = None


class RankedLane(_Schema):
    """A lane with its score; numbers are None where they cannot be computed.

    Of a lane with `replicates`, `perf`, `perf_norm` and `score` are means over them; `record` and
    `benchmark_statistics` are the first's, whose model is packaged.
    `tied_with` names the ranked lanes whose score cannot be told from this one's; `on_front` says that no
    lane is at least as good in quality, speed and size and better in one, contaminated lanes left out.
    `pooled_with` names the lanes of equal shapes; `pooled_ratios` are theirs together, by fixed form.
    `has_items` says that its per-item outputs stand in the ranking's artifact.
    """

    rank: int | None
    record: LaneRecord
    perf: float | None = None
    perf_norm: float | None = None
    speed_norm: float | None = None
    score: float | None = None
    score_interval: Interval | None = None
    perf_norm_interval: Interval | None = None
    perf_margin_test: MarginTest | None = None
    speed_norm_interval: Interval | None = None
    benchmark_statistics: dict[str, BenchmarkStatistics] = {}
    tied_with: list[str] = []
    on_front: bool = False
    pooled_with: list[str] = []
    pooled_ratios: dict[str, float] = {}
    replicates: Replicates | None = None
    has_items: bool = False


class Ranking(_Schema):
    """The whole table, best first, the baseline at its head, failures at its end.

    `replicates` are the lanes' others than the first, each by itself: they have no rank and no package.
    `notes` warn of this ranking, `rules` hold for any: how lanes are ordered, what counts as told apart.
    `margin` is the loss allowed as a fraction of the baseline; `published_percent` are the base model's
    published values by benchmark.
    """

    experiment: str
    lanes: list[RankedLane]
    weights_used: dict[str, float]
    notes: list[str]
    rules: list[str] = []
    margin: float | None = None
    published_percent: dict[str, float] = {}
    replicates: list[RankedLane] = []

    @property
    def evaluated(self) -> list[RankedLane]:
        """All that has a record: the lanes, then the replicates."""
        return [*self.lanes, *self.replicates]
