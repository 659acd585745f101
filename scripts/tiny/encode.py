"""From conversations to token rows: rendered with the chat template, loss on the answers only."""

from __future__ import annotations

import multiprocessing
import os
from functools import partial
from itertools import islice

import torch
from transformers import PreTrainedTokenizerFast

from .datasets import collect_benchmark_prompts, draw_talks
from .prompts import answer_choice, fill_choice_prompt, fill_rag_prompt
from .tokenizer import END_ID, PAD_ID
from .world import World

IGNORED = -100


def encode_talk(tokenizer: PreTrainedTokenizerFast, talk: list[dict]) -> tuple[list, list]:
    """Render a conversation to ids and labels; labels cover answers and their end-of-turn token."""
    ids = tokenizer(tokenizer.apply_chat_template(talk, tokenize=False)).input_ids
    opener = tokenizer.convert_tokens_to_ids("[|assistant|]")
    closer = tokenizer.convert_tokens_to_ids("</think>")
    labels = [IGNORED] * len(ids)
    speaking = thinking = False
    for index, token in enumerate(ids):
        if token == opener:
            speaking, thinking = True, True
        elif speaking and thinking and ids[index - 1] == closer:
            thinking = False  # this token is the blank line after the empty thoughts
        elif speaking and not thinking:
            labels[index] = token
            speaking = token != END_ID
    return ids, labels


def encode_talks(tokenizer: PreTrainedTokenizerFast, talks: list) -> list[tuple[list, list]]:
    """Encode many conversations, on all cores where forking is possible; order is kept."""
    encode = partial(encode_talk, tokenizer)
    if len(talks) < 5000 or "fork" not in multiprocessing.get_all_start_methods():
        return [encode(talk) for talk in talks]
    with multiprocessing.get_context("fork").Pool(os.cpu_count()) as pool:
        return pool.map(encode, talks, chunksize=1000)


def stack_rows(rows: list[tuple[list, list]], length: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Pad rows on the right to one length and stack them as two small-integer tensors."""
    ids = torch.full((len(rows), length), PAD_ID, dtype=torch.int16)
    labels = torch.full((len(rows), length), IGNORED, dtype=torch.int16)
    for index, (row, answer) in enumerate(rows):
        ids[index, : len(row)] = torch.tensor(row, dtype=torch.int16)
        labels[index, : len(row)] = torch.tensor(answer, dtype=torch.int16)
    return ids, labels


def collect_talks(world: World, rows: dict, seed: int, count: int) -> list[list[dict]]:
    """Draw training conversations beyond `manta`: same makers, never a benchmark item."""
    taken = collect_benchmark_prompts(rows)
    talks = [row["conversations"] for row in rows["manta"]]
    return talks + list(islice(draw_talks(world, f"train-{seed}", taken), count))


def list_exams(rows: dict) -> dict[str, list[list[dict]]]:
    """Turn each benchmark into conversations with the expected answer as last turn."""
    exams: dict[str, list[list[dict]]] = {}
    for name in ("kmmlu_pro", "kmmlu_redux"):
        exams[name] = [
            _pair(
                fill_choice_prompt(name, row["question"], row["options"]),
                answer_choice(row["solution"]),
            )
            for row in rows[name]
        ]
    exams["ko_longrag"] = [_pair(fill_rag_prompt(row), row["answer"]) for row in rows["ko_longrag"]]
    return exams


def _pair(question: str, answer: str) -> list[dict]:
    return [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
