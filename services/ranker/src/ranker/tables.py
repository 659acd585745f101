"""The ranking as CSV (unrounded, for machines) and as a GitHub table (rounded, for people). Pure."""

from __future__ import annotations

import csv
import io
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
    lines += ["", "## How the score is made", "", _explain_formula(ranking, quality_weight), ""]
    lines += ["## Notes", ""]
    lines += [f"- {_on_one_line(note)}" for note in collect_notes(ranking)]
    return "\n".join(lines) + "\n"


def collect_notes(ranking: Ranking) -> list[str]:
    """Return the ranking's notes and those on failures, unparsed answers, cut prompts and the device."""
    notes = list(ranking.notes)
    records = [lane.record for lane in ranking.lanes]
    for record in records:
        if record.status != "ok":
            notes.append(f"`{record.lane}` is {record.status}: {record.reason or 'no reason given'}")
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
    score = _round(lane.score)
    values = _collect_values(record, benchmarks)
    return [
        str(lane.rank) if lane.rank is not None else EMPTY,
        f"`{record.lane}`",
        record.group,
        f"**{score}**" if lane.rank is not None and lane.rank <= 3 else score,
        _round(lane.perf),
        _round(lane.perf_norm),
        seconds,
        gain,
        *(_round(values[name]) for name in benchmarks),
        format_size(record.size_bytes),
        f"{sum(record.stage_seconds.values()):.0f} s" if record.stage_seconds else EMPTY,
        record.status,
    ]


def _round(value: object) -> str:
    return f"{value:.4f}" if isinstance(value, (float, int)) else EMPTY


def _join_cells(cells: Sequence[str]) -> str:
    return "| " + " | ".join(_on_one_line(cell).replace("|", "\\|") for cell in cells) + " |"


def _on_one_line(text: str) -> str:
    return " ".join(text.split())


def _explain_formula(ranking: Ranking, quality_weight: float) -> str:
    total = sum(ranking.weights_used.values())
    shares = (
        ", ".join(f"{n} {100 * w / total:.3g} %" for n, w in ranking.weights_used.items()) if total else ""
    )
    return (
        f"`score = max({quality_weight:g} × Perf/Perf_base + {1 - quality_weight:g} × "
        "(1 − s_per_token/s_per_token_base), 0)`. "
        f"Perf is the weighted mean of the benchmarks ({shares or 'none could be used'}). The speed gain is "
        "1 − s_per_token/s_per_token_base: fixed-length decode, base and candidate measured in turn in one "
        "sitting. `time` is the sum of the lane's stages, shared ones included."
    )


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
    if any(speed.is_cpu for speed in speeds):
        notes.append("Speed on a cpu says nothing about speed on a GPU: do not choose a submission by it.")
    return notes
