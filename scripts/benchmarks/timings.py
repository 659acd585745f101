"""Ways that take turns, and what they cost: wall and CPU seconds, round by round."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import psutil


@dataclass
class Timings:
    """Seconds by way, one a round; CPU seconds are those of this process and all that it started."""

    seconds: dict[str, list[float]] = field(default_factory=dict)
    cpu_seconds: dict[str, list[float]] = field(default_factory=dict)

    def measure(self, way: str, action: Callable[[], float]) -> None:
        """Do it once; `action` returns the wall seconds that count."""
        before = read_cpu_seconds()
        seconds = action()
        self.cpu_seconds.setdefault(way, []).append(read_cpu_seconds() - before)
        self.seconds.setdefault(way, []).append(seconds)

    def render(self, base: str, n_items: int) -> str:
        """Return a markdown table; what is over `base` is the median of the rounds' own ratios."""
        lines = [
            f"| way | median s | min to max s | items/s | over the {base} | min to max | ms an item over "
            f"| CPU s | CPU over the {base} |",
            "| :--- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
        ]
        for way, seconds in self.seconds.items():
            over = list_excess(seconds, self.seconds[base])
            extra = statistics.median(a - b for a, b in zip(seconds, self.seconds[base], strict=True))
            cpu = self.cpu_seconds[way]
            cpu_over = statistics.median(list_excess(cpu, self.cpu_seconds[base]))
            middle = statistics.median(seconds)
            lines.append(
                f"| {way} | {middle:.2f} | {min(seconds):.2f} to {max(seconds):.2f} | {n_items / middle:.1f} "
                f"| {statistics.median(over):+.1f} % | {min(over):+.1f} to {max(over):+.1f} % "
                f"| {1000 * extra / n_items:+.2f} | {statistics.median(cpu):.2f} | {cpu_over:+.1f} % |"
            )
        return "\n".join(lines)


def list_excess(seconds: Sequence[float], base: Sequence[float]) -> list[float]:
    """Return by how many percent each round exceeds the base's."""
    return [100 * (a / b - 1) for a, b in zip(seconds, base, strict=True)]


def render_phases(phases: Mapping[str, Sequence[float]], n_items: int) -> str:
    """Return the seconds by phase as a markdown table, longest first."""
    lines = ["| the stage's phases | median s | ms an item |", "| :--- | ---: | ---: |"]
    for name, seconds in sorted(phases.items(), key=lambda pair: -statistics.median(pair[1])):
        middle = statistics.median(seconds)
        lines.append(f"| {name} | {middle:.3f} | {1000 * middle / n_items:.3f} |")
    return "\n".join(lines)


def read_cpu_seconds() -> float:
    """Return the CPU seconds that this process and its living descendants have used."""
    me = psutil.Process()
    total = 0.0
    for process in [me, *me.children(recursive=True)]:
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += times.user + times.system
    return total
