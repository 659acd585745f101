"""The strict YAML reader: golden errors, and properties that hold for any text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from lanekit.files.strict_yaml import InputProblems, parse_yaml, read_yaml

FILE = Path("lane.yaml")
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXT
NESTED = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=15,
)
WORDS = st.from_regex(r"[a-z][a-z_]{0,7}[a-z]", fullmatch=True).filter(
    lambda word: word not in ("on", "off", "yes", "no", "true", "false", "null")
)


@pytest.mark.slow
@given(NESTED)
def test_what_yaml_writes_reads_back_equal(value: Any) -> None:
    assert parse_yaml(yaml.safe_dump(value), FILE).data == value


@pytest.mark.slow
@given(NESTED)
def test_unescaped_text_reads_back_equal(value: Any) -> None:
    assert parse_yaml(yaml.safe_dump(value, allow_unicode=True), FILE).data == value


@given(st.text(max_size=60) | st.text(alphabet="ab:-[]{}&*!|>'\"#%@,? \n\t<=1.", max_size=40))
@example("[" * 3000)
@example("a: !!bool maybe")
@example("a: !!timestamp soon")
@example("a: !!int ''")
@example("a: !!float ''")
@example("a: 2026-02-31")
@example("a: !!python/object/apply:os.getcwd []")
@example("a: &x [*x]")
@example("? [1]\n: 2")
@example("--- 1\n--- 2\n")
@example("a: \ud800")
@example("a: \x00")
@example("")
@pytest.mark.slow
def test_any_text_gives_data_or_located_problems(text: str) -> None:
    try:
        document = parse_yaml(text, FILE)
    except InputProblems as error:
        assert error.problems
        assert all(p.line >= 1 and p.column >= 1 and p.message for p in error.problems)
    else:
        assert () in document.locations


@pytest.mark.slow
@given(st.lists(WORDS, min_size=1, max_size=8, unique=True), st.data(), st.integers(0, 3))
def test_a_repeated_key_is_always_refused_with_its_line(keys: list[str], data: Any, depth: int) -> None:
    first = data.draw(st.integers(0, len(keys) - 1))
    second = data.draw(st.integers(first + 1, len(keys)))
    repeated = [*keys[:second], keys[first], *keys[second:]]
    lines = ["  " * level + f"level{level}:" for level in range(depth)]
    lines += ["  " * depth + f"{key}: 1" for key in repeated]
    with pytest.raises(InputProblems) as caught:
        parse_yaml("\n".join(lines), FILE)
    (problem,) = caught.value.problems
    assert (problem.line, problem.column) == (depth + second + 1, 2 * depth + 1)
    assert problem.message == f"duplicate key '{keys[first]}' (first on line {depth + first + 1})"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "lane.yaml:1:1: the file is empty"),
        ("# only a comment\n", "lane.yaml:1:1: the file is empty"),
        (
            "title: a\nstages: [\n",
            "lane.yaml:3:1: not valid YAML: expected the node content, but found '<stream end>'",
        ),
        ("a: b: c\n", "lane.yaml:1:5: not valid YAML: mapping values are not allowed here"),
        ("a:\n\tb: 1\n", "lane.yaml:2:1: not valid YAML: found character '\\t' that cannot start any token"),
        ("a: 1\nb: 2\na: 3\n", "lane.yaml:3:1: duplicate key 'a' (first on line 1)"),
        (
            "stages:\n  - gptq: {scheme: W4A16, dampening: 0.01, scheme: W8A16}\n",
            "lane.yaml:2:44: duplicate key 'scheme' (first on line 2)",
        ),
        ("a: 1\n'a': 2\n", "lane.yaml:2:1: duplicate key 'a' (first on line 1)"),
        ("a: &x [*x]\n", "lane.yaml:1:4: an alias refers to the mapping or list that contains it"),
        ("a: *nobody\n", "lane.yaml:1:4: not valid YAML: found undefined alias 'nobody'"),
        ("? [1, 2]\n: 3\n", "lane.yaml:1:3: a key must be a plain word"),
        ("a: !!bool maybe\n", "lane.yaml:1:4: cannot read 'maybe' as bool: 'maybe'"),
        ("[" * 600, "lane.yaml:1:1: nested too deeply"),
        (
            "a: 2026-02-31\nb: !secret x\n",
            "lane.yaml:1:4: cannot read '2026-02-31' as timestamp: day is out of range for month\n"
            "lane.yaml:2:4: cannot read 'x' as !secret: could not determine a constructor for the tag "
            "'!secret'",
        ),
    ],
)  # fmt: skip
def test_golden_errors(text: str, expected: str) -> None:
    with pytest.raises(InputProblems) as caught:
        parse_yaml(text, FILE)
    assert str(caught.value) == expected


def test_all_problems_come_at_once_in_order() -> None:
    with pytest.raises(InputProblems) as caught:
        parse_yaml("a: 1\nb: {c: 1, c: 2}\na: 2\n? [x]\n: 1\n", FILE)
    assert [(p.line, p.column) for p in caught.value.problems] == [(2, 11), (3, 1), (4, 3)]


def test_aliases_that_unfold_without_end_are_refused() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    with pytest.raises(InputProblems, match="more than 100000 values"):
        parse_yaml("\n".join(lines), FILE)


def test_every_value_knows_its_place() -> None:
    document = parse_yaml("title: x\nstages:\n  - sft\n  - gptq:\n      scheme: W4A16\n", FILE)
    assert document.locate(("title",)) == (1, 1)
    assert document.locate(("stages", 0)) == (3, 5)
    assert document.locate(("stages", 1, "gptq", "scheme")) == (5, 7)
    assert document.locate(("stages", 1, "gptq", "no such")) == (4, 5)
    assert document.locate(("nothing",)) == (1, 1)


def test_unreadable_files_are_input_problems(tmp_path: Path) -> None:
    with pytest.raises(InputProblems, match=r"none\.yaml:1:1: cannot be read: .*No such file"):
        read_yaml(tmp_path / "none.yaml")
    (tmp_path / "utf16.yaml").write_bytes("title: 한국어".encode("utf-16"))
    with pytest.raises(InputProblems, match=r"utf16\.yaml:1:1: cannot be read: .*utf-8"):
        read_yaml(tmp_path / "utf16.yaml")
    with pytest.raises(InputProblems, match="1:1: cannot be read"):
        read_yaml(tmp_path)
