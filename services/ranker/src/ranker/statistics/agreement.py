"""How well local scores order the server's, and which runs met the slow host. Pure.

The server was seen in two states: runs of 9:40 to 10:30 minutes, and of 12:20 to 13:20 with scores lower by a
tenth, of the same recipes. Scores are compared only inside one state.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from lanekit.results.ledger import Entry
from lanekit.results.ranking import Interval

LIKE = 1.10  # runs whose local seconds per token differ by no more are of like speed
SLOW = 1.15  # inside one state runs of like speed differed by up to 1.09, across the two by 1.17 at least
FEW = 10  # below so many points the interval's approximation is rough
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Host:
    """A run's state of the server; `reason` says what it rests on. Unknown where nothing is to compare
    with."""

    state: str
    reason: str


@dataclass(frozen=True)
class Point:
    """A package: its local score, and the mean of its scores on the server in the usual state."""

    lane: str
    package: str
    local: float
    server: float
    n_runs: int


@dataclass(frozen=True)
class Agreement:
    """What a ledger says of local scores.

    `tau` is Kendall's, `same_order` the share of pairs that both order alike (ties left out); `worth` is how
    far two local scores must lie apart to order the server's, None where no distance is enough. `slope`,
    `residual` are of server = a + slope × local.
    """

    points: tuple[Point, ...]
    tau: float | None = None
    interval: Interval | None = None
    same_order: float | None = None
    slope: float | None = None
    residual: float | None = None
    worth: float | None = None


def judge_hosts(entries: Sequence[Entry]) -> list[Host]:
    """Return each entry's state of the server.

    What a person wrote counts. Else a run is `slow` if it took more than SLOW times the minutes of another
    run of like speed: of the same package, or of one whose local seconds per token, on the same device, are
    within a factor of LIKE. Where the other is the faster package its minutes are raised by the whole of the
    difference first: it is the most that it can explain.
    """
    return [_judge_host(entry, entries) for entry in entries]


def _judge_host(entry: Entry, entries: Sequence[Entry]) -> Host:
    if entry.host:
        return Host(entry.host, "as written")
    if entry.minutes is None:
        return Host("unknown", "its minutes are not known")
    allowed = [
        (other.minutes * max(1.0, factor), other)
        for other in entries
        if other is not entry and other.minutes is not None and (factor := _compare_speed(entry, other))
    ]
    if not allowed:
        return Host("unknown", "no other run of like speed")
    minutes, other = min(allowed, key=lambda found: found[0])
    reason = f"{show_minutes(entry.minutes)} against {show_minutes(other.minutes)} of {other.lane}"
    return Host("slow" if entry.minutes > SLOW * minutes else "usual", reason)


def _compare_speed(entry: Entry, other: Entry) -> float | None:
    """Return an entry's seconds per token over another's; None where they are not of like speed."""
    if entry.package == other.package:
        return 1.0
    if entry.local_ratio is None or other.local_ratio is None or entry.device != other.device:
        return None
    factor = entry.local_ratio / other.local_ratio
    return factor if 1 / LIKE <= factor <= LIKE else None


def show_minutes(minutes: float | None) -> str:
    """Return minutes as 9:48."""
    if minutes is None:
        return ""
    seconds = round(60 * minutes)
    return f"{seconds // 60}:{seconds % 60:02d}"


def collect_points(entries: Sequence[Entry], hosts: Sequence[Host]) -> list[Point]:
    """Return the packages that have a local score, without the slow runs, in the order of their first entry.

    The local score is that of the newest entry: the last that was known of the package.
    """
    runs: dict[str, list[Entry]] = {}
    for entry, host in zip(entries, hosts, strict=True):
        if entry.local_score is not None and host.state != "slow":
            runs.setdefault(entry.package, []).append(entry)
    points = []
    for package, found in runs.items():
        newest = max(found, key=lambda entry: entry.at)
        assert newest.local_score is not None
        server = statistics.fmean(entry.score for entry in found)
        points.append(Point(newest.lane, package, newest.local_score, server, len(found)))
    return points


def choose_device(entries: Sequence[Entry]) -> str:
    """Return the device with most packages that have a local score: those of two devices do not compare."""
    packages: Mapping[str, set[str]] = {
        entry.device: {e.package for e in entries if e.device == entry.device and e.local_score is not None}
        for entry in entries
    }
    return max(packages, key=lambda device: len(packages[device]), default="")


def measure_agreement(points: Sequence[Point]) -> Agreement:
    """Return rank correlation and what a difference of local scores is worth; see the two functions below."""
    if len(points) < 2:
        return Agreement(tuple(points))
    local, server = (np.array([getattr(p, name) for p in points]) for name in ("local", "server"))
    i, j = np.triu_indices(len(points), 1)
    signs = np.sign(local[i] - local[j]) * np.sign(server[i] - server[j])
    told = signs[signs != 0]
    same_order = float((told > 0).mean()) if len(told) else None
    if not local.std() or not server.std():
        return Agreement(tuple(points), same_order=same_order)
    tau = float(stats.kendalltau(local, server).statistic)
    slope, residual, worth = weigh_distance(local, server)
    interval = find_tau_interval(tau, len(points))
    return Agreement(tuple(points), tau, interval, same_order, slope, residual, worth)


def find_tau_interval(tau: float, n_points: int, confidence: float = CONFIDENCE) -> Interval | None:
    """Return Kendall's tau's interval: tanh(atanh(tau) ± z·√(0.437/(n − 4))); None for fewer than 5 points.

    Fieller, Hartley and Pearson 1957 (Biometrika 44), as in Bonett and Wright 2000 (Psychometrika 65); made
    for n ≥ 10 and |tau| < 0.8; of normal variates it held the truth in 87 to 99 of 100 draws of 5 to 12
    points. Of n points that all agree, half a pair counts as disagreeing: 1 has no atanh, and few points do
    not show that none ever will.
    """
    if n_points < 5:
        return None
    bound = 1 - 2 / (n_points * (n_points - 1))
    centre = math.atanh(max(-bound, min(bound, tau)))
    spread = statistics.NormalDist().inv_cdf(0.5 + confidence / 2) * math.sqrt(0.437 / (n_points - 4))
    return Interval(low=round(math.tanh(centre - spread), 10), high=round(math.tanh(centre + spread), 10))


def weigh_distance(
    local: np.ndarray, server: np.ndarray, confidence: float = CONFIDENCE
) -> tuple[float | None, float | None, float | None]:
    """Return slope and residual of server = a + b·local by least squares, and the distance d that orders.

    Two new packages whose local scores differ by d differ on the server by b·d, foreseen with the variance
    s²·(2 + d²/Sxx): two residuals, and the slope's own error (s² = SSE/(n − 2), Sxx = Σ(x − x̄)²; Draper and
    Smith, Applied Regression Analysis, ch. 1). The server orders them alike in `confidence` of cases where
    b·d ≥ t·s·√(2 + d²/Sxx), t the quantile of Student's t with n − 2 degrees of freedom, one-sided, hence

        d = √2·t·s / √(b² − t²·s²/Sxx).

    Where the root has no value the slope itself is not told from 0 (Fieller 1954), and no distance is enough:
    the third is None. All are None for fewer than 3 points.
    """
    n_points = len(local)
    if n_points < 3 or not local.std():
        return None, None, None
    sxx = float(((local - local.mean()) ** 2).sum())
    slope = float(((local - local.mean()) * (server - server.mean())).sum()) / sxx
    errors = server - server.mean() - slope * (local - local.mean())
    residual = math.sqrt(float((errors**2).sum()) / (n_points - 2))
    t = float(stats.t.ppf(confidence, n_points - 2))
    rest = slope**2 - t**2 * residual**2 / sxx
    if slope <= 0 or rest <= 0:
        return slope, residual, None
    return slope, residual, math.sqrt(2) * t * residual / math.sqrt(rest)
