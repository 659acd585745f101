"""From replies to a benchmark's result. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from evaluator.f1 import score_answer
from evaluator.items import ChoiceItem, DocumentItem, Item
from evaluator.parse import parse_choice, strip_thinking
from evaluator.prompts import Prompt
from lanekit.benchmarks import Benchmark
from lanekit.results import BenchmarkResult


@dataclass(frozen=True)
class Judged:
    """One item after judging: a line of items.jsonl.

    `value` is the item's contribution, from 0 to 1; `parsed` is None where no answer could be read.
    """

    benchmark: str
    index: int
    id: str
    prompt_tokens: int
    new_tokens: int
    finished: bool
    response: str
    parsed: str | None
    gold: str
    value: float
    exact: bool
    cut: dict[str, Any] | None


def judge_reply(
    benchmark: Benchmark,
    item: Item,
    prompt: Prompt,
    response: str,
    *,
    index: int,
    new_tokens: int,
    finished: bool,
    thinking_opened: bool = False,
) -> Judged:
    """Judge one reply; `finished` says whether the model ended it itself."""
    if isinstance(item, ChoiceItem):
        parsed = parse_choice(response, len(item.options), thinking_opened=thinking_opened)
        value, exact = float(parsed == item.gold), parsed == item.gold
    elif isinstance(item, DocumentItem):
        text = strip_thinking(response, thinking_opened=thinking_opened).strip()
        parsed = text or None
        score = score_answer(text, item.gold)
        value, exact = score.f1, score.exact
    else:
        raise TypeError(f"{benchmark.name}: needs a judge model")
    return Judged(
        benchmark=benchmark.name,
        index=index,
        id=item.id,
        prompt_tokens=len(prompt.token_ids),
        new_tokens=new_tokens,
        finished=finished,
        response=response,
        parsed=parsed,
        gold=item.gold,
        value=value,
        exact=exact,
        cut=asdict(prompt.cut) if prompt.cut else None,
    )


def summarize_benchmark(benchmark: Benchmark, judged: Sequence[Judged]) -> BenchmarkResult:
    """Return the mean over all items; what was unparsed counts as wrong and is counted."""
    n_items = len(judged)
    cut = [item.cut for item in judged if item.cut]
    lost = sum(bool(c["answer_lost"]) for c in cut)
    return BenchmarkResult(
        metric=benchmark.metric,
        version=benchmark.version,
        value=sum(item.value for item in judged) / n_items,
        n_items=n_items,
        n_unparsed=sum(item.parsed is None for item in judged),
        n_cut=len(cut),
        exact_match=sum(item.exact for item in judged) / n_items if benchmark.metric == "f1" else None,
        note=f"{len(cut)} contexts were cut, {lost} of them lost the gold answer" if cut else "",
    )


def omit_benchmark(benchmark: Benchmark, n_items: int) -> BenchmarkResult:
    """Return the result of a benchmark that needs a judge model."""
    return BenchmarkResult(
        metric=benchmark.metric,
        version=benchmark.version,
        value=None,
        n_items=n_items,
        note="no judge is configured",
    )
