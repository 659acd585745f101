"""Layers that are kept by what quantizing them costs: planned as a run of its own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from lanekit.plan.planner import Planner
from lanekit.spec.evaluation import EngineParams
from lanekit.spec.experiment_file import load_experiment_lanes
from lanekit.spec.params import Parameters
from lanekit.spec.quantization import Fp8Params, GptqParams, RoundParams


@pytest.fixture
def planner(lanes_folder: Path, lock_digests: Mapping[str, str]) -> Planner:
    experiment, _ = load_experiment_lanes(lanes_folder / "experiment.yaml")
    data = {name: s.model_copy(update={"digest": f"of {name}"}) for name, s in experiment.data.items()}
    base = experiment.base_model.model_copy(update={"digest": "of the base"})
    planned = experiment.model_copy(update={"data": data, "base_model": base})
    return Planner(planned, EngineParams(engine="transformers"), lock_digests)


def keep(budget_mb: float, **changes: Any) -> dict[str, Any]:
    return {"keep": {"by": "sensitivity", "budget_mb": budget_mb, **changes}}


def test_one_measurement_serves_every_budget_and_method(planner: Planner) -> None:
    base = planner.add_base()
    stages: list[tuple[str, Parameters]] = [
        ("gptq", GptqParams.model_validate({"scheme": "W4A16", **keep(20)})),
        ("gptq", GptqParams.model_validate({"scheme": "W4A16", **keep(40)})),
        ("round", RoundParams.model_validate({"scheme": "W4A16", **keep(40)})),
        ("round", RoundParams.model_validate({"scheme": "W8A8", **keep(40)})),
        ("fp8", Fp8Params.model_validate({"scheme": "FP8_DYNAMIC", **keep(40, rows=4)})),
    ]
    keys = [planner.add_chain(base, [stage])[0] for stage in stages]
    runs = [planner.plan.runs[key] for key in keys]
    assert len(set(keys)) == len(keys)
    first, second, third, *others = (run.inputs["sensitivity"] for run in runs)
    assert first == second == third and len({first, *others}) == 3
    measured = planner.plan.runs[first]
    assert measured.type.name == "sensitivity"
    assert measured.inputs == {"model": base, "corpus": runs[0].inputs["corpus"]}
    assert measured.params.model_dump(mode="json") == {
        "scheme": "W4A16", "ignore": ["lm_head"], "rows": 16, "max_length": 512,
    }  # fmt: skip


def test_it_is_measured_on_the_model_that_is_quantized_and_drawn_anew(planner: Planner) -> None:
    base = planner.add_base()
    stage = ("gptq", GptqParams.model_validate({"scheme": "W4A16", **keep(20)}))
    other, again = planner.add_base(), planner.add_chain(base, [stage], replicate=2)[0]
    assert other == base
    first = planner.add_chain(base, [stage])[0]
    measured = [planner.plan.runs[planner.plan.runs[key].inputs["sensitivity"]] for key in (first, again)]
    assert measured[0].inputs["corpus"] != measured[1].inputs["corpus"]


def test_nothing_is_measured_where_layers_are_named(planner: Planner) -> None:
    stage = ("gptq", GptqParams.model_validate({"scheme": "W4A16", "keep": {"layers": [0]}}))
    (key,) = planner.add_chain(planner.add_base(), [stage])
    assert "sensitivity" not in planner.plan.runs[key].inputs
