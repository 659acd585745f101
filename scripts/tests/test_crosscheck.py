"""The stage `evaluate` against lm-evaluation-harness on the tiny model; and that the check can fail."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from commands import ROOT, make_environment

from lanekit.spec.benchmark import Benchmark, Shot
from lanekit.spec.evaluation import EngineParams

pytest.importorskip("lm_eval", reason="lm_eval is not installed: ./scripts/dev test does it")

from benchmarks import crosscheck_lm_eval as crosscheck
from benchmarks.crosscheck import harness, tasks
from benchmarks.crosscheck.agreement import Agreement, count_unexplained
from benchmarks.crosscheck.causes import TieFinder
from benchmarks.crosscheck.harness import Answer
from benchmarks.crosscheck.ours import ask_ours, read_rows
from benchmarks.suite import load_benchmarks

SCRIPT = ROOT / "scripts" / "benchmarks" / "crosscheck_lm_eval.py"
MODEL = ROOT / "scripts" / "tiny" / "fixture"
ENGINE = EngineParams(engine="transformers", dtype="float32", device="cpu", max_model_len=4096, batch_size=32)
CUT_TOKENS = 90  # of ko_longrag's prompts, half are longer
FEW = 6
C, D = "정답: C", "정답: D"

Answers = Mapping[str, Sequence[Answer]]


@pytest.fixture(scope="module")
def benchmarks() -> list[Benchmark]:
    return load_benchmarks(max_prompt_tokens=CUT_TOKENS)


@pytest.fixture(scope="module")
def answers(data_folder: Path, benchmarks: list[Benchmark]) -> tuple[Answers, Answers]:
    """Every item, asked by the stage and by the harness."""
    return ask_both(MODEL, data_folder, benchmarks)


def ask_both(
    model: Path, suite: Path, benchmarks: Sequence[Benchmark], limit: int | None = None
) -> tuple[Answers, Answers]:
    ours, messages = ask_ours(model, suite, benchmarks, ENGINE, limit)
    rows = read_rows(suite, messages, limit)
    return ours, ask_harness(model, benchmarks, rows, suite.parent / "harness")


def ask_harness(model: Path, benchmarks: Sequence[Benchmark], rows: Any, work: Path) -> Answers:
    work.mkdir(exist_ok=True)
    return harness.answer_items(harness.load_model(model, ENGINE), tasks.make_tasks(benchmarks, rows, work))


def compare_few(ours: Answers, theirs: Answers) -> dict[str, Agreement]:
    theirs = {name: rows[:FEW] for name, rows in theirs.items() if name in ours}
    return crosscheck.compare_answers(ours, theirs, MODEL)


def list_differences(found: Mapping[str, Agreement]) -> list[tuple[str, int, str]]:
    """Return benchmark, item and the kind of every difference."""
    return [
        (each.benchmark, each.index, re.split(" in | on ", each.what)[0])
        for agreement in found.values()
        for each in agreement.differences
    ]


def damage_model(folder: Path, noise: float) -> Path:
    """Copy the tiny model with Gaussian noise on its matrices; `noise` is in their standard deviations."""
    import torch
    from safetensors.torch import load_file, save_file

    shutil.copytree(MODEL, folder)
    weights = load_file(MODEL / "model.safetensors")
    generator = torch.Generator().manual_seed(0)
    for name, tensor in weights.items():
        if tensor.ndim == 2:
            spread = tensor.float().std() * noise
            noisy = tensor.float() + torch.randn(tensor.shape, generator=generator) * spread
            weights[name] = noisy.to(tensor.dtype)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def test_all_items_agree(answers: tuple[Answers, Answers]) -> None:
    ours, theirs = answers
    found = crosscheck.compare_answers(ours, theirs, MODEL)
    assert {name: each.n_items for name, each in found.items()} == {
        "kmmlu_pro": 120, "kmmlu_redux": 120, "ko_longrag": 60,
    }  # fmt: skip
    assert list_differences(found) == []
    for each in found.values():
        counts = each.prompts_equal, each.replies_equal, each.answers_equal, each.verdicts_equal
        assert counts == (each.n_items,) * 4
        assert each.right_ours == each.right_theirs > 0.7
    assert sum(len(answer.token_ids) == CUT_TOKENS for answer in ours["ko_longrag"]) == 30


def test_rambling_replies_agree(data_folder: Path, benchmarks: list[Benchmark], tmp_path: Path) -> None:
    """A damaged model says all sorts of things; where only one side reads an answer, a rule says why."""
    model = damage_model(tmp_path / "damaged", noise=0.7)
    ours, theirs = ask_both(model, data_folder, benchmarks[1:], limit=20)
    found = crosscheck.compare_answers(ours, theirs, model)
    assert count_unexplained(found) == 0
    assert len({answer.reply for rows in ours.values() for answer in rows}) > 20
    assert {difference[2] for difference in list_differences(found)} <= {"reply", "answer read"}


def test_few_shots_and_stop_texts_agree(data_folder: Path, benchmarks: list[Benchmark]) -> None:
    rows = [json.loads(line) for line in (data_folder / "kmmlu_pro.jsonl").read_text("utf-8").splitlines()]
    shots = tuple(Shot(fields=row, reply=f"정답: {'ABCDE'[int(row['solution']) - 1]}") for row in rows[-2:])
    changed = [
        benchmarks[0].model_copy(update={"few_shots": shots}),
        benchmarks[2].model_copy(update={"stop": ("령", "사")}),
    ]
    ours, theirs = ask_both(MODEL, data_folder, changed, limit=12)
    found = crosscheck.compare_answers(ours, theirs, MODEL)
    assert list_differences(found) == []
    assert all(answer.token_ids.count(361) == 5 for answer in ours["kmmlu_pro"])  # ends of turns
    assert not any(set("령사") & set(answer.reply) for answer in ours["ko_longrag"])


def test_an_altered_item_shows(answers: tuple[Answers, Answers], data_folder: Path, tmp_path: Path) -> None:
    rows = [json.loads(line) for line in (data_folder / "kmmlu_pro.jsonl").read_text("utf-8").splitlines()]
    rows[1]["solution"] = str(int(rows[1]["solution"]) % 4 + 1)
    rows[2]["options"][:2] = reversed(rows[2]["options"][:2])
    lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    (tmp_path / "kmmlu_pro.jsonl").write_text("".join(lines), encoding="utf-8")
    benchmark = load_benchmarks()[0]
    ours, _ = ask_ours(MODEL, tmp_path, [benchmark], ENGINE, FEW)
    found = compare_few(ours, answers[1])
    assert list_differences(found) == [("kmmlu_pro", 1, "gold"), ("kmmlu_pro", 2, "prompt")]
    assert count_unexplained(found) == 2


def test_an_altered_prompt_shows(answers: tuple[Answers, Answers], data_folder: Path) -> None:
    benchmark = load_benchmarks()[1]
    benchmark = benchmark.model_copy(update={"prompt": benchmark.prompt + " "})
    ours, _ = ask_ours(MODEL, data_folder, [benchmark], ENGINE, FEW)
    found = compare_few(ours, answers[1])
    assert list_differences(found) == [("kmmlu_redux", index, "prompt") for index in range(FEW)]
    assert count_unexplained(found) == FEW


def test_an_altered_parser_shows(
    answers: tuple[Answers, Answers], data_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The public mistake of counting from 0: every letter is the next one."""
    from evaluator.quality import grade

    parse = grade.parse_choice
    monkeypatch.setattr(grade, "parse_choice", lambda said, n, *rest: shift_letter(parse(said, n, *rest), n))
    benchmarks = load_benchmarks()[:1]
    ours, _ = ask_ours(MODEL, data_folder, benchmarks, ENGINE, FEW)
    found = compare_few(ours, answers[1])
    assert list_differences(found) == [("kmmlu_pro", index, "answer read") for index in range(FEW)]
    assert count_unexplained(found) == FEW


def shift_letter(letter: str | None, n_options: int) -> str | None:
    return None if letter is None else "ABCDE"[("ABCDE".index(letter) + 1) % n_options]


def test_a_reply_parts_at_a_tie_or_not(answers: tuple[Answers, Answers], tmp_path: Path) -> None:
    """Two letters whose embeddings, and so logits, are alike are a tie; C and D of the model are none."""
    from safetensors.torch import load_file, save_file
    from transformers import AutoTokenizer

    said = next(answer for answer in answers[0]["kmmlu_pro"] if answer.reply == C)
    other = replace(said, reply=D)
    assert TieFinder(MODEL).explain(said, other) == ""
    found = crosscheck.compare_answers({"kmmlu_pro": [said]}, {"kmmlu_pro": [other]}, MODEL)
    assert [(d.what, d.cause) for d in found["kmmlu_pro"].differences] == [("reply", "")]

    tied = tmp_path / "tied"
    shutil.copytree(MODEL, tied)
    weights = load_file(MODEL / "model.safetensors")
    tokenizer = AutoTokenizer.from_pretrained(str(MODEL))
    c, d = (tokenizer(text, add_special_tokens=False)["input_ids"][-1] for text in (C, D))
    weights["model.embed_tokens.weight"][d] = weights["model.embed_tokens.weight"][c]
    save_file(weights, tied / "model.safetensors", metadata={"format": "pt"})
    assert "tie" in TieFinder(tied).explain(said, other)


def test_the_command_tells_and_exits(
    data_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    report = tmp_path / "crosscheck.json"
    options = ["--data", str(data_folder), "--limit", "4", "--json", str(report)]
    assert crosscheck.main(options) == 0
    assert "0 differences, 0 without a known cause" in capsys.readouterr().out
    written = json.loads(report.read_text(encoding="utf-8"))
    assert written["unexplained"] == 0
    assert written["benchmarks"]["ko_longrag"]["replies_equal"] == 4

    monkeypatch.setattr(tasks, "CHOICE_PATTERN", r"정답:\s*([A-C])")
    assert crosscheck.main(options) == 1
    assert "no known cause" in capsys.readouterr().out


@pytest.mark.vllm
@pytest.mark.skipif(importlib.util.find_spec("vllm") is None, reason="vLLM is not installed")
def test_all_items_agree_with_vllm(data_folder: Path, tmp_path: Path) -> None:
    report = tmp_path / "crosscheck.json"
    done = subprocess.run(
        [
            sys.executable, str(SCRIPT), "--engine", "vllm", "--data", str(data_folder),
            "--max-prompt-tokens", str(CUT_TOKENS), "--json", str(report),
        ],
        cwd=tmp_path, env=make_environment(), capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    benchmarks = json.loads(report.read_text(encoding="utf-8"))["benchmarks"]
    assert [each["replies_equal"] for each in benchmarks.values()] == [120, 120, 60]
    assert [each["verdicts_equal"] for each in benchmarks.values()] == [120, 120, 60]
