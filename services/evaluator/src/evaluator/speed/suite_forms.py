"""The forms on the suite's own prompts: `free`, `benchmark` and, of the same prompts, `matched`."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

from evaluator.engines.base import Ask
from evaluator.quality.chat import ChatTokenizer
from evaluator.quality.items import load_items
from evaluator.quality.prompts import render_items
from evaluator.speed.forms import Form
from lanekit.errors import InputError
from lanekit.spec.benchmark import Benchmark
from lanekit.spec.evaluation import MeasureSpeedParams


def make_suite_forms(
    spec: MeasureSpeedParams, suite: Path, chat: ChatTokenizer, vocab_size: int
) -> list[Form]:
    """Return the forms `free` and `benchmark`, as far as they are asked for.

    Both models get the prompts of `chat`, token for token, each with its benchmark's own limit of new tokens
    and its own stop texts. `benchmark` hands over `spec.benchmark_items` prompts in one call, in the suite's
    proportions (see `sample_items`). `free` calls once for each benchmark, with the first prompts.

    Raises:
        InputError: no benchmark can be asked, a row is at fault, a prompt does not fit into the context, or
            it holds tokens that a model does not have.
    """
    forms: list[Form] = []
    if spec.free_items:
        unjudged = [benchmark for benchmark in spec.benchmarks if benchmark.metric != "judge"]
        asks = render_suite(spec, suite, chat, vocab_size, unjudged, "free_items", spec.free_items)
        shares = share_items({name: len(found) for name, found in asks.items()}, spec.free_items)
        calls = [tuple(found[: shares[name]]) for name, found in asks.items() if shares[name]]
        forms.append(Form("free", "free", tuple(calls)))
    if spec.benchmark_items:
        asks = render_suite(spec, suite, chat, vocab_size, spec.benchmarks, "benchmark_items")
        lengths = {name: [len(ask.token_ids) for ask in found] for name, found in asks.items()}
        chosen = sample_items(lengths, spec.benchmark_items, spec.engine.seed)
        call = tuple(asks[name][index] for name, indexes in chosen.items() for index in indexes)
        forms.append(Form("benchmark", "benchmark", (call,)))
    return forms


def make_matched_form(form: Form, lengths: Sequence[int]) -> Form:
    """Return the form `matched`: the prompts of `benchmark`, each with exactly so many tokens: equal work."""
    (call,) = form.calls
    asks = (
        replace(ask, max_new_tokens=max(length, 1), stop=(), is_exact=True)
        for ask, length in zip(call, lengths, strict=True)
    )
    return Form("matched", "matched", (tuple(asks),))


def render_suite(
    spec: MeasureSpeedParams,
    suite: Path,
    chat: ChatTokenizer,
    vocab_size: int,
    benchmarks: Sequence[Benchmark],
    setting: str,
    limit: int | None = None,
) -> dict[str, list[Ask]]:
    """Return the prompts by benchmark, the first `limit` of each where one is given.

    Raises:
        InputError: see make_suite_forms; `setting` is what asks for them.
    """
    if not benchmarks:
        raise InputError(
            f"speed: no benchmark to run free on for {setting}",
            remedy=f"set speed.{setting}: 0 in the experiment file, or give it another benchmark",
        )
    thinking, room = chat.enable_thinking, spec.engine.max_model_len
    asks: dict[str, list[Ask]] = {}
    for benchmark in benchmarks:
        rows = load_items(suite, benchmark, limit)
        prompts = [
            prompt.token_ids for prompt in render_items(benchmark, rows, chat, room, thinking=thinking)
        ]
        _check_ids(benchmark, prompts, vocab_size)
        new_tokens = benchmark.count_new_tokens(thinking=thinking)
        stop = () if thinking else benchmark.stop  # a stop text within the reasoning would end it
        asks[benchmark.name] = [
            Ask(prompt, min(new_tokens, room - len(prompt)), tuple(stop)) for prompt in prompts
        ]
    return asks


def sample_items(lengths: Mapping[str, Sequence[int]], total: int, seed: int) -> dict[str, list[int]]:
    """Draw some `total` items over all benchmarks, in the suite's proportions; all where it has fewer.

    Each benchmark gets its share of the items (largest remainder, one at least). Its items, by the length of
    their prompts, are cut into as many equal parts as it gives items, and one is drawn of each part: long
    documents stand in the sample as often as in the suite.

    Args:
        lengths: the prompts' tokens, by benchmark.

    Returns:
        The items' places, ascending, by benchmark.
    """
    available = {name: len(found) for name, found in lengths.items()}
    shares = share_proportionally(available, total)
    drawn: dict[str, list[int]] = {}
    for name, share in shares.items():
        rng = random.Random(f"{seed} {name}")
        order = sorted(range(available[name]), key=lambda index: (lengths[name][index], index))
        bounds = [round(part * len(order) / share) for part in range(share + 1)] if share else [0]
        drawn[name] = sorted(rng.choice(order[begin:end]) for begin, end in pairwise(bounds))
    return drawn


def share_proportionally(available: Mapping[str, int], total: int) -> dict[str, int]:
    """Return how many of `total` each gives, in proportion (largest remainder), one at least, all at most."""
    whole = sum(available.values())
    if whole <= total:
        return dict(available)
    exact = {name: count * total / whole for name, count in available.items()}
    shares = {name: max(1, int(share)) for name, share in exact.items() if available[name]}
    by_remainder = sorted(shares, key=lambda name: (int(exact[name]) - exact[name], name))
    for name in by_remainder:
        if sum(shares.values()) < total and shares[name] < available[name]:
            shares[name] += 1
    return shares


def share_items(available: dict[str, int], total: int) -> dict[str, int]:
    """Return how many items each benchmark gives when they are taken in turn until there are `total`."""
    shares = dict.fromkeys(available, 0)
    while sum(shares.values()) < total:
        open_names = [name for name, count in available.items() if shares[name] < count]
        if not open_names:
            break
        for name in open_names[: total - sum(shares.values())]:
            shares[name] += 1
    return shares


def _check_ids(benchmark: Benchmark, prompts: list[list[int]], vocab_size: int) -> None:
    highest = max(max(prompt) for prompt in prompts)
    if highest >= vocab_size:
        raise InputError(
            f"speed, {benchmark.name}: a prompt has the token {highest}, a model's vocabulary {vocab_size}",
            remedy="candidate and baseline need one tokenizer and one vocabulary",
        )
