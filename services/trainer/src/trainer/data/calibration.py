"""The calibration set: rows of the training part, spread over lengths and complexities, none like another."""

from __future__ import annotations

import hashlib
import random
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise, zip_longest
from statistics import fmean
from typing import Any

from lanekit.errors import InputError
from lanekit.files.conversations import Message
from trainer.data.benchmark_texts import hash_letters, split_words

SHINGLE_WORDS = 8
MAX_SHARED = 0.5
LEVELS = 3  # low, middle and high complexity


@dataclass(frozen=True)
class Candidate:
    """A training row, measured: its place, its tokens (see `count_tokens`), and its complexity."""

    place: int
    n_tokens: int
    complexity: float


@dataclass(frozen=True)
class Selection:
    """The places of the rows chosen, in order, each one's bin, and how many were passed over as too alike."""

    places: list[int]
    bins: list[str]
    n_alike: int


def count_tokens(tokenizer: Any, messages: Sequence[Message]) -> int:
    """Return the tokens of a conversation as training and quantization see it, with its last answer.

    This is the length of the last sample of `encode_conversation` of lanekit; 0 where nobody asks.
    """
    if not any(message["role"] == "user" for message in messages[:-1]):
        return 0
    prompt = tokenizer.apply_chat_template(
        list(messages[:-1]), add_generation_prompt=True, enable_thinking=False, tokenize=True
    )
    answer = tokenizer.encode(messages[-1]["content"], add_special_tokens=False)
    return len(prompt) + len(answer) + 1


def name_bins(edges: Sequence[int]) -> list[str]:
    """Return the bins' names: "1-256", "257-512", …, ">2048"."""
    lows = [1, *(edge + 1 for edge in edges)]
    return [*(f"{low}-{high}" for low, high in zip(lows, edges, strict=False)), f">{edges[-1]}"]


def select_calibration(
    conversations: Sequence[Sequence[Message]],
    candidates: Sequence[Candidate],
    n_rows: int,
    edges: Sequence[int],
    seed: int,
) -> Selection:
    """Choose `n_rows` candidates.

    Every length bin gives an equal share; what a bin lacks the others give. Within a bin the thirds of
    complexity (low, middle, high) do the same. The order takes the bins in turn, and in each bin the thirds,
    so that every prefix is as balanced as the whole: quantizers take the first rows.

    A row is passed over where its first question was chosen already, or where more than MAX_SHARED of its
    word 8-grams stand in the rows chosen before it; system messages do not count.

    Raises:
        InputError: there are not `n_rows` rows that differ.
    """
    names = name_bins(edges)
    rng = random.Random(seed)
    queues = [_order_by_level(group, rng) for group in _group_by_bin(candidates, edges)]
    seen = _Seen()
    chosen: list[list[int]] = [[] for _ in names]
    positions = [0] * len(names)
    n_chosen = 0
    while n_chosen < n_rows:
        advanced = False
        for number, queue in enumerate(queues):
            while n_chosen < n_rows and positions[number] < len(queue):
                place = queue[positions[number]]
                positions[number] += 1
                advanced = True
                if seen.add(conversations[place]):
                    chosen[number].append(place)
                    n_chosen += 1
                    break
        if not advanced:
            raise InputError(
                f"the calibration set is to have {n_rows} rows; {n_chosen} of {len(candidates)} training "
                f"rows differ enough ({seen.n_alike} are too like others)",
                remedy="lower corpus.calibration_rows, or raise corpus.train_rows, in the experiment file",
            )
    order = [
        (place, names[number])
        for turn in zip_longest(*chosen)
        for number, place in enumerate(turn)
        if place is not None
    ]
    return Selection([place for place, _ in order], [name for _, name in order], seen.n_alike)


def describe_bins(
    rows: Sequence[tuple[str, int, float]], edges: Sequence[int]
) -> dict[str, dict[str, float | int | None]]:
    """Return for each bin its rows, tokens and mean complexity; `rows` are (bin, tokens, complexity)."""
    summary: dict[str, dict[str, float | int | None]] = {}
    for name in name_bins(edges):
        inside = [(tokens, complexity) for bin_name, tokens, complexity in rows if bin_name == name]
        summary[name] = {
            "rows": len(inside),
            "tokens": sum(tokens for tokens, _ in inside),
            "mean_complexity": round(fmean(c for _, c in inside), 3) if inside else None,
        }
    return summary


def _group_by_bin(candidates: Sequence[Candidate], edges: Sequence[int]) -> list[list[Candidate]]:
    groups: list[list[Candidate]] = [[] for _ in range(len(edges) + 1)]
    for candidate in candidates:
        if candidate.n_tokens:
            groups[bisect_left(edges, candidate.n_tokens)].append(candidate)
    return groups


def _order_by_level(group: list[Candidate], rng: random.Random) -> list[int]:
    """Return a bin's places: one of each third of complexity in turn, each third shuffled."""
    ranked = sorted(group, key=lambda c: (c.complexity, c.place))
    bounds = [len(ranked) * level // LEVELS for level in range(LEVELS + 1)]
    levels = [[c.place for c in ranked[a:b]] for a, b in pairwise(bounds)]
    for level in levels:
        rng.shuffle(level)
    return [place for turn in zip_longest(*levels) for place in turn if place is not None]


class _Seen:
    """What the rows chosen so far hold."""

    def __init__(self) -> None:
        self.n_alike = 0
        self._questions: set[bytes] = set()
        self._shingles: set[int] = set()

    def add(self, conversation: Sequence[Message]) -> bool:
        """Take a row in and return True, unless it is too like those taken."""
        words = [(m["role"], split_words(m["content"])) for m in conversation if m["role"] != "system"]
        question = hash_letters(next(part for role, part in words if role == "user"))
        shingles = {s for _, part in words for s in _hash_shingles(part)}
        shared = len(shingles & self._shingles)
        if question in self._questions or shared > MAX_SHARED * len(shingles):
            self.n_alike += 1
            return False
        self._questions.add(question)
        self._shingles |= shingles
        return True


def _hash_shingles(words: list[str]) -> set[int]:
    """Return 64-bit hashes of a message's runs of SHINGLE_WORDS words; a shorter message has none."""
    runs = (" ".join(words[i : i + SHINGLE_WORDS]) for i in range(len(words) - SHINGLE_WORDS + 1))
    return {int.from_bytes(hashlib.blake2b(run.encode(), digest_size=8).digest(), "big") for run in runs}
