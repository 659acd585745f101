"""The ways that bench_evaluation.py measures: the stage, its engine alone, and lm-evaluation-harness."""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

from benchmarks.crosscheck import harness
from evaluator.engines.registry import EngineRegistry, Held, Tell, Wanted
from evaluator.quality import asking
from evaluator.quality.chat import ChatTokenizer
from evaluator.stages import evaluate
from lanekit.progress import ignore_progress
from lanekit.spec.evaluation import EvaluateParams

PHASES = {
    "items read": (evaluate, "load_items"),
    "prompts rendered and tokenized": (evaluate, "render_items"),
    "replies decoded": (ChatTokenizer, "decode_replies"),
    "replies graded": (asking, "grade_reply"),
    "benchmarks summarized": (evaluate, "summarize_benchmark"),
    "items written": (evaluate, "write_items"),
    "weights measured": (evaluate, "measure_weights"),
    "versions listed": (evaluate, "list_versions"),
}


@dataclass(frozen=True)
class Call:
    """One call of the engine's library, to be made again."""

    arguments: tuple[Any, ...]
    options: dict[str, Any]


@dataclass
class Evaluation:
    """A model and a suite, loaded once, and the ways to have the items answered."""

    model: Path
    suite: Path
    work: Path
    spec: EvaluateParams
    engine: Any
    lm: Any = None
    tasks: list[dict[str, Any]] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)

    @property
    def library(self) -> tuple[Any, str]:
        """The object and the name of its method that generates."""
        return (self.engine.llm if self.spec.engine.engine == "vllm" else self.engine.model), "generate"

    def run_stage(self) -> float:
        """Run the stage on the loaded engine; returns the seconds, loading left out."""
        out = self.work / "out"
        out.mkdir(exist_ok=True)

        @contextmanager
        def lend(wanted: Sequence[Wanted], tell: Tell) -> Iterator[Held]:
            yield Held(EngineRegistry(0), [self.engine], [0.0], [False])

        started = time.perf_counter()
        with mock.patch.object(evaluate, "hold_engines", lend):
            evaluate.run(self.spec, {"model": self.model, "suite": self.suite}, out, ignore_progress)
        seconds = time.perf_counter() - started
        report = json.loads((out / "report.json").read_text(encoding="utf-8"))
        return seconds - float(report["load_seconds"])

    def run_engine(self) -> None:
        """Make the recorded calls again; in inference mode, as the transformers engine makes them."""
        import torch

        owner, name = self.library
        with torch.inference_mode():
            for call in self.calls:
                getattr(owner, name)(*call.arguments, **call.options)

    def run_one_call(self) -> None:
        """Make one call of them all."""
        prompts = [prompt for call in self.calls for prompt in call.arguments[0]]
        settings = [call.arguments[1] for call in self.calls for _ in call.arguments[0]]
        self.engine.llm.generate(prompts, settings, use_tqdm=False)

    def run_harness(self) -> None:
        """Run lm-evaluation-harness on its own loaded model."""
        harness.run_tasks(self.lm, self.tasks)

    def record_calls(self) -> None:
        """Run the stage once and note what it asks the engine's library."""
        owner, name = self.library
        generate = getattr(owner, name)

        def note(*arguments: Any, **options: Any) -> Any:
            replay = {**options, "use_tqdm": False} if "use_tqdm" in options else options
            self.calls.append(Call(arguments, replay))
            return generate(*arguments, **options)

        with mock.patch.object(owner, name, note):
            self.run_stage()


@contextmanager
def time_phases(evaluation: Evaluation) -> Iterator[dict[str, float]]:
    """Add up the seconds of the stage's phases, and of the library's generate."""
    spent: dict[str, float] = defaultdict(float)

    def measure(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*arguments: Any, **options: Any) -> Any:
            started = time.perf_counter()
            try:
                return function(*arguments, **options)
            finally:
                spent[name] += time.perf_counter() - started

        return timed

    owners = {**PHASES, "engine described": (evaluation.engine, "describe"), "generated": evaluation.library}
    with ExitStack() as patches:
        for phase, (owner, name) in owners.items():
            patches.enter_context(mock.patch.object(owner, name, measure(phase, getattr(owner, name))))
        yield spent
