"""Engines that stay between the stages of one child: whoever asks for an equal one next need not start it.

An engine is known by the content of its model's files and by all its parameters, so that a stage finds what
it would have started itself and nothing else. At most one is awake where engines can sleep. Kept are the
baseline's, once a stage has named it so, and `n_candidates` others; the longest unused goes first. A stage
that fails leaves none of the engines that it had.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from evaluator.engines import load_engine
from evaluator.engines.base import Engine
from evaluator.engines.identity import identify_model
from evaluator.engines.residents import ShortOfMemoryError
from lanekit.host.settings import load_host_settings
from lanekit.spec.evaluation import EngineParams

Tell = Callable[[str], None]
START_SECONDS = 40.0  # vLLM's on an H100; once one has started here, its own


@dataclass(frozen=True)
class Wanted:
    """An engine that a stage asks for; the one of `is_baseline` is wanted again by every other lane."""

    model: Path
    params: EngineParams
    is_baseline: bool = False


@dataclass(frozen=True)
class EngineKey:
    """What determines an engine; `content` is "" for one that is nobody else's."""

    content: str
    params: EngineParams


@dataclass
class Resident:
    """An engine that is loaded."""

    key: EngineKey
    engine: Engine
    is_baseline: bool


@dataclass
class Held:
    """The engines that a stage has, in the order asked for, and what it took to have each.

    `seconds` are until the engine could generate; `starts` says which had to be started, `reasons` why those
    whose model was there already had to be.
    """

    registry: EngineRegistry
    engines: list[Engine] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    starts: list[bool] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)

    @property
    def engine(self) -> Engine:
        """The only one, or the first."""
        return self.engines[0]

    def give_turn(self, position: int) -> None:
        """Wake one of the engines, after all others have been put to sleep."""
        self.registry.wake_alone(self.engines[position])

    def describe(self) -> dict[str, Any]:
        """Return what a stage's report says of the starts, as JSON values."""
        return {"engine_starts": sum(self.starts), "engine_start_reasons": self.reasons}


class EngineRegistry:
    """The engines of this process.

    Args:
        n_candidates: how many are kept beside the baseline's; 0 keeps none, the baseline's neither.
        load: starts an engine on a model.
        identify: tells a model folder's content.
    """

    def __init__(
        self,
        n_candidates: int,
        load: Callable[[Path, EngineParams], Engine] = load_engine,
        identify: Callable[[Path], str] = identify_model,
    ) -> None:
        self.n_candidates = n_candidates
        self.load = load
        self.identify = identify
        self.residents: list[Resident] = []  # the longest unused first
        self.start_seconds = START_SECONDS

    @contextmanager
    def hold(self, wanted: Sequence[Wanted], tell: Tell) -> Iterator[Held]:
        """Have engines within the block, the first of them awake; afterwards those that are kept sleep.

        Raises:
            LanekitError: an engine does not start; see `load_engine`.
        """
        held, mine = Held(self), [self._make_key(each) for each in wanted]
        try:
            for number, (each, key) in enumerate(zip(wanted, mine, strict=True), start=1):
                name = f" for model {number} of {len(wanted)}" if len(wanted) > 1 else ""
                started = time.perf_counter()
                held.starts.append(not self._revive(key))
                if held.starts[-1]:
                    held.reasons += self._explain_start(key)
                    if each.params.engine == "vllm":
                        tell(f"starting vLLM{name} (about {self.start_seconds:.0f} s)")
                    else:
                        tell(f"loading the model{name.removeprefix(' for model')}")
                    self._start(each, key, mine)
                held.engines.append(self._claim(key, each.is_baseline).engine)
                held.seconds.append(time.perf_counter() - started)
            held.give_turn(0)
            yield held
        except BaseException:
            for engine in held.engines:
                with suppress(Exception):  # what it failed of is said; the child's keeper ends what is left
                    self._close(engine)
            raise
        for resident in list(self.residents):
            if resident.key.content:
                resident.engine.sleep()
            else:
                self._close(resident.engine)

    def wake_alone(self, engine: Engine) -> None:
        """Wake an engine after every other has been put to sleep: both would not fit."""
        self._sleep_others(engine)
        engine.wake()

    def close(self) -> None:
        """Close all engines."""
        for resident in list(self.residents):
            self._close(resident.engine)

    def _make_key(self, wanted: Wanted) -> EngineKey:
        is_shared = self.n_candidates > 0 and wanted.params.engine == "vllm"
        return EngineKey(self.identify(wanted.model) if is_shared else "", wanted.params)

    def _find(self, key: EngineKey) -> Resident | None:
        return next((r for r in self.residents if key.content and r.key == key), None)

    def _revive(self, key: EngineKey) -> bool:
        """Wake the engine of a key; return whether there is one, and it woke."""
        found = self._find(key)
        if found is None:
            return False
        try:
            self.wake_alone(found.engine)
        except Exception:  # then it is started anew, and that says what is wrong
            with suppress(Exception):
                self._close(found.engine)
            return False
        return True

    def _claim(self, key: EngineKey, is_baseline: bool) -> Resident:
        """Return the engine just woken or started, now the last used; a new baseline ends the old one."""
        found = self._find(key) or self.residents[-1]
        self.residents.remove(found)
        if is_baseline and not found.is_baseline:
            for old in [resident for resident in self.residents if resident.is_baseline]:
                self._close(old.engine)
            found.is_baseline = True
        self.residents.append(found)
        return found

    def _start(self, wanted: Wanted, key: EngineKey, mine: Sequence[EngineKey]) -> None:
        """Start an engine; what is in its way and not wanted now is closed."""
        spare = [r for r in self.residents if r.key.content and r.key not in mine]
        candidates = [r for r in spare if not r.is_baseline]
        n_left = max(self.n_candidates - (not wanted.is_baseline), 0)
        ending = candidates[: max(len(candidates) - n_left, 0)]
        if wanted.is_baseline:
            ending += [resident for resident in spare if resident.is_baseline]
        for resident in ending:
            self._close(resident.engine)
            spare.remove(resident)
        self._sleep_others(None)
        started = time.perf_counter()
        engine = self._load(wanted, spare)
        self.start_seconds = time.perf_counter() - started
        self.residents.append(Resident(key, engine, wanted.is_baseline))

    def _load(self, wanted: Wanted, spare: list[Resident]) -> Engine:
        """Load an engine; where memory is short, once more for each engine that can be spared."""
        while True:
            try:
                return self.load(wanted.model, wanted.params)
            except ShortOfMemoryError:
                if not spare:
                    raise
                self._close(spare.pop(0).engine)

    def _explain_start(self, key: EngineKey) -> list[str]:
        """Say why the engine that is there of a model does not do."""
        for resident in self.residents:
            if key.content and resident.key.content == key.content:
                ours, theirs = key.params.model_dump(), resident.key.params.model_dump()
                unlike = [f"{n} {theirs[n]}, not {ours[n]}" for n in ours if ours[n] != theirs[n]]
                return [f"the engine that was there has {', '.join(unlike)}"]
        return []

    def _sleep_others(self, engine: Engine | None) -> None:
        for resident in self.residents:
            if resident.engine is not engine:
                resident.engine.sleep()

    def _close(self, engine: Engine) -> None:
        self.residents = [resident for resident in self.residents if resident.engine is not engine]
        engine.close()


@cache
def get_registry() -> EngineRegistry:
    """Return this process's engines; LANEKIT_WARM_ENGINES says how many are kept."""
    return EngineRegistry(load_host_settings().warm_engines)


@contextmanager
def hold_engines(wanted: Sequence[Wanted], tell: Tell) -> Iterator[Held]:
    """Have engines within the block; see `EngineRegistry.hold`."""
    with get_registry().hold(wanted, tell) as held:
        yield held
