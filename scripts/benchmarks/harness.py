"""EleutherAI's lm-evaluation-harness on our items.

It loads the model, applies the chat template, generates, extracts the answers and scores them, all by its own
code. A benchmark file becomes a task in its form: the prompt a Jinja template, the parser a regular
expression, the metric its `exact_match`.
"""

from __future__ import annotations

import json
import logging
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lanekit.spec.benchmark import Benchmark
from lanekit.spec.params import EngineParams

UNPARSED = "[invalid]"  # the harness's word for a reply that its regular expression does not match
CHOICE_PATTERN = r"정답:\s*([A-E])"
BATCH_SIZE = 16  # its own; ours is another, so that nothing rests on equal batches

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


@dataclass(frozen=True)
class Answer:
    """What the harness made of one item.

    `token_ids` are what it gave to its model; `parsed` is None where its filter found nothing; `n_options` is
    0 where there are none to choose from.
    """

    token_ids: tuple[int, ...]
    reply: str
    parsed: str | None
    gold: str
    correct: bool
    n_options: int = 0


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


def load_model(model: Path, engine: EngineParams) -> Any:
    """Have the harness load a model folder with its class for the engine, greedy and not thinking."""
    quiet_down()
    from lm_eval.api.registry import get_model

    if engine.engine == "transformers":
        return get_model("hf")(
            pretrained=str(model),
            device="cuda" if engine.device == "cuda" else "cpu",
            dtype=engine.dtype,
            max_length=engine.max_model_len,
            batch_size=BATCH_SIZE,
            enable_thinking=False,
        )
    return get_model("vllm")(
        pretrained=str(model),
        dtype=engine.dtype,
        max_model_len=engine.max_model_len,
        max_num_seqs=engine.batch_size,
        gpu_memory_utilization=engine.gpu_memory_utilization,
        enforce_eager=engine.enforce_eager,
        enable_prefix_caching=False,
        disable_log_stats=True,
        generation_config="vllm",
        seed=engine.seed,
        enable_thinking=False,
    )


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


def run_tasks(lm: Any, tasks: Sequence[Mapping[str, Any]], *, log_samples: bool = True) -> dict[str, Any]:
    """Run tasks on a loaded model and return the harness's own results."""
    from copy import deepcopy

    from lm_eval.evaluator import simple_evaluate
    from lm_eval.tasks import TaskManager

    results: dict[str, Any] = simple_evaluate(
        model=lm,
        tasks=[deepcopy(dict(task)) for task in tasks],  # the harness changes what it is given
        task_manager=TaskManager(include_defaults=False),
        apply_chat_template=True,
        fewshot_as_multiturn=True,
        bootstrap_iters=0,
        log_samples=log_samples,
    )
    return results


def answer_items(lm: Any, tasks: Sequence[Mapping[str, Any]]) -> dict[str, list[Answer]]:
    """Run tasks and return each one's answers, in the order of its rows.

    Raises:
        RuntimeError: the model was given other tokens than the harness's encoding of the prompts.
    """
    with _Recorder(lm) as recorder:
        results = run_tasks(lm, tasks)
    answers: dict[str, list[Answer]] = {}
    for name, samples in results["samples"].items():
        answers[name] = [read_sample(lm, s) for s in sorted(samples, key=lambda s: int(s["doc_id"]))]
    expected = Counter(answer.token_ids for found in answers.values() for answer in found)
    if expected != recorder.given:
        raise RuntimeError("the harness gave its model other tokens than its encoding of the prompts")
    return answers


def read_sample(lm: Any, sample: Mapping[str, Any]) -> Answer:
    """Return the answer in one of the harness's logged samples."""
    ((context, _),) = sample["arguments"]
    ((reply,),) = sample["resps"]
    (parsed,) = sample["filtered_resps"]
    return Answer(
        token_ids=tuple(lm.tok_encode(context)),
        reply=reply,
        parsed=None if parsed in (UNPARSED, "") else parsed,
        gold=str(sample["target"]),
        correct=bool(sample["exact_match"]),
        n_options=len(sample["doc"].get("options", ())),
    )


class _Recorder:
    """Notes the token ids that a harness model is given, padding left out."""

    def __init__(self, lm: Any) -> None:
        self.lm = lm
        self.given: Counter[tuple[int, ...]] = Counter()

    def __enter__(self) -> _Recorder:
        generate = self.lm._model_generate

        def note(*args: Any, **kwargs: Any) -> Any:
            if "requests" in kwargs:
                self.given.update(tuple(ids) for ids in kwargs["requests"])
            else:
                rows = zip(kwargs["context"].tolist(), kwargs["attention_mask"].tolist(), strict=True)
                self.given.update(
                    tuple(i for i, kept in zip(ids, mask, strict=True) if kept) for ids, mask in rows
                )
            return generate(*args, **kwargs)

        self.lm._model_generate = note
        return self

    def __exit__(self, *_: object) -> None:
        del self.lm._model_generate


def quiet_down() -> None:
    """Keep the libraries off the network, and the harness's talk to errors."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
