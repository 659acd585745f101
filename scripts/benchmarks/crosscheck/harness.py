"""EleutherAI's lm-evaluation-harness on our items.

It loads the model, applies the chat template, generates, extracts the answers and scores them, all by its own
code.
"""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

from lanekit.spec.evaluation import EngineParams

UNPARSED = "[invalid]"  # the harness's word for a reply that its regular expression does not match
BATCH_SIZE = 16  # its own; ours is another, so that nothing rests on equal batches


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
    with record_token_ids(lm) as given:
        results = run_tasks(lm, tasks)
    answers: dict[str, list[Answer]] = {}
    for name, samples in results["samples"].items():
        answers[name] = [read_sample(lm, s) for s in sorted(samples, key=lambda s: int(s["doc_id"]))]
    expected = Counter(answer.token_ids for found in answers.values() for answer in found)
    if expected != given:
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


@contextmanager
def record_token_ids(lm: Any) -> Iterator[Counter[tuple[int, ...]]]:
    """Count the token ids that a harness model is given, padding left out."""
    given: Counter[tuple[int, ...]] = Counter()
    generate = lm._model_generate

    def note(*args: Any, **kwargs: Any) -> Any:
        if "requests" in kwargs:
            given.update(tuple(ids) for ids in kwargs["requests"])
        else:
            rows = zip(kwargs["context"].tolist(), kwargs["attention_mask"].tolist(), strict=True)
            given.update(tuple(i for i, kept in zip(ids, mask, strict=True) if kept) for ids, mask in rows)
        return generate(*args, **kwargs)

    with mock.patch.object(lm, "_model_generate", note):
        yield given


def quiet_down() -> None:
    """Keep the libraries off the network, and the harness's talk to errors."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
