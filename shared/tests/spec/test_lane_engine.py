"""A lane's own engine arguments: a closed list, typed, and what of it a package needs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lanekit.files.strict_yaml import InputProblems
from lanekit.spec.evaluation import EngineParams, MeasureSpeedParams
from lanekit.spec.lane_engine import PLAIN, LaneEngine, find_own_arguments, read_lane_engine
from lanekit.spec.lane_file import load_lane
from lanekit.spec.params import PruneParams

ENGINE = EngineParams(engine="vllm")
CACHE = LaneEngine(kv_cache_dtype="fp8")
LANE = "title: a\ngroup: b\n{engine}stages:\n  - gptq: {{scheme: W8A8}}\n"


def write(folder: Path, engine: str) -> Path:
    path = folder / "lane01_x.yaml"
    path.write_text(LANE.format(engine=engine), encoding="utf-8")
    return path


def test_a_lane_file_may_carry_engine_arguments(tmp_path: Path) -> None:
    path = write(tmp_path, "engine: {kv_cache_dtype: fp8, enforce_eager: true}\n")
    lane = load_lane(path, {})
    assert lane.engine == LaneEngine(kv_cache_dtype="fp8", enforce_eager=True)
    assert lane.engine_at == f"{path}:3:1"
    plain = load_lane(write(tmp_path, ""), {})
    assert (plain.engine, plain.engine_at) == (PLAIN, "")


@pytest.mark.parametrize(
    ("engine", "expected"),
    [
        ("engine: {kv_cache_dtyp: fp8}\n",
         "3:10: unknown name 'kv_cache_dtyp' (did you mean 'kv_cache_dtype'?); allowed: kv_cache_dtype, "
         "enforce_eager"),
        ("engine: {max_model_len: 64}\n",
         "3:10: unknown name 'max_model_len'; allowed: kv_cache_dtype, enforce_eager"),
        ("engine: {kv_cache_dtype: fp9}\n",
         "3:10: kv_cache_dtype: unknown value 'fp9' (did you mean 'fp8'?); allowed: auto, fp8"),
        ("engine:\n", "3:1: "),
    ],
)  # fmt: skip
def test_the_list_is_closed_and_typed(tmp_path: Path, engine: str, expected: str) -> None:
    path = write(tmp_path, engine)
    with pytest.raises(InputProblems) as caught:
        load_lane(path, {})
    (problem,) = str(caught.value).splitlines()
    assert problem.startswith(f"{path}:{expected}")


def test_a_switch_is_no_text(tmp_path: Path) -> None:
    with pytest.raises(InputProblems, match="enforce_eager"):
        load_lane(write(tmp_path, "engine: {enforce_eager: sometimes}\n"), {})


@pytest.mark.parametrize(
    ("shared", "asked", "expected"),
    [
        ({}, {"kv_cache_dtype": "fp8"}, "kv_cache_dtype=fp8"),
        ({"kv_cache_dtype": "fp8"}, {"kv_cache_dtype": "fp8"}, ""),  # all have it: nothing is its own
        ({"kv_cache_dtype": "fp8"}, {"kv_cache_dtype": "auto"}, "kv_cache_dtype=auto"),
        ({}, {"enforce_eager": True, "kv_cache_dtype": "fp8"}, "kv_cache_dtype=fp8, enforce_eager=true"),
        ({}, {"enforce_eager": False}, ""),
        ({}, {}, ""),
    ],
)
def test_a_package_needs_what_the_shared_engine_has_not(
    shared: dict[str, Any], asked: dict[str, Any], expected: str
) -> None:
    engine, own = ENGINE.model_copy(update=shared), LaneEngine(**asked)
    assert str(own.reduce(engine)) == expected
    assert own.reduce(engine).apply(engine) == own.apply(engine)
    assert find_own_arguments(engine, engine) == PLAIN


def test_a_timing_tells_the_arguments_of_its_candidate() -> None:
    plain = MeasureSpeedParams(engine=ENGINE)
    assert read_lane_engine(plain) == PLAIN
    assert read_lane_engine(plain.model_copy(update={"candidate_engine": CACHE.apply(ENGINE)})) == CACHE
    assert read_lane_engine(PruneParams(keep_layers=3)) == PLAIN
