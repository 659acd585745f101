"""What nvidia-smi says of the GPU while it works: clocks, power, temperature, reasons for slowing down.

Fields: `nvidia-smi --help-query-gpu`. The reasons are the bits of nvmlClocksEventReasons in NVIDIA's NVML
reference.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Mapping, Sequence

from lanekit.host.gpu_query import QUERY_SECONDS, make_query, run_query

CLOCK_DROP_LIMIT = 0.05
# nvidia-smi's field: this record's name. Facts hold for the whole sitting, the state is read twice.
FACTS = {
    "name": "name",
    "driver_version": "driver",
    "memory.total": "memory_total_mib",
    "power.limit": "power_limit_w",
    "persistence_mode": "persistence_mode",
    "clocks.max.sm": "max_sm_clock_mhz",
    "clocks.max.memory": "max_memory_clock_mhz",
}
STATE = {
    "pstate": "performance_state",
    "clocks.sm": "sm_clock_mhz",
    "clocks.mem": "memory_clock_mhz",
    "temperature.gpu": "temperature_c",
    "power.draw": "power_w",
}
REASONS = "slowdown_reasons"
REASON_FIELDS = ("clocks_event_reasons.active", "clocks_throttle_reasons.active")  # new and old drivers' name
REASON_NAMES = {
    0x1: "idle",
    0x2: "applications clocks setting",
    0x4: "software power cap",
    0x8: "hardware slowdown",
    0x10: "sync boost",
    0x20: "software thermal slowdown",
    0x40: "hardware thermal slowdown",
    0x80: "hardware power brake",
    0x100: "display clock setting",
}
HARMLESS_REASONS = frozenset(("idle", "none"))
_CLOCKS = {"sm_clock_mhz": "SM", "memory_clock_mhz": "memory"}


class GpuMonitor:
    """Reads the state of the GPU that this process sees first.

    `facts` is empty where nvidia-smi is not there or tells nothing.
    """

    def __init__(self) -> None:
        self.fields: dict[str, str] = {}
        self.facts: dict[str, str] = {}
        for reasons in ({REASON_FIELDS[0]: REASONS}, {REASON_FIELDS[1]: REASONS}, {}):
            fields = FACTS | STATE | reasons
            answer = run_query(fields)  # one unknown field makes nvidia-smi answer none
            if answer:
                found = parse_line(answer, tuple(fields.values()))
                self.fields = STATE | reasons
                self.facts = {name: found[name] for name in FACTS.values() if name in found}
                return

    def read_under(self, work: Callable[[], object]) -> dict[str, str]:
        """Return the state (see STATE, REASONS) while `work` runs: at least once, and until it is read."""
        if not self.fields:
            return {}
        process = subprocess.Popen(
            make_query(self.fields), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        deadline = time.monotonic() + QUERY_SECONDS
        work()
        while process.poll() is None and time.monotonic() < deadline:
            work()
        try:
            answer, _ = process.communicate(timeout=1)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            return {}
        return parse_line(answer, tuple(self.fields.values()))


def parse_line(answer: str, names: Sequence[str]) -> dict[str, str]:
    """Return the values of nvidia-smi's first CSV line by `names`; what it cannot tell is left out.

    The bit mask of reasons becomes words.
    """
    lines = answer.strip().splitlines()
    values = [value.strip() for value in lines[0].split(",")] if lines else []
    if len(values) != len(names):
        return {}
    found = dict(zip(names, values, strict=True))
    found = {name: value for name, value in found.items() if value and not _is_unknown(value)}
    if REASONS in found:
        found[REASONS] = name_reasons(found[REASONS])
    return found


def name_reasons(mask: str) -> str:
    """Return the reasons of a bit mask, e.g. "0x0000000000000004" → "software power cap"; "none" for 0."""
    try:
        bits = int(mask, 16)
    except ValueError:
        return mask
    names = [name for bit, name in REASON_NAMES.items() if bits & bit]
    rest = bits & ~sum(REASON_NAMES)
    return ", ".join([*names, *([f"unknown {rest:#x}"] if rest else [])]) or "none"


def join_states(
    facts: Mapping[str, str], before: Mapping[str, str], after: Mapping[str, str]
) -> dict[str, str]:
    """Return one flat record: the facts, and each state as `<name>_before` and `<name>_after`."""
    return {
        **facts,
        **{f"{name}_before": value for name, value in before.items()},
        **{f"{name}_after": value for name, value in after.items()},
    }


def find_warnings(before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    """Return what makes a measurement doubtful: clocks that fell, reasons for slowing down."""
    warnings = []
    for name, word in _CLOCKS.items():
        first, last = _read_number(before.get(name)), _read_number(after.get(name))
        if first and last is not None and (first - last) / first > CLOCK_DROP_LIMIT:
            warnings.append(
                f"the {word} clock fell from {first:g} to {last:g} MHz while the speed was measured: "
                "cool the GPU or lock its clocks, and measure again"
            )
    for when, state in (("before", before), ("after", after)):
        reasons = [r for r in state.get(REASONS, "").split(", ") if r and r not in HARMLESS_REASONS]
        if reasons:
            warnings.append(f"the GPU was held back {when} the timed repeats: {', '.join(reasons)}")
    return warnings


def _is_unknown(value: str) -> bool:
    return value.upper() == "N/A" or (value.startswith("[") and value.endswith("]"))


def _read_number(value: str | None) -> float | None:
    try:
        return float(value) if value else None
    except ValueError:
        return None
