"""Which held-out tokens the screen reads, and in which batches."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from evaluator.screen.texts import (
    MAX_BATCH_TOKENS,
    Sequence,
    choose_sequences,
    describe_shortage,
    digest_sequences,
    plan_batches,
)
from lanekit.errors import InputError
from lanekit.spec.screen import ScreenSettings


class LetterTokenizer:
    """One token a letter; a prompt is its messages' letters; 0 ends an answer."""

    eos_token_id = 0

    def apply_chat_template(self, messages: list[dict[str, str]], **_: Any) -> list[int]:
        return [ord(letter) for message in messages for letter in message["content"]]

    def encode(self, text: str, **_: Any) -> list[int]:
        return [ord(letter) for letter in text]


def write_corpus(folder: Path, *conversations: tuple[str, ...]) -> Path:
    roles = ("user", "assistant")
    rows = [
        {"conversations": [{"role": roles[i % 2], "content": text} for i, text in enumerate(texts)]}
        for texts in conversations
    ]
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "validation.jsonl").write_text(lines, encoding="utf-8")
    return folder


def choose(corpus: Path, **settings: Any) -> list[tuple[str, str]]:
    """Return each sequence's prompt and what counts of its answer, its end as a full stop."""
    found = choose_sequences(LetterTokenizer(), corpus, ScreenSettings(**settings))
    return [
        ("".join(map(chr, sequence.ids[: sequence.first])), "".join(chr(i or 46) for i in sequence.targets))
        for sequence in found
    ]


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    return write_corpus(tmp_path, ("ab", "cde"), ("f", "g", "hi", "jklm"), ("x" * 30, "yz"))


def test_answers_alone_count_the_last_of_each_conversation_with_its_end(corpus: Path) -> None:
    assert choose(corpus) == [("ab", "cde."), ("fghi", "jklm."), ("x" * 30, "yz.")]


def test_a_conversation_gives_a_bounded_share_and_the_last_one_is_cut(corpus: Path) -> None:
    assert choose(corpus, sequence_tokens=3) == [("ab", "cde"), ("fghi", "jkl"), ("x" * 30, "yz.")]
    assert choose(corpus, sequence_tokens=3, max_tokens=5) == [("ab", "cde"), ("fghi", "jk")]
    assert choose(corpus, max_tokens=4) == [("ab", "cde.")]


def test_what_does_not_fit_falls_back_to_an_earlier_answer_or_is_left_out(corpus: Path) -> None:
    assert choose(corpus, max_length=4) == [("ab", "cd"), ("f", "g.")]
    with pytest.raises(InputError, match=r"no conversation fits into screen\.max_length=1 tokens") as error:
        choose(corpus, max_length=1)
    assert "max_length" in error.value.remedy


def test_a_corpus_without_its_validation_part_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"validation\.jsonl: no such file") as error:
        choose(tmp_path)
    assert error.value.remedy


def test_fewer_tokens_than_asked_for_are_told(corpus: Path) -> None:
    spec = ScreenSettings(max_tokens=13)
    found = choose_sequences(LetterTokenizer(), corpus, spec)
    (note,) = describe_shortage(found, spec)
    assert "13 tokens are asked for" in note and "has 12" in note
    assert describe_shortage(found, ScreenSettings(max_tokens=12)) == []


def test_the_digest_is_of_the_tokens_and_of_which_count() -> None:
    digests = {
        digest_sequences(x)
        for x in ([Sequence([1, 2, 3], 1)], [Sequence([1, 2, 3], 2)], [Sequence([1, 2], 1)])
    }
    assert len(digests) == 3
    assert digest_sequences([Sequence([1, 2], 1)]) in digests


def test_batches_hold_every_sequence_once_within_both_bounds() -> None:
    sequences = [
        Sequence([1] * n, n - counted) for n, counted in ((9, 4), (5, 2), (2000, 9), (7, 1), (2100, 1))
    ]
    assert plan_batches(sequences, vocab_size=100) == [[1, 3, 0], [2], [4]]
    assert 2 * 2100 > MAX_BATCH_TOKENS > 2100
    wide = 1 << 25  # four rows of logits in a batch
    assert plan_batches(sequences, wide) == [[1, 3], [0], [2], [4]]
