"""Engines between stages: which are found again, which make room, what a failure leaves. With doubles."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from evaluator.engines.registry import EngineRegistry, Wanted, get_registry
from evaluator.engines.residents import ShortOfMemoryError
from lanekit.errors import InputError
from lanekit.spec.evaluation import EngineParams

PARAMS = EngineParams(engine="vllm", batch_size=8)
BASE, ONE, TWO = Path("base"), Path("one"), Path("two")


class Double:
    """An engine that logs what is done to it."""

    def __init__(self, name: str, log: list[str]) -> None:
        self.name, self.log = name, log
        self.is_awake = self.is_open = True

    def sleep(self) -> None:
        if self.is_awake:
            self.log.append(f"sleep {self.name}")
        self.is_awake = False

    def wake(self) -> None:
        assert self.is_open, f"{self.name} was closed"
        if not self.is_awake:
            self.log.append(f"wake {self.name}")
        self.is_awake = True

    def close(self) -> None:
        self.log.append(f"close {self.name}")
        self.is_open = False


class Bench:
    """A registry over doubles: `free` of them may be loaded at once, a model's name is its content."""

    def __init__(self, n_candidates: int = 1, free: int = 9) -> None:
        self.log: list[str] = []
        self.told: list[str] = []
        self.free = free
        self.registry = EngineRegistry(n_candidates, self.load, lambda folder: folder.name)

    def load(self, model: Path, params: EngineParams) -> Any:
        there: list[Any] = [resident.engine for resident in self.registry.residents]
        if params.engine == "vllm":
            assert not any(engine.is_awake for engine in there), "one awake holds the memory"
        if len(there) >= self.free:
            raise ShortOfMemoryError("too little")
        self.log.append(f"start {model.name}")
        return Double(model.name, self.log)

    def hold(
        self, *models: Path, baseline: Path | None = None, params: EngineParams = PARAMS
    ) -> dict[str, Any]:
        """Run a stage that does nothing; return what its report says."""
        wanted = [Wanted(model, params, model == baseline) for model in models]
        with self.registry.hold(wanted, self.told.append) as held:
            engines: list[Any] = [*held.engines]
            assert [engine for engine in engines if engine.is_awake] == engines[:1], "the first alone"
            assert len(held.seconds) == len(models)
            return held.describe()

    def list_names(self) -> list[str]:
        return [resident.engine.name for resident in self.registry.residents]  # type: ignore[attr-defined]


def test_a_lane_is_started_once_and_the_baseline_once_for_all() -> None:
    bench = Bench()
    starts = []
    starts += [bench.hold(BASE), bench.hold(BASE, baseline=BASE)]
    for lane in (ONE, TWO):
        starts += [bench.hold(lane), bench.hold(lane, BASE, baseline=BASE)]
    starts += [bench.hold(TWO)]  # the package of the last lane
    assert [said["engine_starts"] for said in starts] == [1, 0, 1, 0, 1, 0, 0]
    assert [line for line in bench.log if line.startswith(("start", "close"))] == [
        "start base", "start one", "close one", "start two",
    ]  # fmt: skip
    assert bench.told == ["starting vLLM (about 40 s)"] + ["starting vLLM (about 0 s)"] * 2


def test_between_stages_all_engines_sleep() -> None:
    bench = Bench()
    bench.hold(ONE, BASE, baseline=BASE)
    assert bench.log == ["start one", "sleep one", "start base", "sleep base", "wake one", "sleep one"]


def test_a_turn_puts_the_other_to_sleep_first() -> None:
    bench = Bench()
    with bench.registry.hold([Wanted(ONE, PARAMS), Wanted(BASE, PARAMS, True)], bench.told.append) as held:
        del bench.log[:]
        held.give_turn(1)
        held.give_turn(1)
        held.give_turn(0)
    assert bench.log == ["sleep one", "wake base", "sleep base", "wake one", "sleep one"]
    assert bench.told[-1] == "starting vLLM for model 2 of 2 (about 0 s)"


def test_other_arguments_are_another_engine_and_the_report_says_which() -> None:
    bench = Bench()
    bench.hold(ONE)
    said = bench.hold(ONE, params=PARAMS.model_copy(update={"batch_size": 32, "kv_cache_dtype": "fp8"}))
    reason = "the engine that was there has kv_cache_dtype auto, not fp8, batch_size 8, not 32"
    assert said == {"engine_starts": 1, "engine_start_reasons": [reason]}
    assert bench.log == ["start one", "sleep one", "close one", "start one", "sleep one"]


def test_the_longest_unused_candidate_goes_and_the_baseline_stays() -> None:
    bench = Bench(n_candidates=2)
    bench.hold(BASE, baseline=BASE)
    for model in (ONE, TWO, ONE, Path("three")):
        bench.hold(model)
    assert bench.list_names() == ["base", "one", "three"]


def test_another_baseline_ends_the_old_one() -> None:
    bench = Bench()
    bench.hold(BASE, baseline=BASE)
    bench.hold(ONE)
    bench.hold(ONE, baseline=ONE)
    assert bench.list_names() == ["one"]
    assert bench.log[-1] == "sleep one"
    assert "close base" in bench.log


def test_short_of_memory_ends_what_is_not_wanted() -> None:
    bench = Bench(free=1)
    bench.hold(BASE, baseline=BASE)
    assert bench.hold(ONE)["engine_starts"] == 1
    assert bench.list_names() == ["one"]
    with pytest.raises(ShortOfMemoryError):
        bench.hold(ONE, BASE, baseline=BASE)
    assert bench.list_names() == [] and bench.log[-1] == "close one"


def test_a_stage_that_fails_leaves_none_of_its_engines() -> None:
    bench = Bench()
    bench.hold(BASE, baseline=BASE)
    with pytest.raises(InputError), bench.registry.hold([Wanted(ONE, PARAMS)], bench.told.append):
        raise InputError("a row is at fault")
    assert bench.list_names() == ["base"] and bench.log[-1] == "close one"
    assert bench.hold(ONE)["engine_starts"] == 1


def test_an_engine_that_does_not_wake_is_started_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench()
    bench.hold(ONE)

    def die(_self: Double) -> None:
        raise RuntimeError("dead")

    with monkeypatch.context() as patch:
        patch.setattr(Double, "wake", die)
        with pytest.raises(RuntimeError, match="dead"):  # nor does the new one
            bench.hold(ONE)
    assert bench.log == ["start one", "sleep one", "close one", "start one", "close one"]


@pytest.mark.parametrize(
    ("n_candidates", "engine"), [(0, "vllm"), (1, "transformers")], ids=["switched off", "transformers"]
)
def test_what_is_not_kept_is_closed_with_its_stage(n_candidates: int, engine: Any) -> None:
    def never(_folder: Path) -> str:
        raise AssertionError("no file is read for it")

    bench = Bench(n_candidates)
    bench.registry.identify = never
    params = PARAMS.model_copy(update={"engine": engine})
    wanted = [Wanted(ONE, params), Wanted(BASE, params, True)]
    for _ in range(2):
        with bench.registry.hold(wanted, bench.told.append) as held:
            assert [engine.name for engine in held.engines] == ["one", "base"]  # type: ignore[attr-defined]
            assert held.describe()["engine_starts"] == 2
        assert bench.list_names() == []
    assert [line for line in bench.log if line.startswith("close")] == ["close one", "close base"] * 2


def test_equal_models_under_two_names_are_one_engine() -> None:
    bench = Bench()
    bench.registry.identify = lambda folder: "same"
    assert bench.hold(ONE)["engine_starts"] == 1
    assert bench.hold(TWO)["engine_starts"] == 0


def test_the_setting_says_how_many_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    find: Callable[[], EngineRegistry] = get_registry.__wrapped__
    monkeypatch.delenv("LANEKIT_WARM_ENGINES", raising=False)
    assert find().n_candidates == 0
    monkeypatch.setenv("LANEKIT_WARM_ENGINES", "2")
    assert find().n_candidates == 2
    monkeypatch.setenv("LANEKIT_WARM_ENGINES", "-1")
    with pytest.raises(
        InputError, match=r"LANEKIT_WARM_ENGINES=-1: input should be greater than or equal to 0"
    ):
        find()
