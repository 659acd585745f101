"""What the benchmarks share: ways that take turns, medians and spreads, the table and the machine's line."""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import psutil

from lanekit.host.devices import read_cpu_model
from lanekit.host.probe import find_versions, query_gpus

Way = Callable[[], float | None]


def make_parser(docstring: str | None) -> argparse.ArgumentParser:
    """Return a parser whose help is a script's docstring as it stands."""
    return argparse.ArgumentParser(
        description=docstring, formatter_class=argparse.RawDescriptionHelpFormatter
    )


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


@dataclass
class Timings:
    """Seconds by way, one a round; CPU seconds are those that `read_cpu` tells."""

    seconds: dict[str, list[float]] = field(default_factory=dict)
    cpu_seconds: dict[str, list[float]] = field(default_factory=dict)
    read_cpu: Callable[[], float] = read_cpu_seconds

    def run_round(
        self, number: int, ways: Mapping[str, Way], prepare: Callable[[], object] = lambda: None
    ) -> None:
        """Measure every way once; the order turns with the round's number.

        Args:
            ways: by name; one that returns seconds is taken at its word, any other is timed as a whole.
            prepare: done before each, off the clock.
        """
        names = list(ways)
        shift = number % len(names)
        for name in names[shift:] + names[:shift]:
            prepare()
            self._measure(name, ways[name])

    def _measure(self, name: str, way: Way) -> None:
        cpu_before, started_at = self.read_cpu(), time.perf_counter()
        told = way()
        seconds = time.perf_counter() - started_at if told is None else told
        self.cpu_seconds.setdefault(name, []).append(self.read_cpu() - cpu_before)
        self.seconds.setdefault(name, []).append(seconds)
        print(f"  {name}: {seconds:.2f} s", file=sys.stderr, flush=True)


def list_ratios(values: Sequence[float], base: Sequence[float]) -> list[float]:
    """Return each round's own ratio to the base."""
    return [a / b for a, b in zip(values, base, strict=True)]


def show_spread(values: Sequence[float], form: str) -> tuple[str, str]:
    """Return the rounds' median, and "min to max"."""
    return f"{statistics.median(values):{form}}", f"{min(values):{form}} to {max(values):{form}}"


def render_table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a markdown table, its first column flush left, the others flush right."""
    aligned = [":---", *["---:"] * (len(heads) - 1)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (heads, aligned, *rows))


def describe_machine(*packages: str) -> str:
    """Return the date, the machine, and the versions of Python and of those packages that are there."""
    parts = [
        *(gpu.name for gpu in query_gpus()),
        read_cpu_model(),
        f"{os.cpu_count()} CPUs",
        f"OMP_NUM_THREADS {os.environ.get('OMP_NUM_THREADS', 'unset')}",
        f"{platform.system()} {platform.release()}",
        f"Python {platform.python_version()}",
        *(f"{name} {version}" for name, version in find_versions(packages).items()),
    ]
    return f"{date.today()}: {', '.join(parts)}"


def write_json(path: Path | None, value: Any) -> None:
    """Write a value as indented JSON where a path is given."""
    if path:
        path.write_text(json.dumps(value, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
