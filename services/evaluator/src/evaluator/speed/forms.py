"""What is timed: forms of prompts and lengths, one run of a form, and what a series of runs says. Pure but
for the engine that comes in from outside."""

from __future__ import annotations

import math
import random
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from evaluator.engines.base import Ask, Engine, Generation
from evaluator.speed.ratio import estimate_ratio
from lanekit.errors import InputError
from lanekit.results.speed import FormKind, SpeedForm
from lanekit.spec.evaluation import MeasureSpeedParams, SpeedSettings
from lanekit.spec.lengths import list_long_forms

Clock = Callable[[], float]


@dataclass(frozen=True)
class Form:
    """What is timed together: calls of an engine, one after the other, all of them `times` times.

    `decode`, `prefill` and `matched` run to a fixed length, `free` and `benchmark` until the model ends. The
    tokens that the time is divided by are those generated, in `prefill` those of the prompts.
    """

    name: str
    kind: FormKind
    calls: tuple[tuple[Ask, ...], ...]
    times: int = 1

    @property
    def n_sequences(self) -> int:
        """The number of prompts in one pass."""
        return sum(len(call) for call in self.calls)

    @property
    def n_prompt_tokens(self) -> int:
        """The prompts' tokens in one pass, all together."""
        return sum(len(ask.token_ids) for call in self.calls for ask in call)

    def lengthen(self, seconds: float, least_s: float) -> Form:
        """Return the form with so many passes that a run lasts `least_s`, where one lasts `seconds`.

        More passes, not more at once: the number of sequences that run together stays.
        """
        passes = math.ceil(least_s / seconds) if seconds > 0 else 1
        return replace(self, times=max(1, passes))


@dataclass(frozen=True)
class Timing:
    """One run of a form: wall seconds, the tokens they were spent on, each reply's of the last pass."""

    seconds: float
    tokens: int
    lengths: tuple[int, ...] = ()

    @property
    def s_per_token(self) -> float:
        """Wall seconds per token."""
        return self.seconds / self.tokens


def draw_prompts(plain_ids: Sequence[int], batch_size: int, length: int, seed: int) -> list[list[int]]:
    """Return `batch_size` prompts of exactly `length` seeded random token ids.

    Raises:
        InputError: there is no id to draw from.
    """
    if not plain_ids:
        raise InputError("the two models share no ordinary token", remedy="check both models' tokenizers")
    rng = random.Random(seed)
    return [rng.choices(plain_ids, k=length) for _ in range(batch_size)]


def make_fixed_forms(spec: SpeedSettings, plain_ids: Sequence[int], seed: int) -> list[Form]:
    """Return the forms of fixed length: a decode for each batch size, and the prefill of the largest.

    A decode's time includes the prefill of its prompts, as a server's does; its time to the first token is
    what `prefill` shows by itself.
    """

    def make(name: str, kind: FormKind, size: int, prompt_tokens: int, new_tokens: int) -> Form:
        prompts = draw_prompts(plain_ids, size, prompt_tokens, seed)
        return Form(name, kind, (tuple(Ask(prompt, new_tokens, is_exact=True) for prompt in prompts),))

    forms = [
        make(f"decode_b{size}", "decode", size, spec.prompt_tokens, spec.decode_tokens)
        for size in spec.batch_sizes
    ]
    if spec.prefill_tokens:
        forms.append(make("prefill", "prefill", max(spec.batch_sizes), spec.prefill_tokens, 1))
    return forms


def time_form(engine: Engine, form: Form, clock: Clock = time.perf_counter) -> Timing:
    """Run a form once on one engine.

    Raises:
        RuntimeError: the engine returned another number of tokens than asked for, or none at all.
        ValueError: a call brought another number of replies than it has prompts.
    """
    started = clock()
    passes = [[(call, engine.generate_each(call)) for call in form.calls] for _ in range(form.times)]
    seconds = clock() - started
    lengths = [
        [
            _count_tokens(form.name, ask, generation)
            for call, generations in replies
            for ask, generation in zip(call, generations, strict=True)
        ]
        for replies in passes
    ]
    tokens = form.n_prompt_tokens * form.times if form.kind == "prefill" else sum(map(sum, lengths))
    if tokens == 0:
        raise RuntimeError(f"{form.name}: the engine generated no token")
    return Timing(seconds, tokens, tuple(lengths[-1]))


def _count_tokens(form: str, ask: Ask, generation: Generation) -> int:
    """Return what one reply took; the token that ends it was generated as well, so an empty one took one."""
    found = len(generation.token_ids)
    if ask.is_exact and found != ask.max_new_tokens:
        raise RuntimeError(f"{form}: asked for {ask.max_new_tokens} tokens, the engine returned {found}")
    return generation.n_generated


def summarize_form(form: Form, candidate: Sequence[Timing], baseline: Sequence[Timing]) -> SpeedForm:
    """Return the form's result; medians are over the repeats, the ratio is of their pairs."""
    mine, theirs = ([timing.s_per_token for timing in series] for series in (candidate, baseline))
    ratio = estimate_ratio(mine, theirs)
    return SpeedForm(
        kind=form.kind,
        s_per_token=statistics.median(mine),
        s_per_token_all=mine,
        baseline_s_per_token=statistics.median(theirs),
        baseline_s_per_token_all=theirs,
        ratio=ratio.value,
        ratio_low=ratio.low,
        ratio_high=ratio.high,
        n_sequences=form.n_sequences,
        passes=form.times,
        tokens=statistics.median_low(timing.tokens for timing in candidate),
        baseline_tokens=statistics.median_low(timing.tokens for timing in baseline),
        seconds=statistics.median(timing.seconds for timing in candidate),
        baseline_seconds=statistics.median(timing.seconds for timing in baseline),
    )


def describe_form(form: Form, spec: SpeedSettings) -> dict[str, Any]:
    """Return `form`, `batch_size`, `prompt_tokens` and `decode_tokens` of the form that gives the score.

    The lengths are each sequence's. Of the suite's prompts `prompt_tokens` is the mean and `decode_tokens` 0:
    their replies have no one length.
    """
    mean = round(form.n_prompt_tokens / form.n_sequences)
    lengths = {"decode": (spec.prompt_tokens, spec.decode_tokens), "prefill": (spec.prefill_tokens, 1)}
    prompt_tokens, decode_tokens = lengths.get(form.kind, (mean, 0))
    return {
        "form": form.name,
        "batch_size": form.n_sequences,
        "prompt_tokens": prompt_tokens,
        "decode_tokens": decode_tokens,
    }


def measure_spread(series: Sequence[float]) -> float:
    """Return (max − min) / median."""
    return (max(series) - min(series)) / statistics.median(series)


def check_lengths(spec: MeasureSpeedParams) -> None:
    """Refuse forms that are longer than the models' context.

    Raises:
        InputError: names each form and its lengths.
    """
    limit = spec.engine.max_model_len
    long = [
        f"form {name}: {prompt_tokens} prompt and {new_tokens} new tokens"
        for name, (prompt_tokens, new_tokens) in list_long_forms(spec, limit).items()
    ]
    if long:
        raise InputError(
            f"speed, {'; '.join(long)} exceed max_model_len {limit}",
            remedy="lower speed.prompt_tokens, decode_tokens or prefill_tokens, or raise "
            "evaluation.max_model_len in the experiment file",
        )
