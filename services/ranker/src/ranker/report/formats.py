"""How numbers, marks and foreign text are written in the tables. Pure."""

from __future__ import annotations

import math
import re
import statistics
from collections.abc import Iterable, Mapping, Sequence

from lanekit.results.ranking import BenchmarkStatistics, Interval, RankedLane, Ranking
from lanekit.results.schema import LaneRecord

EMPTY = "–"
NO_BREAK = "\u00a0"
N_BEST = 3
SMALL_P = 0.05
KOREAN_METRICS = {"accuracy": "정확도", "f1": "F1", "judge": "심사 점수"}
NO_REASON = "no reason given"
LOG_LINE_CHARACTERS = 400
ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\^_])")
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029]")


def compute_spread(repeats: Sequence[float]) -> float:
    """Return (max − min) / median of some repeats' seconds per token; 0 for none."""
    return (max(repeats) - min(repeats)) / statistics.median(repeats) if repeats else 0.0


def list_scored(ranking: Ranking) -> list[RankedLane]:
    """Return the lanes with a rank, best first."""
    return [lane for lane in ranking.lanes if lane.rank is not None]


def list_unranked(ranking: Ranking) -> list[RankedLane]:
    """Return the lanes, and the baseline, that failed or could not be scored."""
    return [lane for lane in ranking.lanes if lane.record.status != "ok"]


def list_forms(ranking: Ranking) -> list[str]:
    """Return the forms of timing that some record has."""
    return merge_names(lane.record.speed.forms for lane in ranking.lanes if lane.record.speed)


def merge_names(found: Iterable[Iterable[str]]) -> list[str]:
    """Return every name, in the order of the first list that has most, then by the alphabet."""
    lists = [list(names) for names in found]
    longest = max(lists, key=len, default=[])
    return [*longest, *sorted({name for names in lists for name in names} - set(longest))]


def show_lane(record: LaneRecord) -> str:
    """Return a lane's name as code, marked where it is contaminated."""
    return f"`{record.lane}`{' ⚠' if record.is_contaminated else ''}"


def show_shares(ranking: Ranking) -> dict[str, str]:
    """Return the share of Perf of each benchmark that counts, e.g. "25 %"."""
    total = math.fsum(ranking.weights_used.values())
    return {name: f"{100 * weight / total:.3g} %" for name, weight in ranking.weights_used.items()}


def is_told(found: BenchmarkStatistics) -> bool:
    """Whether a lane can be told from the baseline after Holm's adjustment."""
    return found.p_adjusted is not None and found.p_adjusted < SMALL_P


def map_ranks(ranking: Ranking) -> dict[str, int | None]:
    """Return every lane's rank by its name."""
    return {lane.record.lane: lane.rank for lane in ranking.lanes}


def show_rank(lane: RankedLane) -> str:
    """Return the rank, "≈" behind it where another lane's score cannot be told from this one's."""
    if lane.rank is None:
        return EMPTY
    return f"{lane.rank}{NO_BREAK}≈" if lane.tied_with else str(lane.rank)


def join_ranks(ranks: Sequence[int]) -> str:
    """Return e.g. "3, 5–8"."""
    parts: list[list[int]] = []
    for rank in ranks:
        if parts and rank == parts[-1][-1] + 1:
            parts[-1].append(rank)
        else:
            parts.append([rank])
    return ", ".join(str(p[0]) if len(p) == 1 else f"{p[0]}–{p[-1]}" for p in parts)


def round_number(value: float | None, digits: int = 4) -> str:
    """Return four decimals, or a dash where there is no number."""
    return EMPTY if value is None or not math.isfinite(value) else f"{value:.{digits}f}"


def show_percent(value: float | None, digits: int = 1, *, signed: bool = False) -> str:
    """Return a fraction as e.g. "96.2 %" or "+4.1 %"."""
    if value is None or not math.isfinite(value):
        return EMPTY
    return f"{100 * value:{'+' if signed else ''}.{digits}f} %".replace("-", "−")


def show_interval(interval: Interval | None, digits: int = 3, scale: float = 1.0) -> str:
    """Return e.g. "[0.373, 0.409]", not to be broken; nothing where there is none."""
    if interval is None:
        return ""
    ends = f"[{interval.low * scale:.{digits}f},{NO_BREAK}{interval.high * scale:.{digits}f}]"
    return ends.replace("-", "−")


def show_p(value: float | None) -> str:
    """Return a p-value with two significant digits, "<0.001" below that."""
    if value is None:
        return EMPTY
    return "<0.001" if value < 0.001 else f"{value:#.2g}".rstrip(".")


def show_difference(value: float | None) -> str:
    """Return e.g. "−0.0152"."""
    return EMPTY if value is None else f"{value:+.4f}".replace("-", "−")


def show_mb(size_bytes: int | None) -> str:
    """Return a size in MB (powers of ten, as the contest's limits), without the unit."""
    if size_bytes is None:
        return EMPTY
    return f"{size_bytes / 1e6:,.2f}" if size_bytes < 100e6 else f"{size_bytes / 1e6:,.0f}"


def show_gain(lane: RankedLane) -> str:
    """Return a lane's speed gain as e.g. "+4.1 % (cpu)"."""
    if lane.speed_norm is None:
        return EMPTY
    is_cpu = lane.record.speed is not None and lane.record.speed.is_cpu
    return show_percent(lane.speed_norm, signed=True) + (" (cpu)" if is_cpu else "")


def show_time(s_per_token: float, repeats: Sequence[float], digits: int) -> str:
    """Return milliseconds per token with half the spread of the repeats, e.g. "1.20 ± 2 %"."""
    return f"{1000 * s_per_token:.{digits}f} ± {50 * compute_spread(repeats):.0f} %"


def show_seconds(seconds: float | None) -> str:
    """Return seconds, with one decimal below 100."""
    if seconds is None:
        return EMPTY
    return f"{seconds:,.1f}" if seconds < 100 else f"{seconds:,.0f}"


def show_counts(counts: Mapping[str, int]) -> str:
    """Return e.g. "gemm: 12, norm: 4"."""
    return ", ".join(f"{name}: {count}" for name, count in sorted(counts.items()))


def count_items(record: LaneRecord, counter: str, *, is_judged: bool | None = None) -> int | None:
    """Sum a counter over a record's benchmarks, all or those of a judge or of none; None for no benchmark."""
    results = record.benchmarks.values()
    if not results:
        return None
    wanted = [r for r in results if is_judged is None or is_judged == (r.metric == "judge")]
    return sum(int(getattr(result, counter)) for result in wanted)


def join_lines(text: str) -> str:
    """Return foreign text on one line."""
    return " ".join(text.split())


def clean_log(lines: Iterable[str], limit: int) -> list[str]:
    """Return the last `limit` lines as plain text: no colours, no control characters, progress bars' ends."""
    text = "\n".join(line.rstrip().rpartition("\r")[2] for line in lines)
    plain = CONTROL.sub("", ESCAPES.sub("", text.expandtabs(4))).splitlines()
    shown = [line.rstrip() for line in plain if line.strip()][-limit:]
    return [x if len(x) <= LOG_LINE_CHARACTERS else x[:LOG_LINE_CHARACTERS] + " …" for x in shown]
