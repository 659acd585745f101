"""The data sets' rows, as far as they were looked at: what a stage would refuse or leave out."""

from __future__ import annotations

from collections.abc import Iterator

from lanekit.plan.preflight.finding import Finding, from_error
from lanekit.plan.preflight.request import Request
from lanekit.spec.calibration import CORPUS, count_drawn
from lanekit.spec.corpus_rows import FirstRows, advise_too_few, list_reasons

MAX_ADVICE = 3


def check_data(request: Request) -> Iterator[Finding]:
    """Check the sources that were looked at."""
    for name, look in request.data.items():
        if look.error is not None:
            yield from_error(request.locate("data", name), look.error)
        elif look.first is not None:
            yield from _check_first_rows(request, name, look.first)


def _check_first_rows(request: Request, name: str, first: FirstRows) -> Iterator[Finding]:
    """Refuse where too few rows are left whatever the others hold; warn of those that will be left out."""
    source = request.experiment.data[name].source
    needed = sum(count_drawn(name, request.experiment.corpus))
    counts, where = first.faults.counts, request.locate("data", name)
    seen = f"of the {'first ' if first.n_read < first.n_source else ''}{first.n_read} rows"
    is_too_small = (
        name == CORPUS and needed > first.n_source and first.n_usable > 0
    )  # which is told as an amount, with its remedy
    if first.n_at_most < needed and not is_too_small:
        left_out = {**counts, **({"duplicates": first.n_duplicates} if first.n_duplicates else {})}
        most = "at most " if first.n_read < first.n_source else ""
        yield Finding(
            where,
            f"{source}: {needed} conversations are asked for, {most}{first.n_at_most} of {first.n_source} "
            f"rows can be used ({seen}: {list_reasons(left_out)})",
            advise_too_few(left_out, first.faults, first.n_read, first.n_at_most),
        )
    elif counts:
        advice = "; ".join(first.faults.advise(reason) for reason, _ in counts.most_common(MAX_ADVICE))
        yield Finding(
            where,
            f"{source}: {seen}, {sum(counts.values())} will be left out ({list_reasons(counts)})",
            advice,
            "warning",
        )
