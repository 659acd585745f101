"""Golden tests of content keys: a changed key throws away every artifact that users have."""

from __future__ import annotations

import hashlib
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lanekit.errors import InputError
from lanekit.files.hashing import hash_source, write_canonical_json
from lanekit.plan.keys import compute_stage_key
from lanekit.sources.locks import hash_lock

GOLDEN_TEXT = (
    '{"environment":"e","inputs":{"corpus":"c","model":"m"},"parameters":{"dampening":0.01,"ignore":'
    '["lm_head"],"note":"한국어","seed":42},"stage":"gptq","version":3}'
)
GOLDEN_KEY = "191075d802c49a6dc496bb67cae13b6fcb3804fea66a9e594f62da38e6a68286"
PARAMETERS = {"seed": 42, "dampening": 0.01, "ignore": ["lm_head"], "note": "한국어"}


def test_key_is_the_golden_one() -> None:
    key = compute_stage_key("gptq", 3, PARAMETERS, {"model": "m", "corpus": "c"}, "e")
    assert key == GOLDEN_KEY
    assert hashlib.sha256(GOLDEN_TEXT.encode()).hexdigest() == GOLDEN_KEY


def test_order_does_not_change_the_key() -> None:
    shuffled = dict(reversed(list(PARAMETERS.items())))
    assert compute_stage_key("gptq", 3, shuffled, {"corpus": "c", "model": "m"}, "e") == GOLDEN_KEY


@pytest.mark.parametrize(
    "change",
    [
        {"stage": "fp8"},
        {"version": 4},
        {"inputs": {"model": "m2", "corpus": "c"}},
        {"inputs": {"teacher": "m", "corpus": "c"}},
        {"lock_digest": "e2"},
        *({"parameters": {**PARAMETERS, name: "changed"}} for name in PARAMETERS),
        {"parameters": {**PARAMETERS, "new": None}},
    ],
)
def test_every_change_changes_the_key(change: dict[str, Any]) -> None:
    call: dict[str, Any] = {
        "stage": "gptq", "version": 3, "parameters": PARAMETERS,
        "inputs": {"model": "m", "corpus": "c"}, "lock_digest": "e",
    }  # fmt: skip
    assert compute_stage_key(**{**call, **change}) != GOLDEN_KEY


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("nest", [lambda n: n, lambda n: {"a": [n]}, lambda n: ({"b": {"c": n}},)])
def test_numbers_that_are_not_finite_are_refused(number: float, nest: Any) -> None:
    with pytest.raises(ValueError, match="not a finite number"):
        write_canonical_json(nest(number))


@pytest.mark.parametrize("value", [{1: "a"}, {"a": {None: 1}}, {"a": {1, 2}}, object(), Path("x"), b"x"])
def test_what_is_not_json_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match=r"must be text|not a JSON value"):
        write_canonical_json(value)


@given(st.dictionaries(st.text(max_size=4), st.integers() | st.text(max_size=4), max_size=6))
def test_any_order_gives_one_text(value: dict[str, Any]) -> None:
    assert write_canonical_json(value) == write_canonical_json(dict(reversed(list(value.items()))))


def test_source_digest_follows_names_and_bytes_alone(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("one", "elsewhere")]
    for folder in folders:
        (folder / "sub").mkdir(parents=True)
        (folder / "sub" / "data.jsonl").write_bytes(b"{}\n")
        (folder / "config.json").write_bytes(b"{}")
    first, second = (hash_source(folder) for folder in folders)
    assert first == second
    (folders[1] / ".hidden").write_bytes(b"editor's swap file")
    assert hash_source(folders[1]) == first
    (folders[1] / "sub" / "data.jsonl").rename(folders[1] / "sub" / "other.jsonl")
    assert hash_source(folders[1]) != first


def test_missing_source_names_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for path in (tmp_path / "nothing.jsonl", tmp_path / "empty"):
        with pytest.raises(InputError, match="no such file, or a folder without files") as caught:
            hash_source(path)
        assert "01_prepare_data" in caught.value.remedy


def test_environment_digest_ignores_comments_alone(tmp_path: Path) -> None:
    texts = ["torch==2.9.1\n", "# compiled\n\n  torch==2.9.1  \n", "torch==2.9.2\n"]
    digests = []
    for number, text in enumerate(texts):
        path = tmp_path / f"{number}.lock"
        path.write_text(text, encoding="utf-8")
        digests.append(hash_lock(path))
    assert digests[0] == digests[1] != digests[2]
    with pytest.raises(InputError, match=r"lock is missing(.|\n)*dev lock"):
        hash_lock(tmp_path / "none.lock")
