"""Seconds per token at a fixed length. The clock and the engines come in from outside."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from evaluator.engines.base import Engine
from lanekit.errors import InputError
from lanekit.params import MeasureSpeedParams


def draw_prompts(plain_ids: Sequence[int], batch_size: int, length: int, seed: int) -> list[list[int]]:
    """Return `batch_size` prompts of exactly `length` seeded random token ids.

    Raises:
        InputError: there is no id to draw from.
    """
    if not plain_ids:
        raise InputError("the two models share no ordinary token", remedy="check both models' tokenizers")
    rng = random.Random(seed)
    return [rng.choices(plain_ids, k=length) for _ in range(batch_size)]


def time_decode(
    engine: Engine,
    prompts: Sequence[Sequence[int]],
    decode_tokens: int,
    clock: Callable[[], float] = time.perf_counter,
) -> float:
    """Return wall seconds per new token of one fixed-length decode, prefill included.

    Raises:
        RuntimeError: the engine did not return exactly `decode_tokens` for every prompt.
    """
    started = clock()
    outputs = engine.generate(prompts, decode_tokens, ignore_eos=True)
    seconds = clock() - started
    lengths = {len(output.token_ids) for output in outputs}
    if len(outputs) != len(prompts) or lengths != {decode_tokens}:
        raise RuntimeError(f"asked for {decode_tokens} tokens each, the engine returned {sorted(lengths)}")
    return seconds / (len(prompts) * decode_tokens)


def alternate(
    engines: Sequence[Engine],
    prompts: Sequence[Sequence[int]],
    spec: MeasureSpeedParams,
    on_step: Callable[[int, int, str], None],
) -> list[list[float]]:
    """Warm every engine up, then time them in turn; return one series (seconds per token) for each.

    The order turns round with each repeat, so that none always goes first.
    """
    total = len(engines) * (spec.warmups + spec.repeats)
    step = 0
    for _ in range(spec.warmups):
        for engine in engines:
            on_step(step, total, "warming up")
            time_decode(engine, prompts, spec.decode_tokens)
            step += 1
    series: list[list[float]] = [[] for _ in engines]
    for repeat in range(spec.repeats):
        order = list(range(len(engines)))
        for position in reversed(order) if repeat % 2 else order:
            on_step(step, total, f"decoding, repeat {repeat + 1} of {spec.repeats}")
            series[position].append(time_decode(engines[position], prompts, spec.decode_tokens))
            step += 1
    on_step(total, total, "measured")
    return series


def summarize_series(series: Sequence[float]) -> dict[str, Any]:
    """Return median, all repeats and spread = (max − min) / median; the times are seconds per token."""
    median = statistics.median(series)
    return {
        "s_per_token": median,
        "s_per_token_all": list(series),
        "spread": (max(series) - min(series)) / median,
    }


def is_same_model(model: Path, baseline: Path) -> bool:
    """Whether two inputs are one folder."""
    return model.resolve() == baseline.resolve() or model.samefile(baseline)
