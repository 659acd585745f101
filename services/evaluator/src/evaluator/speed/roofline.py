"""What bounds a step: the memory, the tensor cores, or the host that feeds them. Pure.

For each measured step two least times are known, whatever the kernels: its bytes at the memory's bandwidth
and its operations at the tensor cores' peak (Williams et al. 2009, "Roofline"). Their shares of the time
measured say how near it is to either roof.

The host's share is measured: the time of a decode step is drawn as a straight line over the number of
sequences, through the form of the fewest and the next of at least `SPREAD` times as many, down to none. What
is left there is spent whatever the work, and but for the weights, which are read once whatever the batch, no
memory and no arithmetic explains it: launches, scheduling, sampling, Python; what kernels lose at every batch
stands in it as well. Where a step of one sequence takes as long as one of 8 or 32 and the bandwidth achieved
is far below the peak, that share is large.

The greatest of the three is the verdict where it is at least half of the time; else none alone bounds it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from evaluator.speed.work import Work
from lanekit.results.speed import Bound, FormBound

LEAST_SHARE = 0.5
SPREAD = 4


@dataclass(frozen=True)
class Roofs:
    """The device's memory bandwidth, and its tensor cores' peak in the model's dtype; None: not known."""

    bytes_per_s: float | None = None
    operations_per_s: float | None = None


@dataclass(frozen=True)
class Step:
    """One measured step: how many sequences it served, its wall seconds, what it had to do."""

    n_sequences: int
    seconds: float
    work: Work


def measure_step(seconds: float, new_tokens: int, prefill_seconds: float) -> float | None:
    """Return the seconds of one decode step of a run that took in its prompts and then added tokens.

    The first token comes out of the prefill. None where too little is left of the run to tell.
    """
    left = seconds - prefill_seconds
    return left / (new_tokens - 1) if new_tokens > 1 and left > seconds / 5 else None


def measure_host(steps: Mapping[str, Step], weight_bytes: float, roofs: Roofs) -> float | None:
    """Return the seconds of every decode step that no work explains; None where they cannot be told.

    Two forms are needed, one with `SPREAD` times the sequences of the other, and the memory's bandwidth.
    """
    ordered = sorted(steps.values(), key=lambda step: step.n_sequences)
    more = [step for step in ordered if step.n_sequences >= SPREAD * ordered[0].n_sequences]
    if not more or roofs.bytes_per_s is None:
        return None
    few, many = ordered[0], more[0]
    slope = (many.seconds - few.seconds) / (many.n_sequences - few.n_sequences)
    rest = min(few.seconds, many.seconds, few.seconds - slope * few.n_sequences)
    return max(0.0, rest - weight_bytes / roofs.bytes_per_s)


def judge_step(step: Step, roofs: Roofs, host_seconds: float | None = None) -> FormBound:
    """Return the shares of a step's time and what bounds it; "" where none alone does or nothing is known."""
    memory = step.work.read_bytes / roofs.bytes_per_s if roofs.bytes_per_s else None
    compute = step.work.operations / roofs.operations_per_s if roofs.operations_per_s else None
    times: dict[Bound, float | None] = {"host": host_seconds, "memory bandwidth": memory, "compute": compute}
    shares = {name: time / step.seconds for name, time in times.items() if time is not None}
    greatest: Bound = max(shares, key=lambda name: shares[name], default="")
    return FormBound(
        seconds=step.seconds,
        read_bytes=step.work.read_bytes,
        operations=step.work.operations,
        host_share=shares.get("host"),
        memory_share=shares.get("memory bandwidth"),
        compute_share=shares.get("compute"),
        verdict=greatest if shares and shares[greatest] >= LEAST_SHARE else "",
    )
