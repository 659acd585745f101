"""The calibration set: lengths and complexities in equal shares, no two rows alike, balanced prefixes."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from lanekit.errors import InputError
from lanekit.files.conversations import Message, encode_conversation, read_conversations, read_json_lines
from trainer.data.calibration import Candidate, count_tokens, describe_bins, name_bins, select_calibration
from trainer.models.dense import load_tokenizer

EDGES = (10, 20, 40)


def make_talk(question: str, answer: str = "네.") -> list[Message]:
    return [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]


def make_pool(sizes: dict[int, int]) -> tuple[list[list[Message]], list[Candidate]]:
    """Make `sizes[tokens]` rows of that many tokens, complexities 0 … n−1."""
    talks: list[list[Message]] = []
    candidates: list[Candidate] = []
    for n_tokens, count in sizes.items():
        for level in range(count):
            candidates.append(Candidate(len(talks), n_tokens, float(level)))
            talks.append(make_talk(f"물음 {n_tokens} {level}"))
    return talks, candidates


def test_tokens_are_counted_as_training_counts_them(tiny_model: Path, data_folder: Path) -> None:
    tokenizer = load_tokenizer(tiny_model)
    rows = [row["conversations"] for _, row in read_json_lines(data_folder / "manta.jsonl")][:200]
    assert {len(row) for row in rows} >= {2, 3, 4, 6}, "with system messages and several turns"
    for row in rows:
        assert count_tokens(tokenizer, row) == len(
            encode_conversation(tokenizer, row, 10**6).samples[-1]["input_ids"]
        )
    assert count_tokens(tokenizer, [{"role": "assistant", "content": "혼잣말"}]) == 0


def test_bins_have_names_and_an_open_end() -> None:
    assert name_bins(EDGES) == ["1-10", "11-20", "21-40", ">40"]


def test_bins_and_complexities_have_equal_shares() -> None:
    talks, candidates = make_pool({10: 60, 11: 60, 40: 60, 41: 60})
    chosen = select_calibration(talks, candidates, 48, EDGES, seed=42)
    assert Counter(chosen.bins) == dict.fromkeys(name_bins(EDGES), 12)
    for name, n_tokens in zip(name_bins(EDGES), (10, 11, 40, 41), strict=True):
        inside = [candidates[p] for p, b in zip(chosen.places, chosen.bins, strict=True) if b == name]
        assert {c.n_tokens for c in inside} == {n_tokens}
        assert Counter(int(c.complexity) // 20 for c in inside) == {0: 4, 1: 4, 2: 4}
    assert len(set(chosen.places)) == 48


def test_a_short_bin_passes_its_share_on() -> None:
    talks, candidates = make_pool({5: 50, 15: 3, 30: 50})
    chosen = select_calibration(talks, candidates, 41, EDGES, seed=42)
    assert Counter(chosen.bins) == {"1-10": 19, "11-20": 3, "21-40": 19}


def test_every_prefix_is_balanced() -> None:
    talks, candidates = make_pool({5: 50, 15: 6, 30: 50})
    chosen = select_calibration(talks, candidates, 60, EDGES, seed=42)
    for end in range(1, 61):
        counts = Counter(chosen.bins[:end])
        assert counts["11-20"] >= min(6, end // 3)
        assert abs(counts["1-10"] - counts["21-40"]) <= 1


def test_the_choice_is_seeded() -> None:
    talks, candidates = make_pool({5: 50, 15: 50})
    first, again, other = (select_calibration(talks, candidates, 12, EDGES, seed) for seed in (42, 42, 7))
    assert first == again
    assert first.places != other.places


def test_rows_too_alike_are_passed_over() -> None:
    story = " ".join(f"낱말{i}" for i in range(40))
    talks = [
        make_talk("이야기를 써 주세요", "옛날 옛적에"),
        make_talk("이야기를  써 주세요!", "어느 마을에"),
        make_talk("하나를 물어요", story),
        make_talk("다른 것을 물어요", f"그렇다면 {story} 끝이다"),
        make_talk("또 다른 것", "가 나 다 라 마 바 사 아 자 차 카 타"),
    ]
    candidates = [Candidate(i, 5, 1.0) for i in range(5)]
    chosen = select_calibration(talks, candidates, 3, EDGES, seed=42)
    assert len({0, 1} & set(chosen.places)) == len({2, 3} & set(chosen.places)) == 1
    assert 4 in chosen.places
    with pytest.raises(InputError, match="is to have 4 rows; 3 of 5 training rows differ enough"):
        select_calibration(talks, candidates, 4, EDGES, seed=42)


def test_a_shared_system_message_makes_no_two_rows_alike() -> None:
    system = {"role": "system", "content": " ".join(f"지시{i}" for i in range(50))}
    talks = [[system, *make_talk(f"물음 {i}", f"대답 {i}")] for i in range(4)]
    candidates = [Candidate(i, 5, 1.0) for i in range(4)]
    assert len(select_calibration(talks, candidates, 4, EDGES, seed=42).places) == 4


def test_bins_are_described() -> None:
    rows = [("1-10", 4, 1.0), ("1-10", 6, 2.0), (">40", 50, 3.0)]
    described = describe_bins(rows, EDGES)
    assert described["1-10"] == {"rows": 2, "tokens": 10, "mean_complexity": 1.5}
    assert described["11-20"] == {"rows": 0, "tokens": 0, "mean_complexity": None}
    assert described[">40"]["tokens"] == 50


def test_the_stage_writes_rows_that_every_reader_reads(corpus: Path, tiny_model: Path) -> None:
    rows = [row for _, row in read_json_lines(corpus / "calibration.jsonl")]
    assert read_conversations(corpus / "calibration.jsonl") == [row["conversations"] for row in rows]
    train = {row["row"] for _, row in read_json_lines(corpus / "train.jsonl")}
    assert {row["row"] for row in rows} < train
    tokenizer = load_tokenizer(tiny_model)
    for row in rows:
        assert row["n_tokens"] == count_tokens(tokenizer, row["conversations"])
    report = json.loads((corpus / "report.json").read_text(encoding="utf-8"))
    bins = Counter(row["bin"] for row in rows)
    assert {name: b["rows"] for name, b in report["calibration_bins"].items() if b["rows"]} == bins
    assert sum(bins.values()) == report["calibration_rows"] == 64
