"""The contamination guard: does any benchmark item stand in a conversation? By n-gram and by hash.

A benchmark text of `ngram_words` words or more is found where that many of its words follow one another in
one message (the overlap test of Brown et al. 2020, who use 13); a shorter one where all of its words do. A
message that is a benchmark text but for its spacing is found by the hash of its letters. A window of words
counts as evidence from MIN_WORDS words and MIN_CHARACTERS letters on.

Words are numbered by the benchmarks' own vocabulary; a word that no benchmark has ends every window. Windows
are compared as 64-bit polynomial hashes, and each hit is confirmed word by word.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from trainer.data.benchmark_texts import ItemText, hash_letters, split_words

MIN_WORDS = 5
MIN_CHARACTERS = 20
CHUNK_WORDS = 1_000_000
MAX_EXCERPT = 200
_BASE = np.uint64(0x9E3779B97F4A7C15)  # odd, so that no word's hash is lost modulo 2^64

Conversation = Sequence[dict[str, str]]
Numbers = npt.NDArray[np.int32]
Hashes = npt.NDArray[np.uint64]


@dataclass(frozen=True)
class Match:
    """A benchmark text found in conversation `row` (its place among those given, from 0).

    `kind` is "words" for a run of words, "letters" for a whole message; `excerpt` holds the shared words.
    """

    benchmark: str
    item: str
    row: int
    kind: str
    excerpt: str

    def as_json(self, **more: Any) -> dict[str, Any]:
        """Return the match as a JSON object, with `more` over it."""
        return {**asdict(self), **more}


@dataclass(frozen=True)
class _Index:
    """Windows of one length: their hashes in order, and where each starts among the benchmark words."""

    hashes: Hashes
    starts: npt.NDArray[np.int64]


class Guard:
    """All benchmark texts, ready to be looked for.

    Attributes:
        n_items: the items, by benchmark.
        unchecked: by benchmark, the items without a text long enough to be evidence; only a whole message
            equal to one of them is found.
    """

    def __init__(self, texts: Iterable[ItemText], ngram_words: int = 13) -> None:
        self.ngram_words = ngram_words
        self._vocabulary: dict[str, int] = {}
        self._owners: list[ItemText] = []
        self._letters: dict[bytes, list[int]] = defaultdict(list)
        numbers: list[npt.NDArray[np.int32]] = []
        lengths: list[int] = []
        items: dict[str, dict[str, bool]] = {}
        for text in texts:
            words = split_words(text.text)
            is_evidence = len(words) >= min(MIN_WORDS, ngram_words) and (
                sum(map(len, words)) >= MIN_CHARACTERS
            )
            checked = items.setdefault(text.benchmark, {})
            checked[text.item] = checked.get(text.item, False) or is_evidence
            if words and (text.is_whole or is_evidence):
                self._letters[hash_letters(words)].append(len(self._owners))
            new = self._vocabulary
            numbers.append(np.array([new.setdefault(w, len(new) + 1) for w in words] + [0], np.int32))
            lengths.append(len(words) if is_evidence else 0)
            self._owners.append(ItemText(text.benchmark, text.item, "", text.is_whole))
        self.n_items = {name: len(checked) for name, checked in items.items()}
        self.unchecked = {name: [i for i, ok in checked.items() if not ok] for name, checked in items.items()}
        self._words = [""] * (len(self._vocabulary) + 1)
        for word, number in self._vocabulary.items():
            self._words[number] = word
        self._sizes = np.array([len(word) for word in self._words], np.int32)
        self._values = _spread(len(self._words))
        self._flat = np.concatenate(numbers) if numbers else np.zeros(1, np.int32)
        self._offsets = np.cumsum([0, *(len(part) for part in numbers)])
        self._indexes = self._build_indexes(lengths)

    def find(self, conversations: Sequence[Conversation]) -> list[Match]:
        """Return what is found, each benchmark item once a conversation, in their order."""
        matches: list[Match] = []
        for flat, rows, seen in self._read_chunks(conversations):
            matches += self._find_letters(seen)
            matches += self._find_words(flat, rows)
        unique = {(m.row, m.benchmark, m.item): m for m in reversed(matches)}
        return sorted(unique.values(), key=lambda m: (m.row, m.benchmark, m.item))

    def _build_indexes(self, lengths: list[int]) -> dict[int, _Index]:
        """Index every window of the long texts, and the short texts whole."""
        short: dict[int, list[int]] = defaultdict(list)
        is_long = np.zeros(len(self._flat), bool)
        for number, length in enumerate(lengths):
            start = int(self._offsets[number])
            if length >= self.ngram_words:
                is_long[start : start + length] = True
            elif length:
                short[length].append(start)
        indexes: dict[int, _Index] = {}
        wanted = {*short, self.ngram_words}
        for length, hashes, is_valid in self._hash_windows(self._flat, wanted):
            if length == self.ngram_words:
                starts = np.flatnonzero(is_valid & is_long[: len(hashes)])
            else:
                starts = np.array(short[length], np.int64)
            order = np.argsort(hashes[starts], kind="stable")
            if len(starts):
                indexes[length] = _Index(hashes[starts][order], starts[order])
        return indexes

    def _hash_windows(
        self, flat: Numbers, lengths: Iterable[int]
    ) -> Iterator[tuple[int, Hashes, npt.NDArray[np.bool_]]]:
        """Yield for each length the hash at every start, and whether that window is one text's evidence."""
        wanted = sorted(lengths)
        values = self._values[flat]
        gaps = np.concatenate([[0], np.cumsum(flat == 0, dtype=np.int64)])
        letters = np.concatenate([[0], np.cumsum(self._sizes[flat], dtype=np.int64)])
        hashes = np.zeros(len(flat), np.uint64)
        factor = np.uint64(1)
        with np.errstate(over="ignore"):
            for length in range(1, wanted[-1] + 1 if wanted else 0):
                n_starts = len(flat) - length + 1
                if n_starts <= 0:
                    return
                hashes = hashes[:n_starts] + values[length - 1 :] * factor
                factor = np.uint64(factor * _BASE)
                if length in wanted:
                    is_whole = gaps[length:] == gaps[:n_starts]
                    yield length, hashes, is_whole & (letters[length:] - letters[:n_starts] >= MIN_CHARACTERS)

    def _read_chunks(
        self, conversations: Sequence[Conversation]
    ) -> Iterator[tuple[Numbers, Numbers, list[tuple[int, list[str]]]]]:
        """Yield the words' numbers, the conversation of each, and the messages found by their letters."""
        flat: list[int] = []
        rows: list[int] = []
        seen: list[tuple[int, list[str]]] = []
        find = self._vocabulary.get
        for row, conversation in enumerate(conversations):
            for message in conversation:
                words = split_words(message["content"])
                if hash_letters(words) in self._letters:
                    seen.append((row, words))
                flat += [find(word, 0) for word in words]
                flat.append(0)
                rows += [row] * (len(words) + 1)
            if len(flat) >= CHUNK_WORDS:
                yield np.array(flat, np.int32), np.array(rows, np.int32), seen
                flat, rows, seen = [], [], []
        if flat:
            yield np.array(flat, np.int32), np.array(rows, np.int32), seen

    def _find_letters(self, seen: list[tuple[int, list[str]]]) -> Iterator[Match]:
        for row, words in seen:
            for owner in self._letters[hash_letters(words)]:
                text = self._owners[owner]
                yield Match(text.benchmark, text.item, row, "letters", " ".join(words)[:MAX_EXCERPT])

    def _find_words(self, flat: Numbers, rows: Numbers) -> Iterator[Match]:
        known: set[tuple[int, int]] = set()
        for length, hashes, is_valid in self._hash_windows(flat, self._indexes):
            index = self._indexes[length]
            starts = np.flatnonzero(is_valid)
            first = np.searchsorted(index.hashes, hashes[starts])
            is_hit = index.hashes[np.minimum(first, len(index.hashes) - 1)] == hashes[starts]
            for start, place in zip(starts[is_hit].tolist(), first[is_hit].tolist(), strict=True):
                window = flat[start : start + length]
                row = int(rows[start])
                while place < len(index.hashes) and index.hashes[place] == hashes[start]:
                    at = int(index.starts[place])
                    owner = int(np.searchsorted(self._offsets, at, side="right")) - 1
                    place += 1
                    if (row, owner) in known or not np.array_equal(self._flat[at : at + length], window):
                        continue
                    known.add((row, owner))
                    text = self._owners[owner]
                    shared = " ".join(self._words[number] for number in window)
                    yield Match(text.benchmark, text.item, row, "words", shared[:MAX_EXCERPT])


def count_items(matches: Iterable[Match], benchmarks: Iterable[str]) -> dict[str, int]:
    """Return how many distinct items of each benchmark are found."""
    found = Counter(benchmark for benchmark, _ in {(m.benchmark, m.item) for m in matches})
    return {name: found[name] for name in benchmarks}


def _spread(count: int) -> Hashes:
    """Return well-mixed 64-bit values of 0 … count − 1 (the finalizer of SplitMix64, Steele et al. 2014)."""
    with np.errstate(over="ignore"):
        value = (np.arange(count, dtype=np.uint64) + np.uint64(1)) * _BASE
        value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return np.asarray(value ^ (value >> np.uint64(31)), np.uint64)
