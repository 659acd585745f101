"""What is timed, by itself: the forms of fixed length, one run of a form, and what a series of runs says."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from evaluator.engines.base import Ask, Generation
from evaluator.speed.forms import (
    Form,
    Timing,
    check_lengths,
    describe_form,
    draw_prompts,
    make_fixed_forms,
    measure_spread,
    summarize_form,
    time_form,
)
from lanekit.errors import InputError
from lanekit.results.speed import FormKind
from lanekit.spec.evaluation import EngineParams, MeasureSpeedParams, SpeedSettings

PLAIN_IDS = [3, 5, 7, 11, 13]
FREE = Form("free", "free", ((Ask([1, 2], 9), Ask([3], 9)), (Ask([4], 7),)))


def make_decode(*n_tokens: int, times: int = 1) -> Form:
    """Return a form of one call: prompts of one token, and the exact number of new tokens for each."""
    asks = tuple(Ask([1], n, is_exact=True) for n in n_tokens)
    return Form(f"decode_b{len(asks)}", "decode", (asks,), times)


class ScriptedEngine:
    """Answers each call with the next of its replies, given by their lengths; notes what it was asked."""

    def __init__(self, *replies: Sequence[int], finished: bool = False) -> None:
        self.replies, self.finished = iter(replies), finished
        self.calls: list[Sequence[Ask]] = []

    def generate_each(self, asks: Sequence[Ask]) -> list[Generation]:
        self.calls.append(asks)
        return [Generation([5] * n, finished=self.finished) for n in next(self.replies)]


def tick() -> Callable[[], float]:
    """Return a clock that advances by two seconds at each look, and started long ago."""
    seconds = itertools.count(100, 2)
    return lambda: float(next(seconds))


def time_replies(form: Form, *replies: Sequence[int], finished: bool = False) -> Timing:
    engine: Any = ScriptedEngine(*replies, finished=finished)
    return time_form(engine, form, tick())


@pytest.mark.parametrize(
    ("seconds", "least_s", "times"),
    [
        (0.7, 5.0, 8),  # 7.14 passes
        (2.0, 4.0, 2),  # exactly
        (1.0, 5.0, 5),
        (9.0, 5.0, 1),  # long enough by itself
        (3.0, 0.0, 1),  # nothing is asked for
        (0.0, 5.0, 1),  # the clock did not move
    ],
)
def test_a_form_is_lengthened_by_passes(seconds: float, least_s: float, times: int) -> None:
    """The passes take the place of those before; nothing else changes."""
    longer = make_decode(4, 4, times=3).lengthen(seconds, least_s)
    assert longer == make_decode(4, 4, times=times)


def test_prompts_are_drawn_by_seed() -> None:
    assert draw_prompts(PLAIN_IDS, 2, 4, seed=42) == [[11, 3, 5, 5], [11, 11, 13, 3]]
    assert draw_prompts(PLAIN_IDS, 3, 2, seed=1) == [[3, 13], [11, 5], [7, 7]]


def test_without_a_common_token_there_is_no_prompt() -> None:
    with pytest.raises(InputError) as caught:
        draw_prompts([], 1, 1, seed=1)
    assert caught.value.message == "the two models share no ordinary token"
    assert caught.value.remedy == "check both models' tokenizers"


def test_the_fixed_forms_are_a_decode_of_each_size_and_the_prefill_of_the_largest() -> None:
    spec = SpeedSettings(
        batch_sizes=(3, 1), prompt_tokens=2, decode_tokens=4, prefill_tokens=5, score_form="decode_b1"
    )

    def ask(prompts: list[list[int]], n_new: int) -> tuple[tuple[Ask, ...], ...]:
        return (tuple(Ask(prompt, n_new, is_exact=True) for prompt in prompts),)

    decode = [
        Form("decode_b3", "decode", ask([[3, 13], [11, 5], [7, 7]], 4)),
        Form("decode_b1", "decode", ask([[3, 13]], 4)),
    ]
    long = [[3, 13, 11, 5, 7], [7, 11, 11, 3, 3], [13, 7, 11, 3, 7]]
    assert make_fixed_forms(spec, PLAIN_IDS, seed=1) == [*decode, Form("prefill", "prefill", ask(long, 1))]
    without = spec.model_copy(update={"prefill_tokens": 0})
    assert make_fixed_forms(without, PLAIN_IDS, seed=1) == decode


def test_a_run_is_timed_over_all_its_calls_and_passes() -> None:
    engine: Any = ScriptedEngine([9, 4], [7], [1, 2], [3], [5, 6], [2])
    form = Form("free", "free", FREE.calls, times=3)
    assert time_form(engine, form, tick()) == Timing(2.0, 39, (5, 6, 2))  # the lengths of the last pass
    assert engine.calls == [*FREE.calls] * 3


def test_a_prefill_counts_the_prompts_tokens_of_every_pass() -> None:
    form = Form("prefill", "prefill", FREE.calls, times=3)
    assert time_replies(form, *[[1, 1], [1]] * 3) == Timing(2.0, 12, (1, 1, 1))


def test_the_default_clock_counts_seconds_from_the_start_of_the_run() -> None:
    engine: Any = ScriptedEngine([4])
    assert 0 <= time_form(engine, make_decode(4)).seconds < 60


@pytest.mark.parametrize(
    ("replies", "finished", "tokens"),
    [
        ([[0, 0], [0]], True, 3),  # three ends of turn
        ([[9, 4], [7]], False, 20),  # cut off
        ([[0, 1], [0]], False, 1),
    ],
)
def test_a_free_reply_counts_the_token_that_ended_it(
    replies: list[list[int]], finished: bool, tokens: int
) -> None:
    assert time_replies(FREE, *replies, finished=finished).tokens == tokens


def test_an_engine_that_says_nothing_is_no_measurement() -> None:
    with pytest.raises(RuntimeError) as caught:
        time_replies(FREE, [0, 0], [0])
    assert str(caught.value) == "free: the engine generated no token"


@pytest.mark.parametrize("n_returned", [3, 5])
def test_an_exact_number_of_tokens_is_kept(n_returned: int) -> None:
    with pytest.raises(RuntimeError) as caught:
        time_replies(make_decode(4, 4), [4, n_returned])
    assert str(caught.value) == f"decode_b2: asked for 4 tokens, the engine returned {n_returned}"


@pytest.mark.parametrize("replies", [[[4]], [[4, 4, 4]]])
def test_another_number_of_replies_is_no_measurement(replies: list[list[int]]) -> None:
    with pytest.raises(ValueError, match="zip"):
        time_replies(make_decode(4, 4), *replies)


def test_the_summary_of_a_form() -> None:
    """Half the seconds per token, and yet more time in all: a rambling model shows in tokens and seconds."""
    mine = [Timing(4.0, 400), Timing(2.0, 100), Timing(9.0, 300), Timing(8.0, 200)]
    theirs = [Timing(2.0, 100), Timing(4.0, 100), Timing(6.0, 100), Timing(8.0, 100)]
    found = summarize_form(Form("free", "free", FREE.calls, times=2), mine, theirs)
    assert (found.ratio, found.ratio_low, found.ratio_high) == pytest.approx((0.5, 0.5, 0.5))
    assert found.model_dump(exclude={"ratio", "ratio_low", "ratio_high"}) == {
        "kind": "free",
        "s_per_token": 0.025,
        "s_per_token_all": [0.01, 0.02, 0.03, 0.04],
        "baseline_s_per_token": 0.05,
        "baseline_s_per_token_all": [0.02, 0.04, 0.06, 0.08],
        "n_sequences": 3,
        "passes": 2,
        "tokens": 200,  # the lower of the two in the middle: a number of tokens that there was
        "baseline_tokens": 100,
        "seconds": 6.0,
        "baseline_seconds": 5.0,
    }


def test_the_summary_has_the_interval_of_the_ratio() -> None:
    """Two pairs with ratios 1/2 and 2: their interval lies around 1, and wide."""
    found = summarize_form(FREE, [Timing(1.0, 1), Timing(2.0, 1)], [Timing(2.0, 1), Timing(1.0, 1)])
    assert found.ratio == pytest.approx(1.0)
    assert found.ratio_low and found.ratio_high
    assert found.ratio_low < 0.5 and found.ratio_high > 2
    assert found.ratio_low * found.ratio_high == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("kind", "prompt_tokens", "decode_tokens"),
    [
        ("decode", 16, 8),
        ("prefill", 32, 1),
        ("free", 3, 0),  # the mean of 2, 1 and 5
        ("benchmark", 3, 0),
        ("matched", 3, 0),
    ],
)
def test_the_scores_form_is_described(kind: FormKind, prompt_tokens: int, decode_tokens: int) -> None:
    spec = SpeedSettings(prompt_tokens=16, decode_tokens=8, prefill_tokens=32)
    form = Form("a form", kind, ((Ask([1, 2], 9), Ask([3], 9)), (Ask([4] * 5, 7),)))
    assert describe_form(form, spec) == {
        "form": "a form",
        "batch_size": 3,
        "prompt_tokens": prompt_tokens,
        "decode_tokens": decode_tokens,
    }


def test_the_spread_is_a_share_of_the_median() -> None:
    assert measure_spread([5.0, 2.0, 4.0]) == 0.75
    assert measure_spread([3.0]) == 0


def make_lengths(prompt: int, new: int, prefill: int) -> MeasureSpeedParams:
    return MeasureSpeedParams(
        engine=EngineParams(engine="transformers", max_model_len=64),
        batch_sizes=(1, 8),
        prompt_tokens=prompt,
        decode_tokens=new,
        prefill_tokens=prefill,
    )


def test_forms_that_just_fit_are_timed() -> None:
    check_lengths(make_lengths(32, 32, 63))


@pytest.mark.parametrize(
    ("lengths", "forms"),
    [
        ((32, 33, 63), "form decode_b8: 32 prompt and 33 new tokens"),
        ((32, 32, 64), "form prefill: 64 prompt and 1 new tokens"),
        (
            (60, 5, 70),
            "form decode_b8: 60 prompt and 5 new tokens; form prefill: 70 prompt and 1 new tokens",
        ),
    ],
)
def test_every_form_that_is_longer_than_the_context_is_named(
    lengths: tuple[int, int, int], forms: str
) -> None:
    with pytest.raises(InputError) as caught:
        check_lengths(make_lengths(*lengths))
    assert caught.value.message == f"speed, {forms} exceed max_model_len 64"
    assert caught.value.remedy == (
        "lower speed.prompt_tokens, decode_tokens or prefill_tokens, or raise evaluation.max_model_len in "
        "the experiment file"
    )
