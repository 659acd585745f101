"""Parameters of the quantizations: what came later leaves the keys of what was there before."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from pydantic import ValidationError

from lanekit.plan.graph import make_stage_run
from lanekit.plan.keys import compute_stage_key
from lanekit.spec.params import Parameters
from lanekit.spec.quantization import Fp8Params, GptqParams, KeptLayers, RoundParams
from lanekit.spec.stages import STAGE_TYPES

OLD_SHARED = {"ignore": ["lm_head"], "calibration_rows": 512, "max_length": 2048, "seed": 42}
OLD_FP8 = {**OLD_SHARED, "scheme": "FP8"}
OLD_GPTQ = {**OLD_SHARED, "scheme": "W4A16", "dampening": 0.01, "block_size": 128, "actorder": "static"}


@pytest.mark.parametrize(
    ("stage", "params", "written"),
    [("fp8", Fp8Params(scheme="FP8"), OLD_FP8), ("gptq", GptqParams(scheme="W4A16"), OLD_GPTQ)],
)
def test_keys_of_results_that_were_there_before_stay(
    lock_digests: Mapping[str, str], stage: str, params: Parameters, written: dict[str, Any]
) -> None:
    assert params.model_dump(mode="json") == written
    assert type(params).model_validate_json(params.model_dump_json()) == params
    digest = lock_digests["quantizer"]
    expected = compute_stage_key(stage, STAGE_TYPES[stage].version, written, {"model": "m"}, digest)
    assert make_stage_run(stage, params, {"model": "m"}, lock_digests).key == expected


@pytest.mark.parametrize(
    "params",
    [
        Fp8Params(scheme="FP8", format="modelopt"),
        Fp8Params(scheme="FP8", format="modelopt", kv_cache="fp8"),
        Fp8Params(scheme="FP8", keep=KeptLayers(layers=(0,))),
        Fp8Params(scheme="FP8", keep=KeptLayers(layers=(0, 1))),
    ],
)
def test_what_is_asked_for_is_written_and_read_again(
    lock_digests: Mapping[str, str], params: Fp8Params
) -> None:
    assert Fp8Params.model_validate_json(params.model_dump_json()) == params
    plain = make_stage_run("fp8", Fp8Params(scheme="FP8"), {}, lock_digests)
    assert make_stage_run("fp8", params, {}, lock_digests).key != plain.key


def test_kept_layers_are_the_same_in_every_order() -> None:
    assert KeptLayers(layers=(26, 0, 1)) == KeptLayers(layers=(0, 1, 26))


@pytest.mark.parametrize(
    ("kind", "values", "message"),
    [
        (Fp8Params, {"scheme": "FP8_DYNAMIC", "format": "modelopt"}, "static scales alone; take scheme: FP8"),
        (Fp8Params, {"scheme": "FP8", "kv_cache": "fp8"}, "kv_cache fp8 needs format: modelopt"),
        (RoundParams, {"scheme": "W8A8", "keep": {"layers": [1, 1]}}, "names a layer twice"),
        (RoundParams, {"scheme": "W8A8", "keep": {"layers": []}}, "and one of them"),
        (RoundParams, {"scheme": "W8A8", "keep": {}}, "and one of them"),
        (
            RoundParams,
            {"scheme": "W8A8", "keep": {"layers": [0], "by": "sensitivity", "budget_mb": 1}},
            "and one of them",
        ),
        (RoundParams, {"scheme": "W8A8", "keep": {"by": "sensitivity"}}, "goes with"),
        (
            RoundParams,
            {"scheme": "W8A8", "keep": {"by": "sensitivity", "budget_mb": 1, "count": 1}},
            "goes with",
        ),
        (RoundParams, {"scheme": "W8A8", "keep": {"layers": [0], "budget_mb": 1}}, "goes with"),
        (RoundParams, {"scheme": "W8A8", "keep": {"layers": [-1]}}, "greater than or equal to 0"),
        (RoundParams, {"scheme": "W8A8", "calibration_rows": 8}, "Extra inputs are not permitted"),
        (RoundParams, {"scheme": "FP8"}, "Input should be 'W4A16'"),
    ],
)
def test_what_cannot_be_is_refused(kind: type[Parameters], values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        kind.model_validate(values)


@pytest.mark.parametrize(
    ("stage", "params", "label"),
    [
        ("round", RoundParams(scheme="W4A16_ASYM"), "round_w4a16_asym"),
        ("fp8", Fp8Params(scheme="FP8"), "fp8"),
        ("fp8", Fp8Params(scheme="FP8_DYNAMIC"), "fp8_dynamic"),
        ("fp8", Fp8Params(scheme="FP8", format="modelopt"), "fp8_modelopt"),
        ("fp8", Fp8Params(scheme="FP8", format="modelopt", kv_cache="fp8"), "fp8_modelopt_kv8"),
    ],
)
def test_labels(stage: str, params: Parameters, label: str) -> None:
    assert STAGE_TYPES[stage].label(params) == label


def test_rounding_reads_no_data_unless_layers_are_to_be_chosen() -> None:
    stage = STAGE_TYPES["round"]
    assert not stage.needs_corpus(RoundParams(scheme="W8A8"))
    assert not stage.needs_corpus(RoundParams(scheme="W8A8", keep=KeptLayers(layers=(0,))))
    assert stage.needs_corpus(RoundParams(scheme="W8A8", keep=KeptLayers(by="sensitivity", budget_mb=1)))


def test_kept_layers_are_written_as_they_were_asked_for() -> None:
    assert KeptLayers(layers=(1, 0)).model_dump(mode="json") == {"layers": [0, 1]}
    chosen = {"by": "sensitivity", "budget_mb": 5.0, "rows": 4}
    assert KeptLayers.model_validate(chosen).model_dump(mode="json") == chosen
