"""The tables on speed and time: every form of timing, what a model costs, seconds by stage. Pure."""

from __future__ import annotations

import math

from lanekit.results.ranking import Ranking
from lanekit.results.speed import FIXED_KINDS, FormKind, SpeedForm
from lanekit.spec.stages import STAGE_TYPES
from ranker.report.formats import (
    EMPTY,
    list_forms,
    show_counts,
    show_mb,
    show_percent,
    show_seconds,
    show_time,
)
from ranker.report.table import LANE, Cell, Head, Table, make_row
from ranker.report.tables_bound import name_verdict
from ranker.scoring.lengths import differs_in_length

KOREAN_KINDS: dict[FormKind, str] = {
    "decode": "디코드",
    "prefill": "프리필",
    "free": "자유 생성",
    "benchmark": "벤치마크 전체",
    "matched": "동일 길이",
}
FORM_NOTE = (
    "Milliseconds per token ± half the spread of the repeats, and the gain over the baseline in the same "
    "sitting with its 95 % interval. Prefill counts the prompts' tokens. In `free` and `benchmark` models "
    "end where they like: tokens an item are given, the lane's / the baseline's, ⚠ where they differ by more "
    "than 10 %; `matched` has the baseline's lengths for both. Pooled: with the lanes of equal shapes."
)
COST_NOTE = (
    "Weights are read once for each decode step, the KV cache of every sequence's context with them. Of the "
    "roofline: the least time that the memory's bandwidth allows for both over that measured, at the decode "
    "form that is named, the score's or the one of most sequences, and what bounds that."
)
COST_HEADS = (
    LANE,
    Head("weights a step, MB", "단계당 가중치"),
    Head("KV a context token, B", "토큰당 KV 캐시"),
    Head("of the roofline", "루프라인 대비", below="aside"),
    Head("bound by", "병목", "text"),
    Head("KV cache", kind="text"),
    Head("kernels", "커널", "text"),
)
TIME_NOTE = "A stage that lanes share ran once and counts in each of them."


def tabulate_forms(ranking: Ranking) -> Table | None:
    """Build the table of every form of timing; None where no record has forms."""
    forms = list_forms(ranking)
    if not forms:
        return None
    timed = [(lane, lane.record.speed) for lane in ranking.lanes if lane.record.speed]
    kinds = {name: form.kind for _, speed in timed for name, form in speed.forms.items()}
    scored = {speed.form for _, speed in timed}
    heads = [
        Head(f"{name}{' · score' if name in scored else ''}", KOREAN_KINDS[kinds[name]],
             below="aside")
        for name in forms
    ]  # fmt: skip
    rows = []
    for lane, speed in timed:
        cells = [
            _show_form(speed.forms.get(name), lane.pooled_ratios.get(name), is_scored=name == speed.form)
            for name in forms
        ]
        rows.append(make_row(ranking, lane, *cells))
    return Table("Speed by form", "방식별 속도", FORM_NOTE, (LANE, *heads), tuple(rows))


def _show_form(form: SpeedForm | None, pooled: float | None, *, is_scored: bool) -> Cell:
    if form is None:
        return Cell(EMPTY)
    remarks = "; ".join(list_form_remarks(form, pooled))
    return Cell(show_time(form.s_per_token, form.s_per_token_all, 3), remarks, is_scored)


def list_form_remarks(form: SpeedForm, pooled: float | None) -> list[str]:
    """Return a form's gain with its interval, the pooled one, and tokens where models end by themselves."""
    parts = [show_percent(1 - form.ratio, signed=True)]
    if form.ratio_low is not None and form.ratio_high is not None:
        ends = (show_percent(1 - end, signed=True) for end in (form.ratio_high, form.ratio_low))
        parts[0] += f" [{', '.join(ends)}]"
    if pooled is not None:
        parts.append(f"pooled {show_percent(1 - pooled, signed=True)}")
    if form.kind not in FIXED_KINDS:
        mark = "⚠ " if differs_in_length(form) else ""
        parts.append(f"{mark}{form.tokens_per_item:.1f} / {form.baseline_tokens_per_item:.1f} tokens an item")
    return parts


def tabulate_costs(ranking: Ranking) -> Table | None:
    """Build the table of what a decode step reads, and how near it comes to the memory's bandwidth."""
    rows = [
        make_row(
            ranking,
            lane,
            Cell(show_mb(cost.weight_bytes_per_step)),
            Cell(f"{cost.kv_bytes_per_context_token:,}" if cost.kv_bytes_per_context_token else EMPTY),
            Cell(show_percent(cost.roofline_ratio, 0), cost.roofline_form),
            Cell(name_verdict(cost.bounds, cost.roofline_form)),
            Cell(cost.kv_cache_dtype or EMPTY),
            Cell(show_counts(cost.kernels) or EMPTY),
        )
        for lane in ranking.lanes
        if (speed := lane.record.speed) and (cost := speed.cost)
    ]
    if not rows:
        return None
    return Table("Cost of a decode step", "디코드 단계의 비용", COST_NOTE, COST_HEADS, tuple(rows))


def list_stages(ranking: Ranking) -> list[str]:
    """Return the stages that some lane has a time of, in their order."""
    found = {stage for lane in ranking.lanes for stage in lane.record.stage_seconds}
    return [stage for stage in STAGE_TYPES if stage in found] + sorted(found - set(STAGE_TYPES))


def tabulate_times(ranking: Ranking) -> Table | None:
    """Build the table of the lanes' seconds by stage."""
    stages = list_stages(ranking)
    rows = []
    for lane in ranking.lanes:
        seconds = lane.record.stage_seconds
        if seconds:
            shown = [*map(seconds.get, stages), math.fsum(seconds.values())]
            rows.append(make_row(ranking, lane, *(Cell(show_seconds(s)) for s in shown)))
    if not rows:
        return None
    heads = (LANE, *map(Head, stages), Head("all", "합계"))
    return Table("Seconds by stage", "단계별 시간(초)", TIME_NOTE, heads, tuple(rows))
