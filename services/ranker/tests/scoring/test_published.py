"""The baseline against its published values."""

from __future__ import annotations

import pytest

from lanekit.results.ranking import BenchmarkStatistics, Interval, RankedLane, Ranking
from lanekit.results.schema import BenchmarkResult, LaneRecord
from ranker.report.notes import collect_remarks
from ranker.scoring.published import list_agreements, warn_of_published


def make_ranking(
    published: dict[str, float],
    value: float | None = 0.31,
    interval: tuple[float, float] | None = (0.29, 0.33),
) -> Ranking:
    result = BenchmarkResult(metric="accuracy", version=1, value=value, n_items=2000, n_unparsed=17, n_cut=5)
    ends = Interval(low=interval[0], high=interval[1]) if interval else None
    base = RankedLane(
        rank=None,
        record=LaneRecord(lane="baseline", benchmarks={"kmmlu_pro": result}),
        benchmark_statistics={"kmmlu_pro": BenchmarkStatistics(interval=ends)},
    )
    return Ranking(experiment="", lanes=[base], weights_used={}, notes=[], published_percent=published)


def test_an_excluded_value_is_warned_of_with_both_numbers_and_the_causes() -> None:
    (warning,) = warn_of_published(make_ranking({"kmmlu_pro": 37.5}), 0.95)
    assert warning.startswith(
        "The baseline's kmmlu_pro is 31.0 %, its 95 % interval [29.0, 33.0] excludes the published 37.5 %."
    )
    for cause in (
        "prompt or answer parser (17 replies were not parsed)", "chat template", "cut contexts (5 prompts",
        "another split", "(2000 were; see evaluation.limit_items)",
    ):  # fmt: skip
        assert cause in warning
    assert list_agreements(make_ranking({"kmmlu_pro": 37.5})) == []


@pytest.mark.parametrize("published", [29.0, 31.7, 33.0])
def test_a_value_within_the_interval_is_a_remark(published: float) -> None:
    ranking = make_ranking({"kmmlu_pro": published})
    assert warn_of_published(ranking, 0.95) == []
    (remark,) = list_agreements(ranking)
    assert "31.0 % with the interval [29.0, 33.0], agrees with the published" in remark
    assert remark in collect_remarks(ranking)


@pytest.mark.parametrize("published", [25.0, 50.0])
def test_the_ends_belong_to_the_interval(published: float) -> None:
    ranking = make_ranking({"kmmlu_pro": published}, interval=(0.25, 0.5))
    assert len(list_agreements(ranking)) == 1


@pytest.mark.parametrize("published", [28.9, 33.1])
def test_both_sides_can_exclude_it(published: float) -> None:
    assert len(warn_of_published(make_ranking({"kmmlu_pro": published}), 0.95)) == 1


def test_nothing_is_said_without_a_value_an_interval_or_a_published_value() -> None:
    for ranking in (
        make_ranking({}),
        make_ranking({"kmmlu_redux": 40.4}),
        make_ranking({"kmmlu_pro": 37.5}, value=None),
        make_ranking({"kmmlu_pro": 37.5}, interval=None),
    ):
        assert warn_of_published(ranking, 0.95) == list_agreements(ranking) == []
