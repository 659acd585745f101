"""From replies to rows of items.parquet and a benchmark's result. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from evaluator.quality.f1 import is_unanswerable, score_answer
from evaluator.quality.parse import cut_reply, parse_choice, strip_thinking
from evaluator.quality.prompts import Prompt
from lanekit.results.schema import BenchmarkResult, PartResult
from lanekit.spec.benchmark import Benchmark, list_options
from lanekit.spec.rows import ChoiceItem, DocumentItem, Item

ANSWERABLE, UNANSWERABLE = "answerable", "unanswerable"


@dataclass(frozen=True)
class Reply:
    """What a model said: `new_tokens` were generated, `finished` says that it ended the reply itself.

    `note` tells why it was not asked.
    """

    text: str
    new_tokens: int
    finished: bool
    note: str = ""


@dataclass(frozen=True)
class Graded:
    """One item's turn, graded: a row of items.parquet (see outputs.ITEM_SCHEMA for the columns)."""

    benchmark: str
    index: int
    id: str
    turn: int
    part: str
    task: str
    question: str
    prompt_tokens: int
    new_tokens: int
    finished: bool
    response: str
    parsed: str | None
    gold: str
    value: float | None
    exact: bool | None
    context_tokens: int | None
    kept_tokens: int | None
    answer_lost: bool | None
    note: str


def grade_reply(
    benchmark: Benchmark,
    item: Item,
    prompt: Prompt,
    reply: Reply,
    *,
    index: int,
    turn: int = 1,
    thinking: bool = False,
) -> Graded:
    """Grade one reply; a judged benchmark's has no value yet.

    What a reply says counts up to the first of the benchmark's stop texts, and after its reasoning alone.
    """
    response = cut_reply(reply.text, benchmark.stop, thinking_opened=thinking)
    said = strip_thinking(response, thinking_opened=thinking).strip()
    parsed: str | None = said or None
    part = task = ""
    value: float | None = None
    exact: bool | None = None
    if isinstance(item, ChoiceItem):
        question, gold = f"{item.question}\n{list_options(item.options)}", item.gold
        parsed = parse_choice(said, len(item.options), item.options)
        exact = parsed == item.gold
        value = float(exact)
    elif isinstance(item, DocumentItem):
        question, gold, task = item.question, item.gold, item.task
        part = UNANSWERABLE if is_unanswerable(item.gold) else ANSWERABLE
        score = score_answer(said, item.gold)
        value, exact = score.f1, score.exact
    else:
        question, gold, task = item.turns[turn - 1], item.references[turn - 1], item.task
    cut = prompt.cut
    return Graded(
        benchmark=benchmark.name,
        index=index,
        id=item.id,
        turn=turn,
        part=part,
        task=task,
        question=question,
        prompt_tokens=len(prompt.token_ids),
        new_tokens=reply.new_tokens,
        finished=reply.finished,
        response=response,
        parsed=parsed,
        gold=gold,
        value=value,
        exact=exact,
        context_tokens=cut.context_tokens if cut else None,
        kept_tokens=cut.kept_tokens if cut else None,
        answer_lost=cut.answer_lost if cut else None,
        note=reply.note,
    )


def summarize_benchmark(
    benchmark: Benchmark, graded: Sequence[Graded], room: int | None = None
) -> BenchmarkResult:
    """Return the mean over all items; what was unparsed counts as wrong and is counted.

    An item whose gold answer fell out with the cut documents is scored like any other, and counted. A
    document benchmark's `parts` are its answerable and unanswerable items, and its tasks. The note of a
    multiple-choice benchmark tells how many unparsed replies hit the token limit.

    Args:
        room: the prompt tokens that the engine had room for; told of where it cut more than the benchmark.
    """
    n_unparsed = sum(row.parsed is None for row in graded)
    if benchmark.metric == "judge":
        return BenchmarkResult(
            metric=benchmark.metric,
            version=benchmark.version,
            value=None,
            n_items=len({row.index for row in graded}),
            n_unparsed=n_unparsed,
            note="no judge is configured",
        )
    whole = _summarize_part(graded)
    n_cut = sum(row.context_tokens is not None for row in graded)
    n_lost = sum(bool(row.answer_lost) for row in graded)
    note = f"{n_cut} of {len(graded)} contexts were cut, at least {n_lost} lost the gold answer"
    note = note if n_cut else ""
    if n_cut and room is not None and room < (benchmark.max_prompt_tokens or 0):
        note += f"; max_model_len had room for {room} of the {benchmark.max_prompt_tokens} prompt tokens"
    if benchmark.metric == "accuracy":
        n_ended = sum(row.parsed is None and not row.finished for row in graded)
        note = f"{n_ended} of {n_unparsed} unparsed replies were cut at max_new_tokens" if n_ended else ""
    return BenchmarkResult(
        metric=benchmark.metric,
        version=benchmark.version,
        value=whole.value,
        n_items=whole.n_items,
        n_unparsed=n_unparsed,
        n_cut=n_cut,
        n_gold_lost=n_lost,
        exact_match=whole.exact_match if benchmark.metric == "f1" else None,
        parts=_summarize_parts(graded) if benchmark.metric == "f1" else {},
        note=note,
    )


def _summarize_parts(graded: Sequence[Graded]) -> dict[str, PartResult]:
    rows: dict[str, list[Graded]] = {ANSWERABLE: [], UNANSWERABLE: []}
    for row in graded:
        rows[row.part].append(row)
        if row.task:
            rows.setdefault(row.task, []).append(row)
    return {name: _summarize_part(found) for name, found in rows.items() if found}


def _summarize_part(graded: Sequence[Graded]) -> PartResult:
    n_items = len(graded)
    return PartResult(
        n_items=n_items,
        value=math.fsum(row.value or 0.0 for row in graded) / n_items,
        exact_match=sum(bool(row.exact) for row in graded) / n_items,
    )
