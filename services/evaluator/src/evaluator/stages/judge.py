"""Stage `judge`: a judge model grades the answers to a benchmark, both turns, through an HTTP endpoint."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from pathlib import Path

import openai

from evaluator.judge.cache import JudgementCache, find_cache_folder
from evaluator.judge.client import check_allowed, read_key
from evaluator.judge.judging import grade_answer, make_row, pair_answers, summarize_verdicts
from evaluator.judge.sitting import JudgeSession
from evaluator.quality.items import load_items
from evaluator.quality.outputs import read_items, write_items
from lanekit.files.model_folder import write_json
from lanekit.host.probe import list_versions
from lanekit.progress import Progress
from lanekit.results.collect import ITEMS_NAME
from lanekit.spec.judge import JudgeParams, check_judge
from lanekit.spec.rows import ChatItem


def run(spec: JudgeParams, inputs: Mapping[str, Path], out: Path, progress: Progress) -> None:
    """Grade `inputs["answers"]` to the questions of `inputs["suite"]`.

    Writes metrics.json (the benchmark's result), items.parquet (the answers' rows with `value`, the judge's
    rating as `parsed` and its words as `note`) and report.json. Each judgement is cached as it comes.

    Raises:
        InputError: a setting, the key, the model or the answers are at fault, the cost cap is reached, or
            more than 5 % of the judge's replies hold no rating.
        TransientError: the endpoint cannot be reached, or fails.
    """
    check_judge(spec)
    check_allowed(spec.url)
    started = time.perf_counter()
    benchmark = spec.benchmark
    assert benchmark.rubric  # as JudgeParams checks
    items = [i for i in load_items(inputs["suite"], benchmark, spec.limit_items) if isinstance(i, ChatItem)]
    place = inputs["answers"] / ITEMS_NAME
    rows = [row for row in read_items(place) if row["benchmark"] == benchmark.name]
    questions = pair_answers(benchmark.rubric, items, rows, place)
    cache = JudgementCache(find_cache_folder())
    sitting = JudgeSession(spec, benchmark.rubric, questions, cache, progress)
    replies = asyncio.run(sitting.judge_all(read_key(spec.api_key_env)))
    cache.prune()
    verdicts = [
        grade_answer(benchmark.rubric, question, reply.text, reply.finish_reason)
        for question, reply in zip(questions, replies, strict=True)
    ]
    result = summarize_verdicts(benchmark, verdicts, spec.model)
    write_json(out / "metrics.json", {"benchmarks": {benchmark.name: result.model_dump()}})
    write_items(out / ITEMS_NAME, [make_row(benchmark.rubric, verdict) for verdict in verdicts])
    report = {
        "judge": {
            "model": spec.model,
            "models_reported": sorted({reply.model for reply in replies}),
            "host": sitting.host,
            "rubric": f"{benchmark.name} version {benchmark.version}",
            **spec.model_dump(include={"temperature", "max_tokens", "seed", "extra_body"}),
        },
        "turns": len(questions),
        "penalized": sum(verdict.is_penalized for verdict in verdicts),
        "unparsed": [verdict.question.label for verdict in verdicts if verdict.rating is None],
        "cut_off": sum(reply.finish_reason == "length" for reply in replies),
        **sitting.report(),
        "seconds": time.perf_counter() - started,
        "versions": {**list_versions(), "openai": openai.__version__},
    }
    write_json(out / "report.json", report)
