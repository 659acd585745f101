"""Numbers in experiment, lane and benchmark files: no booleans, seeds in range, base 10."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from preflight_bench import Bench
from pydantic import ValidationError

from lanekit.commands.adhoc import make_params
from lanekit.errors import InputError
from lanekit.files.strict_yaml import InputProblems
from lanekit.spec.evaluation import SpeedSettings
from lanekit.spec.experiment_file import load_experiment_lanes
from lanekit.spec.judge import JudgeSettings
from lanekit.spec.params import DistillParams, RankParams


def explain(bench: Bench) -> str:
    with pytest.raises(InputProblems) as caught:
        load_experiment_lanes(bench.experiment)
    return str(caught.value).replace(f"{bench.folder}/", "")


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


@pytest.mark.parametrize(
    "stage",
    ["sft: {steps: yes, max_length: 8}", "sft: {learning_rate: on}", "gptq: {scheme: W8A16, dampening: true}",
     "prune: {keep_layers: yes}", "sft: {seed: no}"],
)  # fmt: skip
def test_a_boolean_in_a_lane_is_no_number(bench: Bench, stage: str) -> None:
    bench.write_lane("lane20_x", stage)
    text = explain(bench)
    assert text.startswith("lanes/lane20_x.yaml:4:") and "a number is wanted, not " in text


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("seed",), True), (("corpus", "train_rows"), True), (("corpus", "calibration_bins"), [1, True]),
        (("stage_defaults", "gptq", "max_length"), True), (("evaluation", "max_model_len"), True),
        (("evaluation", "limit_items"), False), (("speed", "batch_sizes"), [True, 4]),
        (("speed", "free_items"), False), (("scoring", "quality_weight"), True),
        (("scoring", "benchmark_weights", "kmmlu_pro"), True), (("packaging", "top_k"), True),
        (("data", "manta", "rows"), True), (("ranking", "margin"), True),
        (("base_model", "published_percent"), {"kmmlu_pro": True}),
        (("evaluation", "judge"), {"url": "http://j/v1", "model": "m", "max_tokens": True}),
    ],
)  # fmt: skip
def test_a_boolean_in_the_experiment_is_no_number(bench: Bench, place: tuple[str, ...], value: Any) -> None:
    def put(settings: dict[str, Any]) -> None:
        for key in place[:-1]:
            settings = settings.setdefault(key, {})
        settings[place[-1]] = value

    bench.change(put)
    text = explain(bench)
    line = int(text.split(":")[1])
    shown = bench.experiment.read_text(encoding="utf-8").splitlines()[line - 1]
    assert "a number is wanted, not " in text, text
    assert "true" in shown or "false" in shown, "the line is the one where the boolean stands"


def test_a_boolean_in_a_benchmark_is_no_number(bench: Bench) -> None:
    path = bench.lanes / "benchmarks" / "kmmlu_pro.yaml"
    settings = yaml.safe_load(path.read_text(encoding="utf-8")) | {"max_new_tokens": True}
    path.write_text(yaml.safe_dump(settings), encoding="utf-8")
    assert "max_new_tokens: a number is wanted, not true" in explain(bench)


def test_booleans_stay_where_they_belong(bench: Bench) -> None:
    bench.write_lane("lane20_x", "sft: {gradient_checkpointing: yes}")
    bench.change(lambda s: s["evaluation"].update(enforce_eager=True, enable_thinking=False))
    experiment, lanes = load_experiment_lanes(bench.experiment)
    assert experiment.evaluation.enforce_eager is True
    assert lanes[1].stages[0].params.model_dump()["gradient_checkpointing"] is True
    judge = JudgeSettings(url="http://j/v1", model="m", extra_body={"stream_options": True})
    assert judge.extra_body == {"stream_options": True}
    assert RankParams(records=({"x": True},), weights={"a": 0.5}).records == ({"x": True},)
    assert SpeedSettings(batch_sizes=(1, 8)).batch_sizes == (1, 8)


def test_a_boolean_in_an_option_is_no_number() -> None:
    with pytest.raises(InputError, match="steps: a number is wanted, not true"):
        make_params("sft", {"learning_rate": 1e-4, "batch_size": 1, "max_length": 8}, ["steps=yes"])


@pytest.mark.parametrize("seed", [-1, 2**32, 20261127000000])
def test_a_seed_out_of_range_is_refused_at_its_place(bench: Bench, seed: int) -> None:
    bench.change(lambda s: s.update(seed=seed))
    assert explain(bench).startswith("lanes/experiment.yaml:2:1: seed: Input should be ")
    bench.change(lambda s: s.update(seed=42))
    bench.write_lane("lane20_x", f"sft: {{seed: {seed}}}")
    assert explain(bench).startswith("lanes/lane20_x.yaml:4:11: seed: Input should be ")


def test_the_seeds_at_the_ends_of_the_range() -> None:
    values = {"steps": 1, "learning_rate": 1, "batch_size": 1, "max_length": 1}
    for seed in (0, 2**32 - 1):
        assert DistillParams.model_validate({**values, "seed": seed}).seed == seed
    with pytest.raises(ValidationError):
        DistillParams.model_validate({**values, "seed": 2**32})


@pytest.mark.parametrize("number", ["010", "1:30", "0_10", "-012", "1:30.5"])
def test_numbers_in_other_bases_are_refused(bench: Bench, number: str) -> None:
    bench.write_lane("lane20_x", f"sft: {{steps: {number}}}")
    assert f"'{number}' is a number in base 8 or 60 to YAML" in explain(bench)


@pytest.mark.parametrize("number", ["0", "10", "1_000", "1.0e-4", "0.5", "0x10"])
def test_numbers_that_are_meant_are_read(bench: Bench, number: str) -> None:
    bench.write_lane("lane20_x", f"sft: {{weight_decay: {number}}}")
    assert len(load_experiment_lanes(bench.experiment)[1]) == 2


@pytest.mark.parametrize("weight", [-0.5, "-0.5"])
def test_no_weight_is_negative(bench: Bench, weight: object) -> None:
    bench.change(lambda s: s["scoring"]["benchmark_weights"].update(kmmlu_pro=weight))
    assert "no weight may be negative" in explain(bench)


def test_faults_of_the_experiment_and_of_lanes_come_at_once(bench: Bench) -> None:
    bench.change(lambda s: s.update(seed=-1))
    bench.write_lane("lane20_x", "sft: {seed: -2}")
    bench.write_lane("lane21_x", "distill")  # what it takes from the experiment counts not as missing
    assert [line.split(" ")[0] for line in explain(bench).splitlines()] == [
        "lanes/experiment.yaml:2:1:", "lanes/lane20_x.yaml:4:11:",
    ]  # fmt: skip
