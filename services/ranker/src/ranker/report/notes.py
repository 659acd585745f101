"""What a reader must know of a ranking beside its numbers: warnings, remarks, the formula. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from lanekit.results.ranking import Ranking
from lanekit.results.schema import LaneRecord
from lanekit.results.speed import SpeedResult
from ranker.report.formats import NO_REASON, SMALL_P, count_items, list_unranked, show_shares
from ranker.report.tables_screen import list_missing
from ranker.scoring.bounds import note_unknown_devices
from ranker.scoring.published import list_agreements

CPU_WARNING = "Speed on a cpu says nothing about speed on a GPU: do not choose a submission by it."
INTERVAL_TERMS = (
    "Intervals are {percent} % percentile bootstrap intervals over the items; where all items have the same "
    "value it is a point, and too narrow. A score's interval holds the speed's noise as well. Recovery is "
    "the lane's value over the baseline's, on the same items. p is of a paired two-sided test against the "
    "baseline ({tests}); Holm's adjustment is over the lanes, bold below {small:g}. Better and worse "
    "count the items on which the lane did so."
)
FRONT_TERM = (
    "◆ marks the Pareto front: no lane, nor the baseline, is at least as good in quality, speed and size and "
    "better in one. Contaminated lanes (⚠) are left out."
)


def collect_warnings(ranking: Ranking) -> list[str]:
    """Return what warns of this ranking, first that a speed was measured on a CPU."""
    on_cpu = any(lane.record.speed and lane.record.speed.is_cpu for lane in ranking.lanes)
    return [*([CPU_WARNING] if on_cpu else []), *ranking.notes]


def list_failures(ranking: Ranking) -> list[str]:
    """Return why each lane without a rank has none."""
    return [
        f"`{lane.record.lane}` is {lane.record.status}: {lane.record.reason or NO_REASON}"
        for lane in list_unranked(ranking)
    ]


def collect_remarks(ranking: Ranking) -> list[str]:
    """Return what to know of answers, prompts and how speed was measured."""
    notes = []
    records = [lane.record for lane in ranking.lanes]
    unparsed, unrated = (_name_counts(records, "n_unparsed", is_judged=x) for x in (False, True))
    if unparsed:
        notes.append(f"Answers that could not be parsed and counted as wrong: {unparsed}.")
    else:
        notes.append("Every answer could be parsed.")
    is_judged = any(
        r.metric == "judge" and r.value is not None for x in records for r in x.benchmarks.values()
    )
    if is_judged and unrated:
        notes.append(f"Items that the judge gave no rating, left out: {unrated}.")
    cut, lost = _name_counts(records, "n_cut"), _name_counts(records, "n_gold_lost")
    if cut:
        notes.append(f"Prompts cut to the token budget: {cut}.")
    if lost:
        notes.append(f"Prompts that lost the gold answer by the cut, at least: {lost}.")
    notes += list_agreements(ranking) + note_unknown_devices(records) + list_missing(ranking)
    notes += _list_stage_notes(records)
    return notes + describe_sittings([r.speed for r in records if r.speed])


def _list_stage_notes(records: Sequence[LaneRecord]) -> list[str]:
    """Return what the lanes' stages did not do as asked, each note once with the lanes that it is of."""
    lanes: dict[str, list[str]] = {}
    for record in records:
        for note in record.notes:
            lanes.setdefault(note, []).append(f"`{record.lane}`")
    return [f"{', '.join(names)}: {note}" for note, names in lanes.items()]


def _name_counts(records: Sequence[LaneRecord], counter: str, *, is_judged: bool | None = None) -> str:
    """Return e.g. "`lane01` 3, `lane02` 1", or "7 in every lane"; nothing where there are none."""
    found = {record.lane: count_items(record, counter, is_judged=is_judged) for record in records}
    counts = {lane: count for lane, count in found.items() if count is not None}
    if len(counts) > 1 and len(set(counts.values())) == 1 and any(counts.values()):
        return f"{next(iter(counts.values()))} in every lane"
    return ", ".join(f"`{lane}` {count}" for lane, count in counts.items() if count)


def explain_formula(ranking: Ranking, quality_weight: float) -> tuple[str, str]:
    """Return the score's formula, and what stands in it."""
    shares = ", ".join(f"{name} {share}" for name, share in show_shares(ranking).items())
    formula = (
        f"score = max({quality_weight:g} × Perf/Perf_base + {1 - quality_weight:g} × "
        "(1 − s_per_token/s_per_token_base), 0)"
    )
    forms = sorted({lane.record.speed.form for lane in ranking.lanes if lane.record.speed})
    return formula, (
        f"Perf is the weighted mean of the benchmarks ({shares or 'none could be used'}). The speed gain is "
        f"1 − s_per_token/s_per_token_base at the form {', '.join(forms) or 'set'}, the median of "
        "the ratios of repeats in which base and candidate ran one right after the other."
    )


def explain_statistics(ranking: Ranking, confidence: float) -> str:
    """Return how intervals, recovery and tests are to be read; nothing where no lane has them."""
    tests = {s.test for lane in ranking.lanes for s in lane.benchmark_statistics.values() if s.test}
    if not any(lane.benchmark_statistics for lane in ranking.lanes):
        return ""
    percent, names = f"{100 * confidence:g}", "; ".join(sorted(tests)) or "none"
    return INTERVAL_TERMS.format(percent=percent, tests=names, small=SMALL_P)


def describe_sittings(speeds: Sequence[SpeedResult]) -> list[str]:
    """Return one note for each distinct device, engine and set of versions."""
    notes: list[str] = []
    for speed in speeds:
        versions = ", ".join(f"{name} {version}" for name, version in sorted(speed.versions.items()))
        note = (
            f"Speed was measured on {speed.device} with {speed.engine}: batch {speed.batch_size}, "
            f"{speed.prompt_tokens} prompt and {speed.decode_tokens} decoded tokens, median of "
            f"{len(speed.s_per_token_all)}{' (' + versions + ')' if versions else ''}."
        )
        if note not in notes:
            notes.append(note)
    return notes


def list_benchmarks(ranking: Ranking, weighted: Sequence[str]) -> list[str]:
    """Return the benchmarks to show: the weighted ones first, then any other that a record names."""
    others = {name for lane in ranking.lanes for name in lane.record.benchmarks}
    return [*weighted, *sorted(others - set(weighted))]
