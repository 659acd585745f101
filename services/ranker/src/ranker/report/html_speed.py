"""The page's sections on speed and time: every form of timing, where and how it was measured, stage times."""

from __future__ import annotations

from collections.abc import Iterable

from lanekit.results.schema import LaneRecord, ModelCost, Ranking, SpeedForm, SpeedResult
from lanekit.spec.stages import STAGE_TYPES
from ranker.report.canvas import PALETTE
from ranker.report.formats import EMPTY, compute_spread, list_forms, show_counts, show_percent, show_seconds
from ranker.report.html_parts import (
    head,
    korean,
    lane_cell,
    lane_name,
    legend,
    number,
    row,
    section,
    show_mb,
    table,
    text,
)

KOREAN_FORMS = {"prefill": "프리필", "free": "자유 생성"}


def draw_speed(ranking: Ranking) -> str:
    """Return the table of every form of timing; nothing where no record has forms."""
    forms = list_forms(ranking)
    timed = [(lane, lane.record.speed) for lane in ranking.lanes if lane.record.speed]
    if not forms:
        return ""
    scored = {speed.form for _, speed in timed}
    heads = [head("lane")]
    for form in forms:
        label = KOREAN_FORMS.get(form, "디코드" if form.startswith("decode") else "")
        heads.append(head(f"{form}{' · score' if form in scored else ''}", label))
    rows = [
        row([lane_cell(lane), *(_draw_form(n, speed.forms.get(n), n == speed.form) for n in forms)],
            is_base=lane is ranking.lanes[0])
        for lane, speed in timed
    ]  # fmt: skip
    note = (
        '<p class="sub">Milliseconds per token ± half the spread of the repeats, and the gain over the '
        "baseline in the same sitting. Prefill counts the prompts' tokens. Free-running models end where "
        "they like: their tokens stand below, the lane's / the baseline's.</p>"
    )
    return section(note + table(heads, rows), "Speed by form", "방식별 속도")


def _draw_form(name: str, form: SpeedForm | None, is_scored: bool) -> str:
    if form is None:
        return number(EMPTY)
    gain = show_percent(1 - form.s_per_token / form.baseline_s_per_token, signed=True)
    tokens = f"; {form.tokens:,} / {form.baseline_tokens:,} tokens" if name == "free" else ""
    spread = f"{50 * compute_spread(form.s_per_token_all):.0f} %"
    return number(f"{1000 * form.s_per_token:.3f} ± {spread}", gain + tokens, best=is_scored)


def draw_places(ranking: Ranking) -> str:
    """Return on what the speed was measured: machine, GPU, clocks, engine arguments, kernels, roofline."""
    timed = [(lane, lane.record.speed) for lane in ranking.lanes if lane.record.speed]
    if not timed:
        return ""
    parts = [_draw_facts(speed for _, speed in timed)]
    costs = [(lane, speed.cost) for lane, speed in timed if speed.cost]
    if costs:
        heads = [
            head("lane"),
            head("weights a step, MB", "단계당 가중치"),
            head("of the roofline", "루프라인 대비"),
        ]
        heads += [head("KV cache", "", is_text=True), head("kernels", "커널")]
        rows = [
            row([lane_cell(lane), *_draw_cost(cost)], is_base=lane is ranking.lanes[0])
            for lane, cost in costs
        ]
        parts.append(table(heads, rows))
        parts.append(
            '<p class="sub">Weights a step are read once for each decode step. Of the roofline: the least '
            "time that the memory's bandwidth allows for them over that measured, at the score's form.</p>"
        )
    return section("".join(parts), "Speed: where and how", "속도 측정 환경")


def _draw_facts(speeds: Iterable[SpeedResult]) -> str:
    """Return the conditions, each once with its distinct values: clocks move from sitting to sitting."""
    facts: dict[str, dict[str, None]] = {}
    for speed in speeds:
        found = {"device": speed.device, "engine": speed.engine, "form of the score": speed.form}
        found |= {f"gpu: {key}": value for key, value in speed.gpu.items()}
        if speed.bandwidth_bytes_per_s:
            found["memory bandwidth"] = f"{speed.bandwidth_bytes_per_s / 1e9:,.0f} GB/s"
        found |= {key: str(value) for key, value in speed.engine_arguments.items()}
        found |= {f"version: {key}": value for key, value in sorted(speed.versions.items())}
        for key, value in found.items():
            facts.setdefault(key, {})[value] = None
    pairs = "".join(
        f"<div><dt>{text(key)}</dt><dd>{text(', '.join(values) or EMPTY)}</dd></div>"
        for key, values in facts.items()
    )
    return f'<dl class="facts">{pairs}</dl>'


def _draw_cost(cost: ModelCost) -> list[str]:
    return [
        number(show_mb(cost.weight_bytes_per_step)),
        number(show_percent(cost.roofline_ratio, 0)),
        f"<td>{text(cost.kv_cache_dtype or EMPTY)}</td>",
        f"<td>{text(show_counts(cost.kernels) or EMPTY)}</td>",
    ]


def draw_times(ranking: Ranking) -> str:
    """Return the lanes' stage times as bars, and as numbers."""
    records = [lane.record for lane in ranking.lanes if lane.record.stage_seconds]
    if not records:
        return ""
    found = {stage for record in records for stage in record.stage_seconds}
    stages = [s for s in STAGE_TYPES if s in found] + sorted(found - set(STAGE_TYPES))
    hues = {stage: PALETTE[index % len(PALETTE)] for index, stage in enumerate(stages)}
    longest = max(sum(record.stage_seconds.values()) for record in records) or 1.0
    bars = "".join(_draw_time_bar(record, hues, longest) for record in records)
    heads = [head("lane"), *(head(stage, "") for stage in stages)]
    rows = [
        row([f'<th scope="row">{lane_name(record, is_broken=False)}</th>',
             *(number(show_seconds(record.stage_seconds.get(stage))) for stage in stages)])
        for record in records
    ]  # fmt: skip
    content = (
        '<p class="sub">A stage that lanes share ran once and counts in each of them.</p>'
        f'<div class="scroll"><table class="times"><tbody>{bars}</tbody></table></div>{legend(hues.items())}'
        f'<details class="numbers"><summary>in seconds {korean("초")}</summary>{table(heads, rows)}</details>'
    )
    return section(content, "Time by stage", "단계별 시간")


def _draw_time_bar(record: LaneRecord, hues: dict[str, str], longest: float) -> str:
    parts = [(s, record.stage_seconds[s], hues[s]) for s in hues if s in record.stage_seconds]
    bar = "".join(
        f'<i style="--hue: {hue}; width: {100 * seconds / longest:.2f}%" '
        f'title="{text(stage)} {show_seconds(seconds)} s"></i>'
        for stage, seconds, hue in parts
    )
    total = show_seconds(sum(record.stage_seconds.values()))
    return (
        f'<tr><th scope="row">{lane_name(record, is_broken=False)}</th><td class="track">'
        f'<div class="bar">{bar}</div></td><td class="num">{total} s</td></tr>'
    )
