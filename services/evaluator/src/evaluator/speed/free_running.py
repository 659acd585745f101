"""The free-running form: the suite's own prompts, each model ending its replies where it likes."""

from __future__ import annotations

from pathlib import Path

from evaluator.quality.chat import ChatTokenizer
from evaluator.quality.items import load_items
from evaluator.quality.prompts import render_items
from evaluator.speed.forms import Form, Request
from lanekit.errors import InputError
from lanekit.spec.benchmark import Benchmark
from lanekit.spec.params import MeasureSpeedParams


def make_free_form(spec: MeasureSpeedParams, suite: Path, chat: ChatTokenizer, vocab_size: int) -> Form:
    """Return the form `free`: the suite's first `spec.free_items` prompts, rendered as for the evaluation.

    Both models get the prompts of `chat`, token for token. Each benchmark is one call, with its own limit of
    new tokens and its own stop texts; the engine runs as many prompts at once as the largest of
    `spec.batch_sizes`.

    Raises:
        InputError: no benchmark can run free, a row is at fault, a prompt does not fit into the context, or
            it holds tokens that a model does not have.
    """
    benchmarks = [benchmark for benchmark in spec.benchmarks if benchmark.metric != "judge"]
    if not benchmarks:
        raise InputError(
            "speed: no benchmark to run free on: those that a judge scores are not used",
            remedy="set speed.free_items: 0 in the experiment file, or give it another benchmark",
        )
    thinking = chat.enable_thinking
    items = {b.name: load_items(suite, b, spec.free_items) for b in benchmarks}
    shares = share_items({name: len(rows) for name, rows in items.items()}, spec.free_items)
    requests = []
    for benchmark in benchmarks:
        rows = items[benchmark.name][: shares[benchmark.name]]
        if not rows:
            continue
        rendered = render_items(benchmark, rows, chat, spec.engine.max_model_len, thinking=thinking)
        prompts = [prompt.token_ids for prompt in rendered]
        _check_ids(benchmark, prompts, vocab_size)
        new_tokens = benchmark.count_new_tokens(thinking=thinking)
        requests.append(Request(prompts, new_tokens, benchmark.stop))
    return Form("free", "free", tuple(requests))


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
