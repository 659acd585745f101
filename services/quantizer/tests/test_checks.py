"""What the quantizer looks at beside llmcompressor: calibration data, and errors that are no number."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from lanekit.files.finite_weights import NonFiniteWeightsError
from lanekit.spec.quantization import GptqParams
from quantizer.loading import load_calibration_set
from quantizer.stages.gptq import check_errors


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_an_error_of_gptq_that_is_no_number_names_its_layer(bad: float) -> None:
    check_errors({"a": 0.5, "b": 0.0})
    with pytest.raises(NonFiniteWeightsError, match="not finite at b") as caught:
        check_errors({"a": 0.5, "b": bad})
    assert "dampening" in caught.value.remedy


def test_a_calibration_set_is_counted_in_conversations(tiny_model: Path, corpus: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    spec = GptqParams(scheme="W4A16", calibration_rows=16, max_length=512)
    whole = load_calibration_set(tokenizer, corpus, spec)
    assert len(whole.sequences) == whole.report["calibration_rows"] == 16
    assert whole.notes == []
    lacking = load_calibration_set(tokenizer, corpus, GptqParams(scheme="W4A16", calibration_rows=5000))
    assert lacking.report["calibration_rows_asked"] == 5000
    assert lacking.report["calibration_rows"] == lacking.report["calibration_sequences"] == 32
    assert "5000 conversations are asked for, 32 are used" in lacking.notes[0]
