"""Engines timed in turn: their order, the warm-up, the passes, and when enough is enough."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from evaluator.engines.base import Ask, Generation
from evaluator.speed.forms import Form, Timing
from evaluator.speed.ratio import estimate_ratio
from evaluator.speed.turns import Turns, measure_width, take_turns
from lanekit.spec.evaluation import SpeedSettings


def make_decode(name: str = "decode_b1") -> Form:
    return Form(name, "decode", ((Ask([1], 4, is_exact=True),),))


BENCHMARK = Form("benchmark", "benchmark", ((Ask([2, 2], 9), Ask([3], 9, stop=("x",))),))
MATCHED = Form("matched", "matched", ((Ask([2, 2], 5, is_exact=True), Ask([3], 1, is_exact=True)),))


@dataclass
class Bench:
    """The clock, and a log of what the engines were asked, with the steps told and the looks between."""

    now: float = 1000.0
    log: list[str] = field(default_factory=list)
    steps: list[tuple[int, int, str]] = field(default_factory=list)

    def look_between(self) -> None:
        self.log.append("|")
        self.now += 100

    def take_turns(
        self, engines: Sequence[TimedEngine], forms: Sequence[Form], spec: SpeedSettings, **more: Any
    ) -> Turns:
        given: Any = engines
        step: Any = self.steps.append
        return take_turns(
            given, forms, spec, on_step=lambda *told: step(told), clock=lambda: self.now, **more
        )


class TimedEngine:
    """Advances the clock by the next of its seconds at each call; an unbound reply has the lengths given."""

    def __init__(
        self, bench: Bench, name: str, seconds: Iterable[float], replies: Iterable[Sequence[int]] = ()
    ) -> None:
        self.bench, self.name = bench, name
        self.seconds, self.replies = iter(seconds), iter(replies)

    def generate_each(self, asks: Sequence[Ask]) -> list[Generation]:
        self.bench.log.append(f"{self.name}{'+'.join(str(ask.max_new_tokens) for ask in asks)}")
        self.bench.now += next(self.seconds)
        exact = [ask.max_new_tokens for ask in asks]
        lengths = exact if asks[0].is_exact else next(self.replies)
        return [Generation([5] * n, finished=False) for n in lengths]


def make_spec(**settings: Any) -> SpeedSettings:
    return SpeedSettings(
        **{"batch_sizes": (1,), "benchmark_items": 0, "score_form": "decode_b1", "budget_s": 0, **settings}
    )


def test_each_engine_is_given_its_turn_before_it_runs_and_unmeasured() -> None:
    bench = Bench()
    engines = [TimedEngine(bench, name, [0.5] * 20) for name in "ab"]

    def give_turn(position: int) -> None:
        bench.log.append(f"turn {'ab'[position]}")
        bench.now += 100

    turns = bench.take_turns(engines, [make_decode()], make_spec(min_repeats=2), give_turn=give_turn)
    turn, run = bench.log[::2], bench.log[1::2]
    assert turn == [f"turn {name[0]}" for name in run]
    assert run == ["a4", "b4", "a4", "b4", "b4", "a4"]  # the warm-up, then two repeats
    assert all(timing.seconds == 0.5 for one in turns.series for timing in one["decode_b1"])


def test_engines_alternate_in_every_form_and_turn_round() -> None:
    bench = Bench()
    engines = [TimedEngine(bench, name, [0.5] * 20) for name in "ab"]
    prefill = Form("prefill", "prefill", ((Ask([1] * 512, 1, is_exact=True),),))
    turns = bench.take_turns(
        engines, [make_decode(), prefill], make_spec(min_repeats=2), between=bench.look_between
    )
    # Four new tokens decode, one new token prefills.
    assert bench.log == (["a4", "b4", "a1", "b1", "|", "a4", "b4", "a1", "b1", "b4", "a4", "b1", "a1", "|"])
    decode, prefill_time = Timing(0.5, 4, (4,)), Timing(0.5, 512, (1,))
    assert turns == Turns(
        [make_decode(), prefill], [{"decode_b1": [decode] * 2, "prefill": [prefill_time] * 2}] * 2, 4.0, True
    )  # the seconds are the repeats' alone
    assert bench.steps == [
        (0, 4, "warming up, decode_b1"), (1, 4, "warming up, decode_b1"),
        (2, 4, "warming up, prefill"), (3, 4, "warming up, prefill"),
        (0, 8, "decode_b1, repeat 1"), (1, 8, "decode_b1, repeat 1"),
        (2, 8, "prefill, repeat 1"), (3, 8, "prefill, repeat 1"),
        (4, 8, "decode_b1, repeat 2"), (5, 8, "decode_b1, repeat 2"),
        (6, 8, "prefill, repeat 2"), (7, 8, "prefill, repeat 2"),
        (8, 8, "measured"),
    ]  # fmt: skip


def test_matched_follows_benchmark_with_the_baselines_last_lengths() -> None:
    bench = Bench()
    mine, theirs = [[1, 1], [2, 2], [3, 3]], [[9, 9], [5, 0], [4, 4]]
    engines = [
        TimedEngine(bench, name, [1.0] * 20, replies)
        for name, replies in zip("ab", (mine, theirs), strict=True)
    ]
    spec = make_spec(min_repeats=1, warmups=2, benchmark_items=2)
    turns = bench.take_turns(engines, [BENCHMARK, make_decode()], spec)
    assert turns.forms == [BENCHMARK, MATCHED, make_decode()]
    repeat = ["a9+9", "b9+9", "a5+1", "b5+1", "a4", "b4"]
    assert bench.log == [*["a9+9", "b9+9"] * 2, *["a5+1", "b5+1"] * 2, *["a4", "b4"] * 2, *repeat]
    assert [told for told in bench.steps if told[2].startswith("warming up")] == [
        (4 * number + step, 12, f"warming up, {name}")
        for number, name in enumerate(("benchmark", "matched", "decode_b1"))
        for step in range(4)
    ]
    assert {name: [one.tokens for one in timings] for name, timings in turns.series[-1].items()} == {
        "benchmark": [8], "matched": [6], "decode_b1": [4],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("least_s", "times"),
    [({"least_s": 10.0}, 5), ({"least_s": 1.0}, 1), ({}, 1)],
)
def test_a_short_run_is_made_longer_by_passes(least_s: dict[str, float], times: int) -> None:
    """The fastest warm-up, 2 s, decides: the run of the faster engine lasts long enough too."""
    bench = Bench()
    engines = [
        TimedEngine(bench, "a", [4.0, 2.0, *[3.0] * 20]),
        TimedEngine(bench, "b", [3.0, 5.0, *[6.0] * 20]),
    ]
    turns = bench.take_turns(engines, [make_decode()], make_spec(min_repeats=1, warmups=2), **least_s)
    assert [form.times for form in turns.forms] == [times]
    assert turns.series == [
        {"decode_b1": [Timing(seconds * times, 4 * times, (4,))]} for seconds in (3.0, 6.0)
    ]  # more work, the same seconds per token


def test_a_run_of_half_a_second_is_not_lengthened_unless_asked() -> None:
    bench = Bench()
    engines = [TimedEngine(bench, name, [0.5] * 20) for name in "ab"]
    assert bench.take_turns(engines, [make_decode()], make_spec(min_repeats=1)).forms == [make_decode()]


NOISE = [1.0, 1.0, 2.0] * 9  # the warm-up's first


def measure_noise(**settings: Any) -> Turns:
    """Time an engine whose seconds swing against one whose seconds do not."""
    bench = Bench()
    engines = [TimedEngine(bench, "a", NOISE), TimedEngine(bench, "b", [1.0] * len(NOISE))]
    return bench.take_turns(engines, [make_decode()], make_spec(**settings))


@pytest.mark.parametrize(
    ("budget_s", "n_repeats", "seconds"),
    [
        (0, 3, 7.0),  # the least, whatever they cost
        (7.0, 3, 7.0),  # spent to the second
        (7.5, 4, 9.0),
        (9.0, 4, 9.0),
        (9.1, 5, 12.0),
    ],
)
def test_the_budget_ends_it_and_says_so(budget_s: float, n_repeats: int, seconds: float) -> None:
    turns = measure_noise(min_repeats=3, budget_s=budget_s, ratio_tolerance=1e-6)
    assert [len(one["decode_b1"]) for one in turns.series] == [n_repeats] * 2
    assert (turns.seconds, turns.is_settled) == (seconds, False)


def test_one_repeat_of_two_engines_settles_nothing() -> None:
    turns = measure_noise(min_repeats=1, budget_s=0)
    assert [len(one["decode_b1"]) for one in turns.series] == [1, 1]
    assert not turns.is_settled


def test_it_ends_where_the_interval_is_just_as_narrow_as_asked() -> None:
    """The widths after two, three and four repeats fall: it goes on to the first that is within."""
    series = [measure_noise(min_repeats=n_repeats).series for n_repeats in (2, 3, 4)]
    *wider, width = (measure_width(one, "decode_b1") for one in series)
    assert min(wider) > width
    turns = measure_noise(min_repeats=2, budget_s=600.0, ratio_tolerance=width)
    assert [len(one["decode_b1"]) for one in turns.series] == [4, 4]
    assert turns.is_settled


def test_only_the_scores_form_and_matched_go_on() -> None:
    bench = Bench()
    engines = [
        TimedEngine(bench, "a", [*[1.0] * 6, 2.0, *[1.0] * 20], [[1, 1]] * 9),
        TimedEngine(bench, "b", [1.0] * 27, [[5, 1]] * 9),
    ]
    spec = make_spec(
        min_repeats=1, benchmark_items=2, score_form="benchmark", budget_s=11.5, ratio_tolerance=1e-6
    )
    turns = bench.take_turns(engines, [make_decode(), BENCHMARK], spec)
    assert [{name: len(timings) for name, timings in one.items()} for one in turns.series] == [
        {"decode_b1": 1, "benchmark": 3, "matched": 3}
    ] * 2
    assert bench.log[6:] == [
        "a4", "b4", "a9+9", "b9+9", "a5+1", "b5+1",
        "b9+9", "a9+9", "b5+1", "a5+1",
        "a9+9", "b9+9", "a5+1", "b5+1",
    ]  # fmt: skip
    assert bench.steps[6:] == [
        (0, 6, "decode_b1, repeat 1"), (1, 6, "decode_b1, repeat 1"),
        (2, 6, "benchmark, repeat 1"), (3, 6, "benchmark, repeat 1"),
        (4, 6, "matched, repeat 1"), (5, 6, "matched, repeat 1"),
        *[(6, 6, f"{name}, repeat {n}") for n in (2, 3) for name in ("benchmark", "matched") for _ in "ab"],
        (6, 6, "measured"),
    ]  # fmt: skip


@pytest.mark.parametrize("min_repeats", [1, 2])
def test_one_engine_alone_is_timed_no_longer_than_asked(min_repeats: int) -> None:
    bench = Bench()
    spec = make_spec(min_repeats=min_repeats, budget_s=600.0)
    turns = bench.take_turns([TimedEngine(bench, "a", NOISE)], [make_decode()], spec)
    assert bench.log == ["a4"] * (1 + min_repeats)
    assert turns.is_settled


def test_the_width_is_that_of_the_first_and_the_last_series() -> None:
    """Log ratios of ± 0.01, as in the interval by hand; what ran between them does not count."""
    one, wild, other = (
        {"free": [Timing(seconds, 1) for seconds in series], "decode_b1": [Timing(1.0, 1), Timing(9.0, 1)]}
        for series in ([math.exp(0.01), math.exp(-0.01)], [7.0, 1.0], [1.0, 1.0])
    )
    reach = 12.7062 * 0.01 * math.sqrt(math.pi / 2)
    assert measure_width([one, wild, other], "free") == pytest.approx(math.sinh(reach), rel=1e-4)


def draw_seconds(rng: random.Random, seconds: float, noise: float) -> Iterator[float]:
    while True:
        yield seconds * math.exp(rng.gauss(0, noise))


def measure_drawn(seed: int, noise: float, **settings: Any) -> Turns:
    """Time two engines whose true ratio is 0.7, with seeded noise."""
    bench, rng = Bench(), random.Random(seed)
    engines = [TimedEngine(bench, name, draw_seconds(rng, s, noise)) for name, s in (("a", 0.7), ("b", 1.0))]
    return bench.take_turns(engines, [make_decode()], make_spec(min_repeats=3, budget_s=600.0, **settings))


def list_times(turns: Turns) -> list[list[float]]:
    return [[timing.s_per_token for timing in one["decode_b1"]] for one in turns.series]


def test_it_goes_on_until_the_ratio_is_sure() -> None:
    quiet = measure_drawn(1, 0.0)
    assert [len(times) for times in list_times(quiet)] == [3, 3] and quiet.is_settled
    noisy = measure_drawn(1, 0.02)
    times = list_times(noisy)
    assert noisy.is_settled and len(times[0]) > 10
    assert estimate_ratio(*times).half_width <= 0.01


@pytest.mark.slow
def test_the_interval_covers_the_truth_where_one_stops_early() -> None:
    """Stopping at the first interval that is narrow enough costs coverage; little, as it turns out."""
    covered, runs = 0, 400
    for seed in range(runs):
        found = estimate_ratio(*list_times(measure_drawn(seed, 0.02)))
        assert found.low is not None and found.high is not None
        covered += found.low <= 0.7 <= found.high
    assert 0.90 <= covered / runs <= 0.99, covered / runs
