"""What pydantic found, in words."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from lanekit.errors import first_finding
from lanekit.spec.params import FetchModelParams


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
