"""Replicates by name, what differs in them, and how a lane file or an option asks for them."""

from __future__ import annotations

from pathlib import Path

import pytest

from lanekit.errors import InputError
from lanekit.files.strict_yaml import InputProblems
from lanekit.plan.graph import ArtifactRef
from lanekit.spec.lane_file import LANE_NAME, Lane, load_lane, match_names, replicate_lanes
from lanekit.spec.numbers import SEED_HIGHEST
from lanekit.spec.params import Parameters, PruneParams, SftParams
from lanekit.spec.quantization import Fp8Params, GptqParams
from lanekit.spec.replicates import (
    MOST_REPLICATES,
    list_varied,
    name_replicate,
    shorten_name,
    split_replicate,
    vary_params,
    vary_seed,
)
from lanekit.spec.stages import STAGE_TYPES

LANE = "lane01_gptq_w4a16"
TEXT = "title: a\ngroup: b\nstages:\n  - gptq: {scheme: W8A16}\n"
SFT = SftParams(steps=1, learning_rate=0.1, batch_size=1, max_length=8, seed=7)


@pytest.mark.parametrize("number", [1, 2, 10, MOST_REPLICATES])
def test_a_name_says_lane_and_number(number: int) -> None:
    name = name_replicate(LANE, number)
    assert split_replicate(name) == (LANE, number)
    assert (name == LANE) == (number == 1)


def test_a_replicates_name_is_no_lanes_and_safe_everywhere() -> None:
    name = name_replicate(LANE, 3)
    assert name == "lane01_gptq_w4a16-r3"
    assert LANE_NAME.match(LANE) and not LANE_NAME.match(name)
    assert ArtifactRef(key="0" * 64, path=f"results/{name}").name == name


@pytest.mark.parametrize("name", ["baseline", "lane01_r2", "lane01-r", "lane01-r02", "-r2", "lane01-r0"])
def test_other_names_are_lanes_of_one_draw(name: str) -> None:
    assert split_replicate(name) == (name, 1)


def test_a_short_name_keeps_replicates_apart() -> None:
    names = [LANE, f"{LANE}-r2", f"{LANE}-r10", "baseline"]
    assert [shorten_name(name) for name in names] == ["lane01", "lane01-r2", "lane01-r10", "baseline"]
    assert match_names(names, ["lane01"]) == [LANE]
    assert match_names(names, ["lane01-r2"]) == [f"{LANE}-r2"]


def test_seeds_follow_one_another_and_turn_round_at_the_highest() -> None:
    assert [vary_seed(42, number) for number in (1, 2, 3)] == [42, 43, 44]
    assert vary_seed(SEED_HIGHEST, 2) == 0


def test_training_has_another_seed_and_nothing_else_changes() -> None:
    assert vary_params(SFT, 1) == SFT
    assert vary_params(SFT, 3) == SFT.model_copy(update={"seed": 9})
    gptq = GptqParams(scheme="W4A16")
    assert vary_params(gptq, 3) == gptq


@pytest.mark.parametrize(
    ("name", "params", "varies"),
    [
        ("gptq", GptqParams(scheme="W4A16"), True), ("fp8", Fp8Params(scheme="FP8"), True),
        ("fp8", Fp8Params(scheme="FP8_DYNAMIC"), False), ("prune", PruneParams(keep_layers=28), True),
        ("prune", PruneParams(keep_layers=28, selection="deepest"), False), ("sft", SFT, True),
    ],
)  # fmt: skip
def test_what_is_drawn_varies(name: str, params: Parameters, varies: bool) -> None:
    assert list_varied([(STAGE_TYPES[name], params)]) == [name] * varies


def read(folder: Path, text: str) -> Lane:
    path = folder / f"{LANE}.yaml"
    path.write_text(text, encoding="utf-8")
    return load_lane(path, {})


def test_a_lane_file_asks_for_replicates(tmp_path: Path) -> None:
    lane = read(tmp_path, TEXT + "replicates: 3\n")
    assert lane.names == (LANE, f"{LANE}-r2", f"{LANE}-r3")
    assert lane.replicates_at == f"{tmp_path}/{LANE}.yaml:5:1"
    alone = read(tmp_path, TEXT)
    assert (alone.replicates, alone.names, alone.replicates_at) == (1, (LANE,), "")


@pytest.mark.parametrize("value", ["0", "33", "yes", "two", "2.5"])
def test_a_number_of_replicates_that_is_none_is_refused_at_its_place(tmp_path: Path, value: str) -> None:
    with pytest.raises(InputProblems) as caught:
        read(tmp_path, TEXT + f"replicates: {value}\n")
    (problem,) = caught.value.problems
    assert (problem.line, problem.column) == (5, 1) and "replicates: " in problem.message


def test_an_option_wins_over_the_file(tmp_path: Path) -> None:
    lanes = [read(tmp_path, TEXT + "replicates: 3\n")]
    assert replicate_lanes(lanes, None) == lanes
    (lane,) = replicate_lanes(lanes, 5)
    assert (lane.replicates, lane.replicates_at) == (5, "--replicates")
    assert replicate_lanes(lanes, 1)[0].names == (LANE,)
    assert replicate_lanes(lanes, MOST_REPLICATES)[0].replicates == MOST_REPLICATES


@pytest.mark.parametrize("count", [0, -1, MOST_REPLICATES + 1])
def test_an_option_out_of_range_is_refused(count: int) -> None:
    with pytest.raises(InputError, match=f"--replicates must be from 1 to 32, not {count}") as caught:
        replicate_lanes([], count)
    assert caught.value.remedy.startswith("3 to 5 show the spread")
    assert caught.value.remedy.endswith("for what the lane files say")
