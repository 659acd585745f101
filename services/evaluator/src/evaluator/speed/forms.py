"""Seconds per token in several forms, two engines in turn. The clock and the engines come in from outside."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evaluator.engines.base import Engine, Generation
from lanekit.errors import InputError
from lanekit.results.schema import FormKind, SpeedForm
from lanekit.spec.lengths import list_long_forms
from lanekit.spec.params import MeasureSpeedParams, SpeedSettings

Clock = Callable[[], float]


@dataclass(frozen=True)
class Request:
    """One call of an engine: prompts, and how many tokens it may add to each."""

    prompts: list[list[int]]
    max_new_tokens: int
    stop: tuple[str, ...] = ()


@dataclass(frozen=True)
class Form:
    """What is timed together. `decode` and `prefill` run to a fixed length, `free` until the model ends.

    The tokens that the time is divided by are those generated, in `prefill` those of the prompts.
    """

    name: str
    kind: FormKind
    requests: tuple[Request, ...]

    @property
    def n_sequences(self) -> int:
        """The number of prompts."""
        return sum(len(request.prompts) for request in self.requests)

    @property
    def n_prompt_tokens(self) -> int:
        """The prompts' tokens, all together."""
        return sum(len(prompt) for request in self.requests for prompt in request.prompts)


@dataclass(frozen=True)
class Timing:
    """One run of a form: wall seconds, and the tokens they were spent on."""

    seconds: float
    tokens: int

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
    forms = []
    for size in spec.batch_sizes:
        prompts = draw_prompts(plain_ids, size, spec.prompt_tokens, seed)
        forms.append(Form(f"decode_b{size}", "decode", (Request(prompts, spec.decode_tokens),)))
    if spec.prefill_tokens:
        prompts = draw_prompts(plain_ids, max(spec.batch_sizes), spec.prefill_tokens, seed)
        forms.append(Form("prefill", "prefill", (Request(prompts, 1),)))
    return forms


def time_form(engine: Engine, form: Form, clock: Clock = time.perf_counter) -> Timing:
    """Run a form once on one engine.

    Raises:
        RuntimeError: the engine returned another number of tokens than asked for, or none at all.
    """
    fixed = form.kind != "free"
    outputs: list[list[Generation]] = []
    started = clock()
    for request in form.requests:
        outputs.append(
            engine.generate(request.prompts, request.max_new_tokens, ignore_eos=fixed, stop=request.stop)
        )
    seconds = clock() - started
    for request, generations in zip(form.requests, outputs, strict=True):
        lengths = {len(generation.token_ids) for generation in generations}
        if fixed and (len(generations) != len(request.prompts) or lengths != {request.max_new_tokens}):
            raise RuntimeError(
                f"asked for {request.max_new_tokens} tokens each, the engine returned {sorted(lengths)}"
            )
    # The token that ends a reply was generated as well, so that an empty reply took one.
    new_tokens = sum(generation.n_generated for generations in outputs for generation in generations)
    tokens = form.n_prompt_tokens if form.kind == "prefill" else new_tokens
    if tokens == 0:
        raise RuntimeError(f"{form.name}: the engine generated no token")
    return Timing(seconds, tokens)


def alternate(
    engines: Sequence[Engine],
    forms: Sequence[Form],
    spec: SpeedSettings,
    on_step: Callable[[int, int, str], None],
    between: Callable[[], None] = lambda: None,
    clock: Clock = time.perf_counter,
) -> list[dict[str, list[Timing]]]:
    """Warm every engine up on every form, then time them in turn; return each engine's timings by form.

    In each repeat every form runs on all engines, one right after the other. The order of the engines turns
    round with each repeat, so that none always goes first. `between` is called, unmeasured, before the first
    repeat and after the last.
    """
    total = len(engines) * len(forms) * (spec.warmups + spec.repeats)
    step = 0
    for _ in range(spec.warmups):
        for form in forms:
            for engine in engines:
                on_step(step, total, f"warming up, {form.name}")
                time_form(engine, form, clock)
                step += 1
    between()
    series: list[dict[str, list[Timing]]] = [{form.name: [] for form in forms} for _ in engines]
    for repeat in range(spec.repeats):
        order = list(range(len(engines)))
        for form in forms:
            for position in reversed(order) if repeat % 2 else order:
                on_step(step, total, f"{form.name}, repeat {repeat + 1} of {spec.repeats}")
                series[position][form.name].append(time_form(engines[position], form, clock))
                step += 1
    between()
    on_step(total, total, "measured")
    return series


def summarize_form(form: Form, candidate: Sequence[Timing], baseline: Sequence[Timing]) -> SpeedForm:
    """Return the form's result; medians are over the repeats."""
    return SpeedForm(
        kind=form.kind,
        s_per_token=statistics.median(timing.s_per_token for timing in candidate),
        s_per_token_all=[timing.s_per_token for timing in candidate],
        baseline_s_per_token=statistics.median(timing.s_per_token for timing in baseline),
        baseline_s_per_token_all=[timing.s_per_token for timing in baseline],
        n_sequences=form.n_sequences,
        tokens=statistics.median_low(timing.tokens for timing in candidate),
        baseline_tokens=statistics.median_low(timing.tokens for timing in baseline),
        seconds=statistics.median(timing.seconds for timing in candidate),
        baseline_seconds=statistics.median(timing.seconds for timing in baseline),
    )


def describe_form(form: Form, spec: SpeedSettings) -> dict[str, Any]:
    """Return `form`, `batch_size`, `prompt_tokens` and `decode_tokens` of the form that gives the score.

    The lengths are each sequence's. Free-running, `prompt_tokens` is the mean and `decode_tokens` 0: a reply
    has no fixed length.
    """
    lengths = {
        "decode": (spec.prompt_tokens, spec.decode_tokens),
        "prefill": (spec.prefill_tokens, 1),
        "free": (round(form.n_prompt_tokens / form.n_sequences), 0),
    }[form.kind]
    return {
        "form": form.name,
        "batch_size": form.n_sequences,
        "prompt_tokens": lengths[0],
        "decode_tokens": lengths[1],
    }


def measure_step(form: Form, s_per_token: float) -> float | None:
    """Return the wall seconds of one decode step, its share of the prefill included.

    None for a form of which it is not known how many steps it takes.
    """
    return s_per_token * form.n_sequences if form.kind == "decode" else None


def measure_spread(series: Sequence[float]) -> float:
    """Return (max − min) / median."""
    return (max(series) - min(series)) / statistics.median(series)


def check_lengths(spec: MeasureSpeedParams) -> None:
    """Refuse forms that are longer than the models' context.

    Raises:
        InputError: names the form and the lengths.
    """
    limit = spec.engine.max_model_len
    for name, (prompt_tokens, new_tokens) in list_long_forms(spec, limit).items():
        raise InputError(
            f"speed, form {name}: {prompt_tokens} prompt and {new_tokens} new tokens exceed "
            f"max_model_len {limit}",
            remedy="lower speed.prompt_tokens, decode_tokens or prefill_tokens, or raise "
            "evaluation.max_model_len in the experiment file",
        )


def is_same_model(model: Path, baseline: Path) -> bool:
    """Whether two inputs are one folder."""
    return model.resolve() == baseline.resolve() or model.samefile(baseline)
