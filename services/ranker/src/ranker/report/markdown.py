"""The ranking as text tables, summary.md: for a terminal and for GitHub. Pure."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

from lanekit.results.schema import PartResult, RankedLane, Ranking
from lanekit.spec.stages import STAGE_TYPES
from ranker.report.formats import (
    EMPTY,
    clean_log,
    format_size,
    has_details,
    join_lines,
    list_forms,
    list_parts,
    list_unranked,
    map_ranks,
    name_marks,
    round_number,
    show_counts,
    show_difference,
    show_interval,
    show_lane,
    show_p,
    show_percent,
    show_rank,
    show_seconds,
)
from ranker.report.notes import (
    FRONT_TERM,
    collect_remarks,
    explain_formula,
    explain_statistics,
    list_failures,
    split_notes,
)

TIME_TERM = "A stage that lanes share ran once and counts in each of them."
FORM_TERM = (
    "Milliseconds per token, and the gain over the baseline in the same sitting. Free-running models end "
    "where they like: their tokens stand beside, the lane's/the baseline's."
)
LOG_LINES = 5
SHOWN_PARTS = 4  # the page has all
LEFT = ("rank", "lane", "group", "marks", "KV cache", "kernels")
HEAD = (
    "rank", "lane", "group", "score", "interval", "Perf", "Perf/base", "s/token", "speed gain", "size",
    "marks",
)  # fmt: skip


def render_markdown(
    ranking: Ranking, benchmarks: Sequence[str], quality_weight: float, confidence: float = 0.95
) -> str:
    """Return summary.md: warnings, the tables, the formula, and the notes a reader needs to judge it.

    `confidence` is that of the ranking's intervals.
    """
    warnings, rules = split_notes(ranking)
    lines = [f"# {ranking.experiment}: ranking" if ranking.experiment else "# Ranking", ""]
    if warnings:
        lines += ["## Read this first", "", *_list(warnings), ""]
    lines += _draw_ranking(ranking)
    formula, terms = explain_formula(ranking, quality_weight)
    lines += ["", "## How the score is made", "", f"`{formula}`. {terms}", ""]
    lines += _draw_quality(ranking, benchmarks, confidence)
    lines += _draw_speed(ranking)
    lines += _draw_times(ranking)
    remarks = [*list_failures(ranking), *collect_remarks(ranking), FRONT_TERM, *rules]
    lines += ["## Notes", "", *_list(remarks)]
    lines += _draw_log_tails(ranking)
    return "\n".join(lines) + "\n"


def draw_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return a GitHub table whose cells are padded, so that it stands straight in a terminal too.

    Columns are flush right but for those named in LEFT.
    """
    left = [name in LEFT for name in head]
    cells = [[join_lines(cell).replace("|", "\\|") for cell in row] for row in [head, *rows]]
    widths = [max(3, *(_measure(row[column]) for row in cells)) for column in range(len(head))]
    rules = [
        ":" + "-" * (w - 1) if is_left else "-" * (w - 1) + ":"
        for w, is_left in zip(widths, left, strict=True)
    ]
    lines = []
    for row in [cells[0], rules, *cells[1:]]:
        padded = [
            text + " " * (width - _measure(text)) if is_left else " " * (width - _measure(text)) + text
            for text, width, is_left in zip(row, widths, left, strict=True)
        ]
        lines.append("| " + " | ".join(padded) + " |")
    return lines


def _measure(text: str) -> int:
    """Return a text's columns in a terminal."""
    return sum(1 + (unicodedata.east_asian_width(c) in "WF") for c in text if not unicodedata.combining(c))


def _draw_ranking(ranking: Ranking) -> list[str]:
    ranks = map_ranks(ranking)
    return draw_table(HEAD, [_draw_row(lane, ranks) for lane in ranking.lanes])


def _draw_row(lane: RankedLane, ranks: dict[str, int | None]) -> list[str]:
    record, speed = lane.record, lane.record.speed
    where = " cpu" if speed and speed.is_cpu else ""
    score = round_number(lane.score)
    return [
        show_rank(lane),
        show_lane(record),
        record.group,
        f"**{score}**" if lane.rank is not None and lane.rank <= 3 else score,
        show_interval(lane.score_interval),
        round_number(lane.perf),
        show_percent(lane.perf_norm),
        f"{speed.s_per_token:.5f}{where}" if speed else EMPTY,
        EMPTY if lane.speed_norm is None else show_percent(lane.speed_norm, signed=True) + where,
        format_size(record.size_bytes),
        ", ".join(name_marks(lane, ranks)),
    ]


def _draw_quality(ranking: Ranking, benchmarks: Sequence[str], confidence: float) -> list[str]:
    lines = ["## Quality by benchmark", ""]
    terms = explain_statistics(ranking, confidence)
    if terms:
        lines += [terms, ""]
    total = sum(ranking.weights_used.values()) or 1.0
    for name in benchmarks:
        results = [lane.record.benchmarks.get(name) for lane in ranking.lanes]
        metric = next((r.metric for r in results if r), "")
        weight = ranking.weights_used.get(name)
        share = f"{100 * weight / total:.3g} % of Perf" if weight else "not in Perf"
        lines += [f"### {name} ({metric + ', ' if metric else ''}{share})", ""]
        if not any(result and result.value is not None for result in results):
            lines += [next((r.note for r in results if r and r.note), "No lane has a value."), ""]
            continue
        head = ["lane", "value", "interval", "recovery", "interval", "Δ", "+/−", "p (Holm)", "n"]
        rows = [_draw_benchmark_row(lane, name) for lane in ranking.lanes if name in lane.record.benchmarks]
        lines += [*draw_table(head, rows), ""]
        lines += _draw_details(ranking, name)
    return lines


def _draw_benchmark_row(lane: RankedLane, name: str) -> list[str]:
    result, found = lane.record.benchmarks[name], lane.benchmark_statistics.get(name)
    row = [show_lane(lane.record), round_number(result.value)]
    if found is None:
        return [*row, "", EMPTY, "", EMPTY, EMPTY, EMPTY, str(result.n_items)]
    paired = found.p_value is not None
    return [
        *row,
        show_interval(found.interval),
        show_percent(found.recovery),
        show_interval(found.recovery_interval, 1, 100),
        show_difference(found.difference),
        f"{found.n_better}/{found.n_worse}" if paired else EMPTY,
        f"{show_p(found.p_value)} ({show_p(found.p_adjusted)})" if paired else EMPTY,
        str(result.n_items),
    ]


def _draw_details(ranking: Ranking, name: str) -> list[str]:
    """Return what cutting the documents cost, and the first parts reported apart, where there is such."""
    parts = list_parts(ranking, name)[:SHOWN_PARTS]
    results = {
        show_lane(x.record): r for x in ranking.lanes if (r := x.record.benchmarks.get(name)) is not None
    }
    if not has_details(results.values(), parts):
        return []
    is_exact = any(r.exact_match is not None for r in results.values())
    head = ["lane", *(["exact match", "cut", "gold lost"] if is_exact else [])]
    head += [f"{part}{', exact' if is_exact else ''} (n)" for part in parts]
    rows = []
    for lane, result in results.items():
        row = [lane]
        if is_exact:
            row += [round_number(result.exact_match), str(result.n_cut), str(result.n_gold_lost)]
        row += [_show_part(result.parts.get(part), is_exact) for part in parts]
        rows.append(row)
    return [*draw_table(head, rows), ""]


def _show_part(part: PartResult | None, is_exact: bool) -> str:
    if part is None:
        return EMPTY
    exact = f", {round_number(part.exact_match, 3)}" if is_exact else ""
    return f"{round_number(part.value, 3)}{exact} ({part.n_items})"


def _draw_speed(ranking: Ranking) -> list[str]:
    forms = list_forms(ranking)
    timed = [(show_lane(lane.record), lane.record.speed) for lane in ranking.lanes if lane.record.speed]
    if not forms:
        return []
    scored = {speed.form for _, speed in timed}
    head = ["lane", *(f"{name}{' (score)' if name in scored else ''}" for name in forms)]
    rows = []
    for lane, speed in timed:
        row = [lane]
        for name in forms:
            form = speed.forms.get(name)
            if form is None:
                row.append(EMPTY)
                continue
            gain = show_percent(1 - form.s_per_token / form.baseline_s_per_token, signed=True)
            tokens = f", {form.tokens}/{form.baseline_tokens} tokens" if name == "free" else ""
            row.append(f"{1000 * form.s_per_token:.3f} ({gain}{tokens})")
        rows.append(row)
    lines = ["## Speed by form", ""]
    lines += [FORM_TERM, ""]
    lines += [*draw_table(head, rows), ""]
    costs = [(lane, speed.cost) for lane, speed in timed if speed.cost]
    if costs:
        head = ["lane", "weights a step", "of the roofline", "KV cache", "kernels"]
        rows = [
            [lane, format_size(cost.weight_bytes_per_step), show_percent(cost.roofline_ratio, 0),
             cost.kv_cache_dtype or EMPTY, show_counts(cost.kernels) or EMPTY]
            for lane, cost in costs
        ]  # fmt: skip
        lines += [*draw_table(head, rows), ""]
    return lines


def _draw_times(ranking: Ranking) -> list[str]:
    records = [lane.record for lane in ranking.lanes if lane.record.stage_seconds]
    if not records:
        return []
    found = {stage for record in records for stage in record.stage_seconds}
    stages = [s for s in STAGE_TYPES if s in found] + sorted(found - set(STAGE_TYPES))
    rows = [
        [show_lane(r), *(show_seconds(r.stage_seconds.get(s)) for s in stages),
         show_seconds(sum(r.stage_seconds.values()))]
        for r in records
    ]  # fmt: skip
    return ["## Seconds by stage", "", TIME_TERM, "", *draw_table(["lane", *stages, "all"], rows), ""]


def _draw_log_tails(ranking: Ranking) -> list[str]:
    lines: list[str] = []
    for lane in list_unranked(ranking):
        shown = clean_log(lane.record.log_tail, LOG_LINES)
        if shown:
            fence = "`" * max(3, 1 + max(len(run) for run in re.findall("`+", "".join(shown)) or [""]))
            lines += ["", f"`{lane.record.lane}`:", "", f"{fence}text", *shown, fence]
    return ["", "## Last lines of failed lanes' logs", *lines] if lines else []


def _list(notes: Sequence[str]) -> list[str]:
    return [f"- {join_lines(note)}" for note in notes]
