"""Benchmark files: every fault with its line and column."""

from __future__ import annotations

from pathlib import Path

import pytest

from lanekit.files.strict_yaml import InputProblems
from lanekit.spec.benchmark import Benchmark, list_options, render_choice_prompt
from lanekit.spec.experiment_file import load_benchmark

CHOICE = """\
name: kmmlu_pro
version: 3
parser: choice_letter
metric: accuracy
max_new_tokens: 24
prompt: |-
  {question}
  {options}
stop:
  - "\\n\\n"
few_shots:
  - fields: {question: "가?", options: [하나, 둘, 셋, 넷]}
    reply: "정답: B"
"""
DOCUMENTS = """\
name: ko_longrag
version: 3
parser: free_text
metric: f1
max_new_tokens: 24
prompt: "{prompt}"
few_shots:
  - fields: {titles: [가], context: 글, question: "나?", prompt: "{context} {question}"}
    reply: 답
"""
JUDGED = """\
name: komt_bench
version: 1
parser: free_text
metric: judge
max_new_tokens: 24
prompt: "{turn}"
"""


def write(folder: Path, text: str) -> Path:
    path = folder / f"{text.split()[1]}.yaml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("text", [CHOICE, DOCUMENTS, JUDGED])
def test_sound_files_are_read(tmp_path: Path, text: str) -> None:
    benchmark = load_benchmark(write(tmp_path, text))
    assert len(benchmark.few_shots) == text.count("fields")
    assert benchmark.count_new_tokens(thinking=False) == 24
    assert benchmark.count_new_tokens(thinking=True) == 4096


@pytest.mark.parametrize(
    ("text", "old", "new", "expected"),
    [
        (CHOICE, "  {options}", "  ", "6:1: the prompt lacks the place {options}"),
        (CHOICE, "choice_letter", "free_text",
         "3:1: the metric 'accuracy' goes with the parser 'choice_letter'"),
        (CHOICE, '"\\n\\n"', '""', "10:5: a stop text is empty"),
        (CHOICE, '"\\n\\n"', "3", "10:5: stop.0: Input should be a valid string, not 3"),
        (CHOICE, 'question: "가?", ', "", "12:5: the few-shot lacks question"),
        (CHOICE, "가?", "", "12:14: the few-shot's question must be a text"),
        (CHOICE, "[하나, 둘, 셋, 넷]", "하나",
         "12:30: the few-shot's options must be a list of texts"),
        (CHOICE, ", 넷", "", "12:30: a few-shot has 4 or 5 options, not 3"),
        (CHOICE, ", 넷", ", 4", "12:30: the few-shot's options must be a list of texts"),
        (CHOICE, '"정답: B"', '" "', "13:5: the few-shot's reply is empty"),
        (CHOICE, '    reply: "정답: B"\n', "", "12:5: 'few_shots.0.reply' is missing"),
        (CHOICE, "reply:", "replay:", "12:5: 'few_shots.0.reply' is missing"),
        (DOCUMENTS, "titles: [가], ", "", "8:5: the few-shot lacks titles"),
        (DOCUMENTS, "[가]", "가", "8:14: the few-shot's titles must be a list of texts"),
        (JUDGED, '"{turn}"', '"{turn}"\nfew_shots: [{fields: {}, reply: 답}]',
         "7:1: the metric 'judge' takes no few-shots"),
        (CHOICE, "few_shots", "few_shot", "11:1: unknown name 'few_shot' (did you mean 'few_shots'?)"),
    ],
)  # fmt: skip
def test_faults_have_a_place(tmp_path: Path, text: str, old: str, new: str, expected: str) -> None:
    assert text.count(old) == 1
    path = write(tmp_path, text.replace(old, new))
    with pytest.raises(InputProblems) as caught:
        load_benchmark(path)
    assert str(caught.value).replace(f"{path}:", "").startswith(expected)


def test_options_are_lettered_from_a(tmp_path: Path) -> None:
    benchmark: Benchmark = load_benchmark(write(tmp_path, CHOICE))
    assert list_options(["가", "나"]) == "A. 가\nB. 나"
    message = render_choice_prompt(benchmark, "{options}?", ["{question}", "나"])
    assert message == "{options}?\nA. {question}\nB. 나"
