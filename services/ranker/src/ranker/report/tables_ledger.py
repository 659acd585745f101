"""The table of the ledger: the server's scores beside the local ones, and what these are worth. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from lanekit.results.ledger import Entry
from ranker.report.formats import EMPTY, round_number, show_interval
from ranker.report.table import LANE, Badge, Cell, Head, Row, Table
from ranker.statistics.agreement import (
    FEW,
    SLOW,
    Agreement,
    Host,
    choose_device,
    collect_points,
    judge_hosts,
    measure_agreement,
    show_minutes,
)

DIGEST_CHARACTERS = 12
HEADS = (
    LANE,
    Head("server", "서버 점수"),
    Head("min", "분"),
    Head("host", "서버 상태", "text"),
    Head("local", "로컬 점수"),
    Head("local s/token ÷ base", "기준 대비 시간", is_detail=True),
    Head("package", "패키지", "text"),
    Head("at", "시각", "text"),
    Head("note", "메모", "text"),
)


def assess(entries: Sequence[Entry]) -> tuple[list[Host], Agreement, str]:
    """Return each run's state, the agreement of local and server scores, and the device of the local ones."""
    hosts, device = judge_hosts(entries), choose_device(entries)
    here = [(e, h) for e, h in zip(entries, hosts, strict=True) if e.device == device]
    return hosts, measure_agreement(collect_points([e for e, _ in here], [h for _, h in here])), device


def tabulate_ledger(entries: Sequence[Entry]) -> Table | None:
    """Build the table, the best score first and those of the slow host last; None without entries."""
    if not entries:
        return None
    hosts, agreement, device = assess(entries)
    pairs = sorted(
        zip(entries, hosts, strict=True), key=lambda p: (p[1].state == "slow", -p[0].score, p[0].at)
    )
    rows = [_make_row(entry, host, is_best=place == 0) for place, (entry, host) in enumerate(pairs)]
    return Table(
        "Server scores", "서버 점수", describe(entries, hosts, agreement, device), HEADS, tuple(rows)
    )


def _make_row(entry: Entry, host: Host, *, is_best: bool) -> Row:
    is_slow = host.state == "slow"
    words = "slow host" if is_slow else host.state
    return Row((
        Cell(f"`{entry.lane}`"),
        Cell(round_number(entry.score), is_best=is_best),
        Cell(show_minutes(entry.minutes) or EMPTY),
        Cell("", badges=(Badge(words, tone="bad" if is_slow else "", detail=host.reason),)),
        Cell(round_number(entry.local_score)),
        Cell(round_number(entry.local_ratio, 3)),
        Cell(entry.package[:DIGEST_CHARACTERS]),
        Cell(entry.at.isoformat(" ", "minutes")),
        Cell(entry.note),
    ))  # fmt: skip


def describe(entries: Sequence[Entry], hosts: Sequence[Host], agreement: Agreement, device: str) -> str:
    """Return what the ledger says of local scores, in sentences."""
    slow = sum(host.state == "slow" for host in hosts)
    unknown = sum(host.state == "unknown" for host in hosts)
    words = []
    if slow:
        words.append(
            f"{slow} of {len(entries)} runs are of the slow host (more than {SLOW:g} times the minutes of "
            "another of like speed, or written so), and count in nothing below."
        )
    if unknown:
        words.append(
            f"{unknown} could not be judged and count as usual: no other run of like speed is known."
        )
    others = len({e.package for e in entries if e.device != device and e.local_score is not None})
    if others:
        words.append(f"Left out below: {others} package(s) measured on another device than {device}.")
    lacking = len({entry.package for entry in entries if entry.local_score is None})
    if lacking:
        words.append(f"Left out below: {lacking} package(s) without a local score.")
    return " ".join([*words, *describe_agreement(agreement)])


def describe_agreement(agreement: Agreement) -> list[str]:
    """Return sentences on rank correlation and on the distance that orders."""
    n_points = len(agreement.points)
    if agreement.tau is None:
        return [f"Nothing can be said of local against server scores yet: {n_points} package(s) have both."]
    interval = show_interval(agreement.interval, 2) or "5 packages are needed for an interval"
    few = f"; {n_points} are few, so this is rough" if n_points < FEW else ""
    words = [
        f"Kendall's τ of local and server scores over {n_points} packages: {_show(agreement.tau, 2)} "
        f"({interval}{few})."
    ]
    if agreement.same_order is not None:
        words.append(f"{100 * agreement.same_order:.0f} % of the pairs stand in the same order.")
    if agreement.worth is not None:
        words.append(
            f"Two local scores order the server's in 19 of 20 cases where they lie {agreement.worth:.4f} or "
            f"more apart (server = a + {_show(agreement.slope, 2)} × local, "
            f"residual {_show(agreement.residual, 4)})."
        )
    elif agreement.slope is not None:
        words.append(
            "No distance between local scores is known to order the server's: the slope "
            f"({_show(agreement.slope, 2)}) is not told from 0."
        )
    else:
        words.append("What a distance between local scores is worth wants 3 packages at least.")
    return words


def _show(value: float | None, digits: int) -> str:
    return EMPTY if value is None else f"{value:.{digits}f}".replace("-", "−")
