"""Benchmark files and rows as tasks of lm-evaluation-harness.

A benchmark becomes a task in the harness's form: the prompt a Jinja template, the parser a regular
expression, the metric its `exact_match`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lanekit.spec.benchmark import Benchmark

CHOICE_PATTERN = r"정답:\s*([A-E])"

_LISTED = (
    "{% for option in options %}{{ 'ABCDE'[loop.index0] }}. {{ option }}"
    "{% if not loop.last %}\n{% endif %}{% endfor %}"
)
_OWN_TEMPLATE = (
    "{{ prompt | replace('{titles}', titles if titles is string else titles | join(', '))"
    " | replace('{context}', context if context is string else context | join('\n\n'))"
    " | replace('{question}', question) }}"
)
_PLACES = {"{question}": "{{ question }}", "{options}": _LISTED, "{prompt}": _OWN_TEMPLATE}


def make_tasks(
    benchmarks: Sequence[Benchmark], rows: Mapping[str, Sequence[Mapping[str, Any]]], work: Path
) -> list[dict[str, Any]]:
    """Write each benchmark's rows below `work` and return the tasks on them."""
    tasks = []
    for benchmark in benchmarks:
        path = work / f"{benchmark.name}.jsonl"
        lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in rows[benchmark.name])
        path.write_text("".join(lines), encoding="utf-8")
        tasks.append(make_task(benchmark, path, work / "cache"))
    return tasks


def make_task(benchmark: Benchmark, rows: Path, cache: Path) -> dict[str, Any]:
    """Return a benchmark as a task configuration.

    `until` is given even where it is empty: without it the harness stops every reply at a blank line.

    Args:
        rows: the items as JSON lines, in the published columns.
        cache: a folder for the harness's copy of them.
    """
    task: dict[str, Any] = {
        "task": benchmark.name,
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(rows)}, "cache_dir": str(cache)},
        "test_split": "test",
        "output_type": "generate_until",
        "doc_to_text": write_template(benchmark.prompt),
        "generation_kwargs": {
            "until": list(benchmark.stop),
            "max_gen_toks": benchmark.max_new_tokens,
            "do_sample": False,
            "temperature": 0.0,
        },
        "num_fewshot": len(benchmark.few_shots),
        "metadata": {"version": benchmark.version},
    }
    if benchmark.few_shots:
        task["fewshot_config"] = {
            "sampler": "first_n",
            "samples": [{**shot.fields, "reply": shot.reply} for shot in benchmark.few_shots],
            "doc_to_target": "{{ reply }}",
        }
    exact_match = {"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}
    if benchmark.parser == "choice_letter":
        task["doc_to_target"] = "{{ 'ABCDE'[solution | int - 1] }}"
        find = {"function": "regex", "regex_pattern": CHOICE_PATTERN, "group_select": -1}
    else:
        task["doc_to_target"] = "{{ answer }}"
        find = {"function": "remove_whitespace"}
        exact_match |= {"ignore_case": True, "ignore_punctuation": True, "regexes_to_ignore": [r"\s+"]}
    task["filter_list"] = [{"name": "answer", "filter": [find, {"function": "take_first"}]}]
    task["metric_list"] = [exact_match]
    return task


def write_template(prompt: str) -> str:
    """Return a benchmark's prompt as a Jinja template; what is not a place stays literal."""
    parts = [prompt]
    for place in _PLACES:
        parts = [
            piece
            for part in parts
            for number, text in enumerate(part.split(place) if part not in _PLACES else [part])
            for piece in ([place, text] if number else [text])
        ]
    return "".join(
        _PLACES.get(part) or (f"{{% raw %}}{part}{{% endraw %}}" if part else "") for part in parts
    )
