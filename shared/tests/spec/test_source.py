"""Sources inside parameters: found, changed, and without the paths of the user's machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from lanekit.spec.params import FetchModelParams, Parameters, PrepareBenchmarksParams, Source
from lanekit.spec.quantization import GptqParams
from lanekit.spec.source import drop_local_paths, list_sources, map_sources, put_local_paths

HUB = Source(source="org/data", revision="a" * 40, digest="a" * 40)
MINE = Source(source="/home/me/rows.jsonl", split="test", rows=3, digest="1" * 64)
OTHER = Source(source="./more", digest="2" * 64)
SETS = PrepareBenchmarksParams(sets={"hub": HUB, "mine": MINE, "other": OTHER})


def test_sources_are_found_wherever_they_stand() -> None:
    assert list_sources(SETS) == [HUB, MINE, OTHER]
    assert list_sources(FetchModelParams(name="m", model=MINE)) == [MINE]
    assert list_sources(GptqParams(scheme="W4A16")) == []


def test_every_source_is_changed_and_nothing_else() -> None:
    changed = map_sources(SETS, lambda source: source.model_copy(update={"split": "x"}))
    assert [source.split for source in list_sources(changed)] == ["x"] * 3
    assert [source.split for source in list_sources(SETS)] == ["train", "test", "train"]
    assert map_sources(SETS, lambda source: source) == SETS


@pytest.mark.parametrize("params", [SETS, FetchModelParams(name="m", model=MINE)])
def test_paths_are_dropped_and_put_back(params: Parameters) -> None:
    dropped = drop_local_paths(params)
    assert "/home/me" not in dropped.model_dump_json() and MINE.digest in dropped.model_dump_json()
    assert drop_local_paths(dropped) == dropped
    parsed = type(params).model_validate(dropped.model_dump(mode="json"))
    paths = {MINE.digest: Path(MINE.source), OTHER.digest: Path("more")}
    back = put_local_paths(parsed, paths)
    assert [Path(source.source) for source in list_sources(back)] == [
        Path(source.source) for source in list_sources(params)
    ]
    assert put_local_paths(parsed, {}) == parsed


def test_a_path_without_a_digest_is_not_dropped_in_silence() -> None:
    unresolved = FetchModelParams(name="m", model=Source(source="./model"))
    with pytest.raises(ValueError, match=r"\./model: no digest yet"):
        drop_local_paths(unresolved)
