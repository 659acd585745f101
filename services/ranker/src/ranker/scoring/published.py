"""Whether the baseline stands where its published values do. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from lanekit.results.ranking import Interval, Ranking
from lanekit.results.schema import BenchmarkResult

CAUSES = (
    "Likely causes: another prompt or answer parser ({n_unparsed} replies were not parsed), another chat "
    "template or reasoning mode, cut contexts ({n_cut} prompts were cut), another split or revision of the "
    "set, or that only some of its items were asked ({n_items} were; see evaluation.limit_items)."
)


def warn_of_published(ranking: Ranking, confidence: float) -> list[str]:
    """Return a warning for each published value that the baseline's interval excludes, with likely causes."""
    return [
        f"The baseline's {name} is {100 * value:.1f} %, its {100 * confidence:g} % interval "
        f"{_show(interval)} excludes the published {published:g} %. "
        + CAUSES.format(n_unparsed=result.n_unparsed, n_cut=result.n_cut, n_items=result.n_items)
        for name, published, result, value, interval in _list_known(ranking)
        if not _holds(interval, published)
    ]


def list_agreements(ranking: Ranking) -> list[str]:
    """Return a remark on each published value that the baseline's interval holds."""
    return [
        f"The baseline's {name}, {100 * value:.1f} % with the interval {_show(interval)}, agrees with the "
        f"published {published:g} %."
        for name, published, _, value, interval in _list_known(ranking)
        if _holds(interval, published)
    ]


def _list_known(ranking: Ranking) -> Iterator[tuple[str, float, BenchmarkResult, float, Interval]]:
    """Yield benchmark, published percentage, the baseline's result, its value and its interval."""
    base = ranking.lanes[0]
    for name, published in ranking.published_percent.items():
        result, statistics = base.record.benchmarks.get(name), base.benchmark_statistics.get(name)
        if result and result.value is not None and statistics and statistics.interval:
            yield name, published, result, result.value, statistics.interval


def _holds(interval: Interval, published_percent: float) -> bool:
    return 100 * interval.low <= published_percent <= 100 * interval.high


def _show(interval: Interval) -> str:
    return f"[{100 * interval.low:.1f}, {100 * interval.high:.1f}]"
