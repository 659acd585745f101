"""Two measures of a model on the benchmark files: fast teacher-forced, and real greedy decoding."""

from __future__ import annotations

import torch
from transformers import Exaone4ForCausalLM, PreTrainedTokenizerFast

from .encode import IGNORED, encode_talk, stack_rows

BATCH = 64


@torch.no_grad()
def score_forced(
    model: Exaone4ForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    exams: dict[str, list[list[dict]]],
) -> dict[str, float]:
    """Share of items whose every answer token is the model's first choice, for each benchmark.

    With greedy decoding the model writes exactly the expected answer on exactly these items, so
    one forward pass replaces generation.
    """
    model.eval()
    device = next(model.parameters()).device
    scores: dict[str, float] = {}
    for name, talks in exams.items():
        rows = [encode_talk(tokenizer, talk) for talk in talks]
        right = 0
        for start in range(0, len(rows), BATCH):
            part = rows[start : start + BATCH]
            padded = stack_rows(part, max(len(row) for row, _ in part))
            ids, labels = (tensor.long().to(device) for tensor in padded)
            best = model(ids, use_cache=False).logits[:, :-1].argmax(-1)
            wanted = labels[:, 1:]
            right += ((best == wanted) | (wanted == IGNORED)).all(-1).sum().item()
        scores[name] = round(right / len(rows), 4)
    return scores


@torch.no_grad()
def score_greedy(
    model: Exaone4ForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    exams: dict[str, list[list[dict]]],
    batch: int = 32,
) -> dict[str, float]:
    """Share of items answered exactly, by greedy generation through the chat template."""
    model.eval()
    device = next(model.parameters()).device
    scores: dict[str, float] = {}
    for name, talks in exams.items():
        right = 0
        for start in range(0, len(talks), batch):
            part = talks[start : start + batch]
            texts = [
                tokenizer.apply_chat_template(talk[:-1], tokenize=False, add_generation_prompt=True)
                for talk in part
            ]
            inputs = tokenizer(texts, return_tensors="pt", padding=True).to(device)
            inputs.pop("token_type_ids", None)
            output = model.generate(**inputs, max_new_tokens=16, do_sample=False)
            answers = tokenizer.batch_decode(
                output[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True
            )
            right += sum(
                answer.strip() == talk[-1]["content"] for answer, talk in zip(answers, part, strict=True)
            )
        scores[name] = round(right / len(talks), 4)
    return scores
