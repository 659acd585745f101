"""Encoding: what is trained on is what the evaluator asks, and only the answers count."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from lanekit.errors import InputError
from lanekit.files.conversations import IGNORED_LABEL, encode_conversation, encode_corpus
from trainer.models.dense import load_tokenizer
from trainer.models.training import PadCollator
from trainer.stages.distill import compute_distillation_loss

TALK = [
    {"role": "user", "content": "첫 질문"},
    {"role": "assistant", "content": "첫 답"},
    {"role": "user", "content": "둘째 질문"},
    {"role": "assistant", "content": "둘째 답"},
]


def test_each_answer_is_a_sample_after_the_evaluators_prompt(tiny_model: Path) -> None:
    tokenizer = load_tokenizer(tiny_model)
    samples = encode_conversation(tokenizer, TALK, 512).samples
    assert len(samples) == 2
    for sample, end in zip(samples, (1, 3), strict=True):
        answer = [i for i in sample["labels"] if i != IGNORED_LABEL]
        assert tokenizer.decode(answer[:-1]) == TALK[end]["content"]
        assert answer[-1] == tokenizer.eos_token_id
        prompt = tokenizer.decode(sample["input_ids"][: len(sample["input_ids"]) - len(answer)])
        assert prompt.endswith("[|assistant|]\n<think>\n\n</think>\n\n")
    assert "첫 답" in tokenizer.decode(samples[1]["input_ids"])


def test_a_long_answer_is_cut_and_a_long_prompt_left_out(tiny_model: Path) -> None:
    tokenizer = load_tokenizer(tiny_model)
    full = encode_conversation(tokenizer, TALK[:2], 512).samples[0]
    prompt_length = full["labels"].count(IGNORED_LABEL)
    cut = encode_conversation(tokenizer, TALK[:2], prompt_length + 1).samples[0]
    assert cut["input_ids"] == full["input_ids"][: prompt_length + 1]
    assert encode_conversation(tokenizer, TALK[:2], prompt_length).samples == []


def test_an_unasked_or_empty_answer_is_no_sample(tiny_model: Path) -> None:
    tokenizer = load_tokenizer(tiny_model)
    greeting = {"role": "assistant", "content": "안녕"}
    silent = {"role": "assistant", "content": " "}
    assert encode_conversation(tokenizer, [greeting], 512).samples == []
    samples = encode_conversation(tokenizer, [greeting, TALK[0], silent, *TALK[2:]], 512).samples
    assert len(samples) == 1


def write_talks(path: Path, talks: list[list[dict[str, str]]]) -> Path:
    lines = (json.dumps({"conversations": talk}, ensure_ascii=False) for talk in talks)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_what_does_not_fit_is_counted_and_told(tiny_model: Path, tmp_path: Path) -> None:
    tokenizer = load_tokenizer(tiny_model)
    short = encode_conversation(tokenizer, TALK[:2], 512).samples[0]
    max_length = len(short["input_ids"]) - 1  # cuts the short answer; the longer prompts fill it alone
    path = write_talks(tmp_path / "train.jsonl", [TALK[:2], TALK, [*TALK[:1], *TALK[2:3], TALK[3]]])
    corpus = encode_corpus(tokenizer, path, max_length)
    assert corpus.as_report() == {
        "conversations": 3, "samples": 2, "answers_left_out": 2, "answers_cut": 2,
        "conversations_without_sample": 1,
    }  # fmt: skip
    assert corpus.describe("train") == [
        "train: of 4 answers in 3 conversations 2 are left out (the prompt alone fills "
        f"max_length={max_length} tokens) and 2 are cut there"
    ]
    assert encode_corpus(tokenizer, path, 512).describe("train") == []


def test_a_calibration_set_is_counted_in_conversations_alone(tiny_model: Path, tmp_path: Path) -> None:
    tokenizer = load_tokenizer(tiny_model)
    path = write_talks(tmp_path / "calibration.jsonl", [TALK, TALK[:2], TALK])
    both = encode_conversation(tokenizer, TALK, 512).samples
    found = encode_corpus(tokenizer, path, 512, 2, last_answers=True)
    assert [s["input_ids"] for s in found.samples] == [both[1]["input_ids"], both[0]["input_ids"]]
    assert found.describe_calibration(2) == []
    assert found.report_calibration(2)["calibration_rows"] == 2
    lacking = encode_corpus(tokenizer, path, 512, 5000, last_answers=True)
    assert lacking.describe_calibration(5000) == [
        "calibration: 5000 conversations are asked for, 3 are used; "
        "the corpus has 3 (corpus.calibration_rows)"
    ]
    assert lacking.report_calibration(5000) == {
        "calibration_rows_asked": 5000, "calibration_rows": 3, "calibration_sequences": 3,
        "calibration_tokens": 2 * len(both[1]["input_ids"]) + len(both[0]["input_ids"]),
    }  # fmt: skip


def test_a_corpus_without_a_fitting_sample_is_refused(tiny_model: Path, corpus: Path) -> None:
    with pytest.raises(InputError, match="max_length=3"):
        encode_corpus(load_tokenizer(tiny_model), corpus / "train.jsonl", 3)


def test_padding_is_masked_and_never_a_label() -> None:
    batch = PadCollator(0)(
        [{"input_ids": [5, 6, 7], "labels": [-100, 6, 7]}, {"input_ids": [8], "labels": [8]}]
    )
    assert batch["input_ids"].tolist() == [[5, 6, 7], [8, 0, 0]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1], [1, 0, 0]]
    assert batch["labels"].tolist() == [[-100, 6, 7], [8, -100, -100]]


def test_distillation_loss_is_the_textbooks_over_masked_tokens() -> None:
    generator = torch.Generator().manual_seed(42)
    student = torch.randn(2, 3, 5, generator=generator)
    teacher = torch.randn(2, 3, 5, generator=generator)
    mask = torch.tensor([[True, True, False], [True, False, False]])
    temperature = 2.0
    expected = 0.0
    for row, column in mask.nonzero().tolist():
        p = torch.softmax(teacher[row, column] / temperature, dim=-1)
        q = torch.softmax(student[row, column] / temperature, dim=-1)
        expected += float((p * (p / q).log()).sum()) * temperature**2
    loss = compute_distillation_loss(student, teacher, mask, temperature)
    assert float(loss) == pytest.approx(expected / 3, rel=1e-5)
    assert float(compute_distillation_loss(teacher, teacher, mask, 2.0)) == pytest.approx(0.0, abs=1e-6)
