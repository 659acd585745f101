"""Logged samples of EleutherAI's lm-evaluation-harness (`--log_samples`), as rows to compare.

Of version 0.4.13: a file samples_<task>_<date>.jsonl a task under the output path, in a folder named after
the model; a line a document and filter, with the value of each metric under the metric's name. Beside it
results_<date>.json says of which metrics more is better. Pure but for reading.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from lanekit.errors import InputError, did_you_mean

FILE_NAME = re.compile(r"samples_(?P<task>.+)_(?P<date>\d{4}-\d{2}-\d{2}T\d{2}-\d{2}-\d{2}(\.\d+)?)\.jsonl")
PATTERN = "samples_*.jsonl"
NEEDED = (
    "doc_id", "target", "arguments", "resps", "filtered_resps", "filter", "metrics", "doc_hash",
    "prompt_hash",
)  # fmt: skip
NAMED = 5  # findings in a message
LOG_AGAIN = "log again with lm-eval 0.4.13: lm_eval run … --log_samples --output_path FOLDER"
SAME_DATA = "run both with the same task version, data set revision and --limit"
Sample = dict[str, Any]


@dataclass(frozen=True)
class Choice:
    """What is taken where a task has several: `metrics` and `filters` by task, under "" for every task."""

    metrics: Mapping[str, str] = field(default_factory=dict)
    filters: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class TaskFile:
    """The newest file of one task; each sample knows its line."""

    task: str
    path: Path
    date: str
    samples: tuple[tuple[int, Sample], ...]


def holds_samples(folder: Path) -> bool:
    """Whether a folder, or one below it, holds logged samples."""
    return folder.is_dir() and next(folder.rglob(PATTERN), None) is not None


def load_samples(folder: Path, notes: list[str]) -> dict[str, TaskFile]:
    """Return a folder's samples by task, of several dates the newest, which `notes` then says.

    Raises:
        InputError: there are none, several models' lie below it, a name or a line is malformed.
    """
    paths = sorted(folder.rglob(PATTERN))
    if not paths:
        raise InputError(f"{folder}: no {PATTERN} in it or below it", remedy=LOG_AGAIN)
    homes = sorted({path.parent for path in paths})
    if len(homes) > 1:
        raise InputError(
            f"{folder}: samples of several models lie below it: {', '.join(home.name for home in homes)}",
            remedy=f"name one of their folders, e.g. {homes[0]}",
        )
    newest: dict[str, tuple[str, Path]] = {}
    for path in paths:
        name = FILE_NAME.fullmatch(path.name)
        if name is None:
            raise InputError(
                f"{path}: its name is not samples_<task>_<date>.jsonl", remedy="rename it, or move it away"
            )
        task, date = name["task"], name["date"]
        if task in newest:
            older = min(date, newest[task][0])
            notes.append(f"{folder}: {task} was run more than once; {older} is passed over for the newest.")
        if task not in newest or date > newest[task][0]:
            newest[task] = (date, path)
    return {task: TaskFile(task, path, date, _read(path)) for task, (date, path) in newest.items()}


def _read(path: Path) -> tuple[tuple[int, Sample], ...]:
    samples = []
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read: {error}", remedy=LOG_AGAIN) from error
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            sample = json.loads(line)
        except ValueError as error:
            raise InputError(f"{path}:{number}: not JSON: {error}", remedy=LOG_AGAIN) from error
        lacking = [name for name in NEEDED if not isinstance(sample, dict) or name not in sample]
        if lacking:
            raise InputError(f"{path}:{number}: lacks {', '.join(lacking)}", remedy=LOG_AGAIN)
        samples.append((number, sample))
    if not samples:
        raise InputError(f"{path}: holds no sample", remedy=LOG_AGAIN)
    return tuple(samples)


def make_rows(
    a: Mapping[str, TaskFile], b: Mapping[str, TaskFile], choice: Choice, notes: list[str]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return both sides' rows as `comparison.pair_lanes` takes them; `benchmark` is the task.

    `notes` says which metric and filter each task is compared by.

    Raises:
        InputError: a task is missing on one side, its filter or metric has to be chosen, or the documents are
            not the same; all that is found at once.
    """
    faults: dict[str, str] = {}  # each with its remedy
    for here, there in ((a, b), (b, a)):
        for task, found in there.items():
            if task not in here:
                faults[f"{found.path}: the other folder has no task '{task}'{did_you_mean(task, here)}"] = (
                    "run it for both, or name a task of both with --benchmark"
                )
    tasks = [task for task in a if task in b]
    for option, chosen in (("--metric", choice.metrics), ("--filter", choice.filters)):
        for task in chosen:
            if task and task not in tasks:
                faults[f"{option}: no task '{task}'{did_you_mean(task, tasks)}"] = f"name one of {tasks}"
    rows: tuple[list[dict[str, Any]], list[dict[str, Any]]] = ([], [])
    for task in tasks:
        try:
            sides, metric = _choose_samples(a[task], b[task], choice, notes)
        except InputError as error:
            faults[error.message] = error.remedy
            continue
        for side, own in zip(sides, rows, strict=True):
            own += [_make_row(task, sample, metric) for _, sample in side.samples]
    if faults:
        raise InputError("\n".join(faults), remedy="; ".join(dict.fromkeys(faults.values())))
    return rows


def _choose_samples(
    a: TaskFile, b: TaskFile, choice: Choice, notes: list[str]
) -> tuple[tuple[TaskFile, TaskFile], str]:
    """Return a task's samples of one filter on both sides, and the metric."""
    name = _choose_name("filter", choice.filters, a, _list_filters(a), _list_filters(b))
    a, b = (_keep_filter(side, name) for side in (a, b))
    metric = _choose_name("metric", choice.metrics, a, _list_metrics(a), _list_metrics(b))
    for side in (a, b):
        _check_direction(side, metric, notes)
    _check_same(a, b)
    notes.append(f"{a.task}: {metric}, filter {name}, {a.date} and {b.date}")
    theirs = {sample["doc_id"]: sample for _, sample in b.samples}
    n_other = sum(x["prompt_hash"] != theirs[x["doc_id"]]["prompt_hash"] for _, x in a.samples)
    if n_other:
        notes.append(
            f"{a.task}: {n_other} documents were put to the two in other words (template, few-shots, version)"
        )
    return (a, b), metric


def _choose_name(
    what: str, chosen: Mapping[str, str], file: TaskFile, ours: Sequence[str], theirs: Sequence[str]
) -> str:
    """Return the filter or metric of a task: the one chosen, or the only one that both sides have."""
    common = [name for name in ours if name in theirs]
    wanted = chosen.get(file.task, chosen.get(""))
    shown = ", ".join(common) or "none"
    if wanted is not None and wanted not in common:
        raise InputError(
            f"{file.path}: the task '{file.task}' has no {what} '{wanted}'{did_you_mean(wanted, common)} on "
            f"both sides; it has: {shown}",
            remedy=f"name it for one task alone: --{what} TASK=NAME",
        )
    if wanted is None and len(common) != 1:
        raise InputError(
            f"{file.path}: the task '{file.task}' has {len(common)} {what}s on both sides: {shown}",
            remedy=f"choose one: --{what} NAME, or --{what} TASK=NAME for one task"
            if common
            else "run both with the same task version",
        )
    return common[0] if wanted is None else wanted


def _list_filters(file: TaskFile) -> list[str]:
    return list(dict.fromkeys(str(sample["filter"]) for _, sample in file.samples))


def _keep_filter(file: TaskFile, name: str) -> TaskFile:
    return replace(file, samples=tuple(x for x in file.samples if str(x[1]["filter"]) == name))


def _list_metrics(file: TaskFile) -> list[str]:
    """Return the metrics that are a number in every sample."""
    names = dict.fromkeys(str(name) for _, sample in file.samples for name in sample["metrics"])
    return [n for n in names if all(isinstance(x.get(n), int | float) for _, x in file.samples)]


def _check_direction(file: TaskFile, metric: str, notes: list[str]) -> None:
    """Refuse a metric of which less is better: gained and lost would be turned round."""
    path = file.path.with_name(f"results_{file.date}.json")
    try:
        is_higher_better = json.loads(path.read_bytes())["higher_is_better"][file.task][metric]
    except (OSError, ValueError, KeyError, TypeError):
        notes.append(
            f"{file.task}: {path} does not say whether more of {metric} is better; it is taken to be"
        )
        return
    if is_higher_better is False:
        raise InputError(
            f"{path}: of {file.task}'s {metric} less is better",
            remedy="choose a metric of which more is: --metric",
        )


def _check_same(a: TaskFile, b: TaskFile) -> None:
    """Refuse documents that are not the same on both sides, or that stand there twice."""
    sides: list[dict[Any, tuple[int, Sample]]] = []
    findings = []
    for file in (a, b):
        lines: dict[Any, tuple[int, Sample]] = {}
        for line, sample in file.samples:
            first = lines.setdefault(sample["doc_id"], (line, sample))[0]
            if first != line:
                findings.append(
                    f"{file.path}:{line}: the document {sample['doc_id']} stands in line {first} already"
                )
        sides.append(lines)
    ours, theirs = sides
    for file, lines, others in ((a, ours, theirs), (b, theirs, ours)):
        findings += [
            f"{file.path}:{line}: the document {key} is not in the other folder"
            for key, (line, _) in lines.items()
            if key not in others
        ]
    for key, (line, sample) in ours.items():
        other_line, other = theirs.get(key, (0, sample))
        unlike = [n for n in ("doc_hash", "target") if str(sample[n]) != str(other[n])]
        if unlike:
            findings.append(
                f"{a.path}:{line}: the document {key} has another {' and '.join(unlike)} than in "
                f"{b.path}:{other_line}"
            )
    if findings:
        more = f"\n{len(findings) - NAMED} more" if len(findings) > NAMED else ""
        raise InputError("\n".join(findings[:NAMED]) + more, remedy=SAME_DATA)


def _make_row(task: str, sample: Sample, metric: str) -> dict[str, Any]:
    """Return a sample as a row: of a choice among continuations the likeliest is what was answered."""
    requests = [_get_texts(request) for request in sample["arguments"].values()]
    question = requests[0][0] if requests else ""
    if len(requests) > 1:
        odds = [_get_likelihood(reply) for reply in sample["filtered_resps"]]
        parsed: str | None = str(max(range(len(odds)), key=odds.__getitem__)) if odds else None
        said = zip(requests, odds, strict=False)
        response = "; ".join(f"{texts[-1].strip()} {likelihood:g}" for texts, likelihood in said)
    else:
        parsed, response = _get_first(sample["filtered_resps"]), _get_first(sample["resps"])
    return {
        "benchmark": task, "index": sample["doc_id"], "id": str(sample["doc_id"]), "turn": 1,
        "question": question, "gold": str(sample["target"]), "value": float(sample[metric]),
        "parsed": parsed, "response": response,
    }  # fmt: skip


def _get_texts(request: Mapping[str, Any]) -> list[str]:
    return [value for value in request.values() if isinstance(value, str)] or [""]


def _get_likelihood(reply: Any) -> float:
    try:
        return float(reply[0] if isinstance(reply, list) else reply)
    except (ValueError, IndexError):
        return -math.inf


def _get_first(replies: Any) -> str:
    while isinstance(replies, list):
        replies = replies[0] if replies else ""
    return str(replies)
