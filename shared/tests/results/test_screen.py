"""The screen in a lane's record: its errors, the difference of two, and a lane without it."""

from __future__ import annotations

import math
import statistics
from typing import Any

import pytest

from lanekit.errors import InputError
from lanekit.plan.graph import LanePlan, Locator, Plan, make_stage_run
from lanekit.plan.state import RunState
from lanekit.results.collect import collect_record
from lanekit.results.screen import ScreenResult, measure_mean_error, subtract_screens
from lanekit.results.speed import SpeedResult
from lanekit.spec.evaluation import EngineParams, EvaluateParams, MeasureSpeedParams
from lanekit.spec.params import FetchModelParams, Source
from lanekit.spec.screen import CompareLogitsParams
from lanekit.store.manifest import Manifest

DIGESTS = {"trainer": "a", "evaluator": "b"}
SPEED = SpeedResult(
    s_per_token=1, s_per_token_all=[1], baseline_s_per_token=1, baseline_s_per_token_all=[1], batch_size=1,
    prompt_tokens=1, decode_tokens=1, engine="e", device="d", device_kind="cpu",
).model_dump_json()  # fmt: skip


def make_screen(**changes: Any) -> ScreenResult:
    values = {
        "n_tokens": 6, "n_sequences": 3, "kl_mean": 0.5, "kl_median": 0.4, "kl_p99": 2.0, "same_top": 0.75,
        "ppl": 3.0, "base_ppl": 2.0, "ppl_ratio": 1.5, "text": "t", "sequence_tokens": [2, 2, 2],
        "sequence_kl": [1.0, 0.5, 1.5],
    }  # fmt: skip
    return ScreenResult.model_validate({**values, **changes})


def test_an_error_over_equal_sequences_is_that_of_their_means() -> None:
    means = [0.1, 0.4, 0.2, 0.9]
    found = measure_mean_error([10 * mean for mean in means], [10] * 4)
    assert found == pytest.approx(statistics.stdev(means) / math.sqrt(4))
    assert measure_mean_error([1.0], [4]) is None
    assert measure_mean_error([1.0, 2.0, 4.0], [1, 2, 4]) == 0, "each has the same mean"


def test_a_difference_is_paired_and_smaller_than_what_each_is_unsure_of() -> None:
    a = make_screen()
    b = make_screen(kl_mean=0.6, same_top=0.5, ppl_ratio=1.75, sequence_kl=[1.2, 0.7, 1.7])
    found = subtract_screens(b, a)
    assert found is not None
    assert (found.kl, found.same_top, found.ppl_ratio) == pytest.approx((0.1, -0.25, 0.25))
    assert found.kl_error == pytest.approx(0, abs=1e-9), "each sequence is worse by the same"
    assert subtract_screens(b, make_screen(text="another")) is None


class Store:
    """Holds metrics by stage; a stage whose metrics are None is gone."""

    def __init__(self, screen: str | None) -> None:
        self.texts = {"evaluate": '{"benchmarks": {}, "size_bytes": 7}', "speed": SPEED, "screen": screen}

    def find_artifact(self, locator: Locator) -> Manifest | None:
        return None

    def read_file(self, locator: Locator, name: str) -> bytes:
        text = self.texts[locator.name.rpartition("-")[0]]
        if text is None:
            raise InputError(f"{locator.bucket}/{locator.name}/{name}: there is no such file")
        return text.encode()


@pytest.fixture
def plan() -> Plan:
    engine = EngineParams(engine="transformers")
    model = make_stage_run("fetch_model", FetchModelParams(name="m", model=Source(source="x")), {}, DIGESTS)
    inputs = {"model": model.key}
    runs = [
        make_stage_run("evaluate", EvaluateParams(engine=engine, benchmarks=()), inputs, DIGESTS),
        make_stage_run("measure_speed", MeasureSpeedParams(engine=engine), inputs, DIGESTS),
        make_stage_run("compare_logits", CompareLogitsParams(), inputs, DIGESTS),
    ]
    quality, speed, screen = (run.key for run in runs)
    lane = LanePlan("one", "", "", (), model.key, quality, speed, screen_key=screen)
    return Plan({run.key: run for run in (model, *runs)}, {"one": lane})


@pytest.fixture
def state(plan: Plan) -> RunState:
    state = RunState(plan)
    for key in plan.runs:
        state.mark(key, "done")
    return state


def test_a_record_holds_its_screen_and_where_it_stands(plan: Plan, state: RunState) -> None:
    record = collect_record(plan, state, Store(make_screen().model_dump_json()), "one")
    assert record.status == "ok" and record.screen == make_screen() and record.screen_reason == ""
    assert record.screening.startswith("results/screen-")


@pytest.mark.parametrize(
    ("content", "reason"), [(None, "there is no such file"), ("{}", "its numbers cannot be read")]
)
def test_a_screen_that_cannot_be_read_leaves_the_lane_as_it_is(
    plan: Plan, state: RunState, content: str | None, reason: str
) -> None:
    record = collect_record(plan, state, Store(content), "one")
    assert record.status == "ok" and record.size_bytes == 7 and record.screen is None
    assert reason in record.screen_reason and record.screening == ""


def test_a_screen_that_failed_leaves_the_lane_ranked_with_the_reason(plan: Plan, state: RunState) -> None:
    key = plan.lanes["one"].screen_key or ""
    state.mark(key, "failed", "transformers cannot load this model")
    record = collect_record(plan, state, Store("{}"), "one")
    assert record.status == "ok" and record.size_bytes == 7
    assert record.screen_reason == "stage compare_logits: transformers cannot load this model"


def test_a_failed_lane_keeps_the_screen_that_it_has(plan: Plan, state: RunState) -> None:
    state.mark(plan.lanes["one"].evaluate_key or "", "failed", "no memory")
    record = collect_record(plan, state, Store(make_screen().model_dump_json()), "one")
    assert record.status == "failed" and record.screen == make_screen()


def test_a_lane_that_is_not_screened_says_nothing(plan: Plan, state: RunState) -> None:
    lane = plan.lanes["one"]
    plan.lanes["one"] = LanePlan("one", "", "", (), lane.model_key, lane.evaluate_key, lane.speed_key)
    record = collect_record(plan, state, Store(None), "one")
    assert (record.status, record.screen, record.screen_reason) == ("ok", None, "")
