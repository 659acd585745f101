"""What pydantic found, in words."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import ValidationError

from lanekit.errors import first_finding
from lanekit.spec.params import FetchModelParams

ROOT = Path(__file__).parents[2]
ERRORS = {
    "LanekitError", "PermanentError", "InputError", "StoreError", "CorruptArtifactError", "TransientError",
    "MissingObjectError",
}  # fmt: skip


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ('{"name": "m", "model": {"source": "x", "rows": 0}}', "model.rows: Input should be greater than 0"),
        ('{"model": {}}', "name: Field required"),
        ("[]", "Input should be an object"),
        ("{", "Invalid JSON: EOF while parsing an object at line 1 column 1"),
    ],
)
def test_the_first_finding_has_its_place_where_it_has_one(content: str, words: str) -> None:
    with pytest.raises(ValidationError) as caught:
        FetchModelParams.model_validate_json(content)
    assert first_finding(caught.value) == words


def list_calls(source: str) -> Iterator[ast.Call]:
    """Give each call that makes one of our errors."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ERRORS:
            yield node


def has_remedy(call: ast.Call) -> bool:
    """Whether a call gives a remedy that is not plainly empty."""
    given = [keyword.value for keyword in call.keywords if keyword.arg == "remedy"]
    return bool(given) and not (isinstance(given[0], ast.Constant) and not given[0].value)


def test_every_error_of_ours_has_a_remedy() -> None:
    files = [*ROOT.glob("shared/src/**/*.py"), *ROOT.glob("services/*/src/**/*.py"),
             *(p for p in ROOT.glob("scripts/**/*.py") if "tests" not in p.parts)]  # fmt: skip
    assert len(files) > 200
    without = [
        f"{path.relative_to(ROOT)}:{call.lineno}"
        for path in files
        for call in list_calls(path.read_text(encoding="utf-8"))
        if not has_remedy(call)
    ]
    assert without == []


def test_a_missing_remedy_is_found() -> None:
    calls = list(list_calls('InputError("a")\nInputError("b", remedy="")\nInputError("c", remedy="d")'))
    assert [has_remedy(call) for call in calls] == [False, False, True]
