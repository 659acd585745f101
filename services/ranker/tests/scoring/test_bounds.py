"""What the verdicts on host, memory and compute, and engine arguments, say in a ranking."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from lanekit.results.ranking import RankedLane, Ranking
from lanekit.results.schema import LaneRecord
from lanekit.results.speed import Bound, FormBound, ModelCost
from lanekit.spec.lane_engine import LaneEngine
from ranker.scoring.bounds import note_unknown_devices, warn_of_host
from ranker.scoring.engine_needs import note_engine_arguments
from ranker.scoring.score import rank_lanes

Maker = Callable[..., LaneRecord]


@pytest.fixture
def make_bound(make_record: Maker) -> Maker:
    """Make a record of a GPU with a verdict for each form."""

    def make(lane: str, device: str = "NVIDIA H100 80GB HBM3", **verdicts: Bound) -> LaneRecord:
        record = make_record(lane, device=device, device_kind="cuda")
        assert record.speed
        bounds = {
            name: FormBound(seconds=0.002, read_bytes=1, operations=1, memory_share=0.3, verdict=verdict)
            for name, verdict in verdicts.items()
        }
        record.speed.cost = ModelCost(weight_bytes_per_step=1, bounds=bounds)
        record.speed.bandwidth_bytes_per_s = 3e12 if verdicts else None
        record.speed.form = "decode_b8"
        return record

    return make


def test_where_the_host_bounds_ranks_do_not_carry_over(make_bound: Maker) -> None:
    base = make_bound("baseline", decode_b1="host", decode_b8="", decode_b32="memory bandwidth")
    lane = make_bound("a", decode_b1="host", decode_b8="host", decode_b32="")
    (warning,) = warn_of_host([base, lane])
    assert warning == (
        "On NVIDIA H100 80GB HBM3 the host bounds decode_b1 (2 of 2 models), decode_b8 (1 of 2 models), not "
        "the GPU; the score's speed is one of these: there, ranks on this GPU do not carry over to a slower "
        "one."
    )
    assert warning in rank_lanes([base, lane], {"kmmlu_pro": 1.0}).notes
    (elsewhere,) = warn_of_host([make_bound("b", decode_b1="host", decode_b8="compute")])
    assert "the score's speed" not in elsewhere


def test_where_it_does_not_nothing_is_said(make_bound: Maker, make_record: Maker) -> None:
    records = [make_bound("a", decode_b1="memory bandwidth", prefill="compute"), make_record("b")]
    assert warn_of_host(records) == []
    records[1].speed = None
    assert warn_of_host(records) == [] and note_unknown_devices(records) == []


def test_a_gpu_that_is_not_known_is_named_once_and_a_cpu_is_not(
    make_bound: Maker, make_record: Maker
) -> None:
    unknown = [make_bound(name, device="NVIDIA B300") for name in "ab"]
    (note,) = note_unknown_devices([*unknown, make_bound("c", decode_b1="host"), make_record("d")])
    assert note.startswith("What bounds a step on NVIDIA B300 is not said: its memory bandwidth")


@pytest.mark.parametrize(
    ("is_plain", "words"), [(True, "so it gets none"), (False, "whoever loads it must pass them")]
)
def test_what_becomes_of_a_package_that_needs_arguments_is_said(
    make_record: Maker, is_plain: bool, words: str
) -> None:
    records = [make_record("a"), make_record("b", engine=LaneEngine(kv_cache_dtype="fp8"))]
    lanes = [RankedLane(rank=None, record=record) for record in records]
    ranking = Ranking(experiment="", lanes=lanes, weights_used={}, notes=[])
    (note,) = note_engine_arguments(ranking, is_plain=is_plain)
    assert note.startswith("b needs engine arguments: kv_cache_dtype=fp8; ") and words in note
