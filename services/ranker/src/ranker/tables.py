"""The ranking as CSV (unrounded, for machines) and as a GitHub table (rounded, for people). Pure."""

from __future__ import annotations

import csv
import io
import re
import statistics
from collections.abc import Sequence

from lanekit.results import LaneRecord, RankedLane, Ranking, SpeedResult

LEADING_COLUMNS = (
    "rank", "lane", "group", "status", "perf", "perf_norm", "s_per_token", "speed_norm", "score",
    "size_bytes", "reason",
)  # fmt: skip
TRAILING_COLUMNS = (
    "s_per_token_base", "speed_spread", "n_unparsed", "n_cut", "seconds", "device", "engine", "title",
)  # fmt: skip
EMPTY = "–"
TIME_TERM = "`time` is the sum of the lane's stages, shared ones included."
NO_REASON = "no reason given"
LOG_LINES, LOG_LINE_CHARACTERS = 5, 400
ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\^_])")
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029]")


def list_benchmarks(ranking: Ranking, weighted: Sequence[str]) -> list[str]:
    """Return the benchmarks to show: the weighted ones first, then any other that a record names."""
    others = {name for lane in ranking.lanes for name in lane.record.benchmarks}
    return [*weighted, *sorted(others - set(weighted))]


def compute_spread(speed: SpeedResult) -> float:
    """Return (max − min) / median of the repeats' seconds per token."""
    repeats = speed.s_per_token_all or [speed.s_per_token]
    return (max(repeats) - min(repeats)) / statistics.median(repeats)


def render_csv(ranking: Ranking, benchmarks: Sequence[str]) -> str:
    """Return summary.csv: one line a lane, numbers as Python's repr, empty where there is none."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow([*LEADING_COLUMNS, *benchmarks, *TRAILING_COLUMNS])
    for lane in ranking.lanes:
        cells = {**_collect_cells(lane), **_collect_values(lane.record, benchmarks)}
        writer.writerow(
            [_write_cell(cells[name]) for name in (*LEADING_COLUMNS, *benchmarks, *TRAILING_COLUMNS)]
        )
    return stream.getvalue()


def render_markdown(ranking: Ranking, benchmarks: Sequence[str], quality_weight: float) -> str:
    """Return summary.md: the table, the formula, and the notes a reader needs to judge it."""
    head = ["rank", "lane", "group", "score", "Perf", "Perf/base", "s/token", "speed gain", *benchmarks]
    head += ["size", "time", "status"]
    rows = [_draw_row(lane, benchmarks) for lane in ranking.lanes]
    right = {"rank", "score", "Perf", "Perf/base", "s/token", "speed gain", *benchmarks, "size", "time"}
    lines = [f"# {ranking.experiment}: ranking" if ranking.experiment else "# Ranking", ""]
    lines.append(_join_cells(head))
    lines.append(_join_cells(["---:" if name in right else ":---" for name in head]))
    lines += [_join_cells(row) for row in rows]
    formula, terms = explain_formula(ranking, quality_weight)
    lines += ["", "## How the score is made", "", f"`{formula}`. {terms} {TIME_TERM}", ""]
    lines += ["## Notes", ""]
    lines += [f"- {_on_one_line(note)}" for note in collect_notes(ranking)]
    lines += _draw_log_tails(ranking)
    return "\n".join(lines) + "\n"


def collect_notes(ranking: Ranking) -> list[str]:
    """Return the ranking's notes and those on failures, unparsed answers, cut prompts and the device."""
    failures = [
        f"`{lane.record.lane}` is {lane.record.status}: {lane.record.reason or NO_REASON}"
        for lane in list_unranked(ranking)
    ]
    return [*ranking.notes, *failures, *collect_remarks(ranking), *warn_of_cpu(ranking)]


def list_unranked(ranking: Ranking) -> list[RankedLane]:
    """Return the lanes, and the baseline, that failed or could not be scored."""
    return [lane for lane in ranking.lanes if lane.record.status != "ok"]


def warn_of_cpu(ranking: Ranking) -> list[str]:
    """Return the warning that a speed on a CPU calls for, or nothing."""
    if any(lane.record.speed and lane.record.speed.is_cpu for lane in ranking.lanes):
        return ["Speed on a cpu says nothing about speed on a GPU: do not choose a submission by it."]
    return []


def collect_remarks(ranking: Ranking) -> list[str]:
    """Return what to know of answers, prompts and how speed was measured."""
    notes = []
    records = [lane.record for lane in ranking.lanes]
    unparsed = [f"`{r.lane}` {count}" for r in records if (count := _count(r, "n_unparsed"))]
    if unparsed:
        notes.append("Answers that could not be parsed and counted as wrong: " + ", ".join(unparsed) + ".")
    else:
        notes.append("Every answer could be parsed.")
    cut = [f"`{r.lane}` {count}" for r in records if (count := _count(r, "n_cut"))]
    if cut:
        notes.append("Prompts cut to the token budget: " + ", ".join(cut) + ".")
    notes += _describe_sittings([r.speed for r in records if r.speed])
    return notes


def format_size(size_bytes: int | None) -> str:
    """Return a size in MB or GB (powers of ten, as the contest's limits)."""
    if size_bytes is None:
        return EMPTY
    return f"{size_bytes / 1e9:.2f} GB" if size_bytes >= 1e9 else f"{size_bytes / 1e6:.1f} MB"


def round_number(value: object) -> str:
    """Return four decimals, or a dash where there is no number."""
    return f"{value:.4f}" if isinstance(value, (float, int)) else EMPTY


def explain_formula(ranking: Ranking, quality_weight: float) -> tuple[str, str]:
    """Return the score's formula, and what stands in it."""
    total = sum(ranking.weights_used.values())
    shares = (
        ", ".join(f"{n} {100 * w / total:.3g} %" for n, w in ranking.weights_used.items()) if total else ""
    )
    formula = (
        f"score = max({quality_weight:g} × Perf/Perf_base + {1 - quality_weight:g} × "
        "(1 − s_per_token/s_per_token_base), 0)"
    )
    return formula, (
        f"Perf is the weighted mean of the benchmarks ({shares or 'none could be used'}). The speed gain is "
        "1 − s_per_token/s_per_token_base: fixed-length decode, base and candidate measured in turn in one "
        "sitting."
    )


def clean_log(lines: Sequence[str], limit: int) -> list[str]:
    """Return the last `limit` lines as plain text: no colours, no control characters, progress bars' ends."""
    text = "\n".join(line.rstrip().rpartition("\r")[2] for line in lines)
    plain = CONTROL.sub("", ESCAPES.sub("", text.expandtabs(4))).splitlines()
    shown = [line.rstrip() for line in plain if line.strip()][-limit:]
    return [x if len(x) <= LOG_LINE_CHARACTERS else x[:LOG_LINE_CHARACTERS] + " …" for x in shown]


def _draw_log_tails(ranking: Ranking) -> list[str]:
    lines: list[str] = []
    for lane in list_unranked(ranking):
        shown = clean_log(lane.record.log_tail, LOG_LINES)
        if shown:
            fence = "`" * max(3, 1 + max(len(run) for run in re.findall("`+", "".join(shown)) or [""]))
            lines += ["", f"`{lane.record.lane}`:", "", f"{fence}text", *shown, fence]
    return ["", "## Last lines of failed lanes' logs", *lines] if lines else []


def _collect_cells(lane: RankedLane) -> dict[str, object]:
    record, speed = lane.record, lane.record.speed
    return {
        "rank": lane.rank,
        "lane": record.lane,
        "group": record.group,
        "status": record.status,
        "perf": lane.perf,
        "perf_norm": lane.perf_norm,
        "s_per_token": speed.s_per_token if speed else None,
        "speed_norm": lane.speed_norm,
        "score": lane.score,
        "size_bytes": record.size_bytes,
        "reason": _on_one_line(record.reason),
        "s_per_token_base": speed.baseline_s_per_token if speed else None,
        "speed_spread": compute_spread(speed) if speed else None,
        "n_unparsed": _count(record, "n_unparsed"),
        "n_cut": _count(record, "n_cut"),
        "seconds": sum(record.stage_seconds.values()) if record.stage_seconds else None,
        "device": speed.device if speed else None,
        "engine": speed.engine if speed else None,
        "title": _on_one_line(record.title),
    }


def _collect_values(record: LaneRecord, benchmarks: Sequence[str]) -> dict[str, object]:
    found = {name: record.benchmarks.get(name) for name in benchmarks}
    return {name: result.value if result else None for name, result in found.items()}


def _count(record: LaneRecord, counter: str) -> int | None:
    """Sum a counter over a record's benchmarks; None where nothing was evaluated."""
    if not record.benchmarks:
        return None
    return sum(int(getattr(result, counter)) for result in record.benchmarks.values())


def _write_cell(value: object) -> str:
    if value is None:
        return ""
    return repr(value) if isinstance(value, float) else str(value)


def _draw_row(lane: RankedLane, benchmarks: Sequence[str]) -> list[str]:
    record, speed = lane.record, lane.record.speed
    seconds = EMPTY
    gain = EMPTY
    if speed:
        where = " cpu" if speed.is_cpu else ""
        seconds = f"{speed.s_per_token:.5f}{where}"
        gain = EMPTY if lane.speed_norm is None else f"{100 * lane.speed_norm:+.1f} %{where}"
    score = round_number(lane.score)
    values = _collect_values(record, benchmarks)
    return [
        str(lane.rank) if lane.rank is not None else EMPTY,
        f"`{record.lane}`",
        record.group,
        f"**{score}**" if lane.rank is not None and lane.rank <= 3 else score,
        round_number(lane.perf),
        round_number(lane.perf_norm),
        seconds,
        gain,
        *(round_number(values[name]) for name in benchmarks),
        format_size(record.size_bytes),
        f"{sum(record.stage_seconds.values()):.0f} s" if record.stage_seconds else EMPTY,
        record.status,
    ]


def _join_cells(cells: Sequence[str]) -> str:
    return "| " + " | ".join(_on_one_line(cell).replace("|", "\\|") for cell in cells) + " |"


def _on_one_line(text: str) -> str:
    return " ".join(text.split())


def _describe_sittings(speeds: Sequence[SpeedResult]) -> list[str]:
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
