"""Amounts asked for against amounts there, and whether anything is left to be ranked."""

from __future__ import annotations

from collections.abc import Iterator

from lanekit.errors import InputError
from lanekit.plan.preflight.finding import Finding, from_error
from lanekit.plan.preflight.request import Request
from lanekit.spec.experiment_file import CORPUS
from lanekit.spec.judge import check_judge


def check_amounts(request: Request) -> Iterator[Finding]:
    """Check rows and items."""
    if request.needs_corpus:
        yield from _check_corpus(request)
    yield from _check_calibration(request)
    if request.engine is not None:
        yield from _check_scoring(request)
    yield from _check_published_rows(request)


def _check_corpus(request: Request) -> Iterator[Finding]:
    corpus = request.experiment.corpus
    there = request.count_rows(CORPUS)
    asked = corpus.train_rows + corpus.validation_rows
    if there is not None and asked > there:
        yield Finding(
            request.locate("corpus", "train_rows"),
            f"{asked} conversations are asked for (train_rows and validation_rows), the source of {CORPUS} "
            f"has {there} rows",
            "lower corpus.train_rows or validation_rows, or give a larger source",
        )
    if corpus.calibration_rows > corpus.train_rows:
        yield Finding(
            request.locate("corpus", "calibration_rows"),
            f"calibration_rows is {corpus.calibration_rows}, and they are drawn from {corpus.train_rows} "
            "train_rows",
            "lower corpus.calibration_rows, or raise corpus.train_rows",
        )


def _check_calibration(request: Request) -> Iterator[Finding]:
    there = request.experiment.corpus.calibration_rows
    for stage in request.list_stages():
        asked = getattr(stage.params, "calibration_rows", None)
        choice = getattr(stage.params, "calibration", None)
        if choice and choice.mix and asked is not None:
            asked = max(choice.share_rows(asked).values())
        if asked is not None and stage.type.needs_corpus(stage.params) and asked > there:
            yield Finding(
                stage.locate("calibration_rows"),
                f"'{stage.type.name}' asks for {asked} calibration rows, corpus.calibration_rows is {there} "
                f"({request.locate('corpus', 'calibration_rows')})",
                f"lower calibration_rows of '{stage.type.name}' to at most {there}, or raise "
                "corpus.calibration_rows",
            )


def _check_scoring(request: Request) -> Iterator[Finding]:
    """Refuse weights that leave nothing with a value, and prompts to run free where there are none."""
    experiment = request.experiment
    judge = experiment.evaluation.judge
    weights = experiment.scoring.benchmark_weights
    judged = {benchmark.name for benchmark in experiment.benchmarks if benchmark.metric == "judge"}
    if judge is not None:
        try:
            check_judge(judge)
        except InputError as error:
            yield from_error(request.locate("evaluation", "judge"), error)
    weighted = {name for name, weight in weights.items() if weight > 0}
    if judge is None and weighted <= judged:
        yield Finding(
            request.locate("scoring", "benchmark_weights"),
            f"nothing could be ranked: {', '.join(sorted(weighted))} is scored by a judge alone, and no "
            "judge is configured",
            "give evaluation.judge, or a weight above 0 to another benchmark",
        )
    free_items = experiment.speed.free_items
    plain = [benchmark.name for benchmark in experiment.benchmarks if benchmark.name not in judged]
    if free_items and not plain:
        yield Finding(
            request.locate("speed", "free_items"),
            f"free_items is {free_items}, but no benchmark can run free: those that a judge scores are not "
            "used",
            "set speed.free_items: 0 (and a score_form that is timed), or weigh another benchmark",
        )
    there = [request.count_rows(name) for name in plain]
    n_items = sum(count for count in there if count is not None)
    if plain and None not in there and free_items > n_items:
        yield Finding(
            request.locate("speed", "free_items"),
            f"free_items is {free_items}, the benchmarks have {n_items} items together",
            f"lower speed.free_items to at most {n_items}",
        )


def _check_published_rows(request: Request) -> Iterator[Finding]:
    for name, source in request.experiment.data.items():
        there = request.count_rows(name)
        if source.rows is not None and there is not None and there != source.rows:
            yield Finding(
                request.locate("data", name),
                f"{source.source} has {there} rows, the published set has {source.rows}",
                "give the whole set, or take `rows` out of the experiment file",
            )
