"""The stage types: what each takes, which service runs it, where its artifact goes.

A new stage is one entry here, one parameter model in params.py and one function in a service.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from lanekit import params as p

Service = Literal["trainer", "quantizer", "evaluator", "ranker"]
ModelForm = Literal["dense", "packed"]


@dataclass(frozen=True)
class StageType:
    """One kind of stage.

    Attributes:
        version: raise it whenever the code's result changes, so that old results are not reused.
        function: dotted path of `run(spec, inputs, out, progress)`, imported only in a worker's child.
        bucket: the store's bucket for its artifacts.
        label: the readable start of the artifact's prefix.
        takes: the forms of model that it accepts; empty where it takes no lane model.
        gives: the form of model that it returns; None where the form stays as it came.
        needs_corpus: whether, with these parameters, it reads the corpus artifact.
        needs_teacher: it reads the base model beside the lane's own.
        exclusive: it must have the device to itself.
    """

    name: str
    version: int
    service: Service
    function: str
    params: type[p.Parameters]
    bucket: Literal["data", "checkpoints", "models", "results", "submissions"]
    label: Callable[[Any], str]
    takes: tuple[ModelForm, ...] = ()
    gives: ModelForm | None = None
    needs_corpus: Callable[[Any], bool] = lambda _params: False
    needs_teacher: bool = False
    exclusive: bool = False

    @property
    def is_lane_stage(self) -> bool:
        """Whether a lane file may name it."""
        return bool(self.takes)


def _named(name: str) -> Callable[[Any], str]:
    return lambda _params: name


def _always(_params: Any) -> bool:
    return True


def _scheme(method: str) -> Callable[[Any], str]:
    return lambda params: f"{method}_{params.scheme.lower()}".replace("fp8_fp8", "fp8")


_TYPES = [
    StageType("fetch_model", 1, "trainer", "trainer.stages.fetch_model:run", p.FetchModelParams,
              "models", lambda q: q.name.lower(), gives="dense"),
    StageType("prepare_corpus", 1, "trainer", "trainer.stages.prepare_corpus:run",
              p.PrepareCorpusParams, "data", _named("corpus")),
    StageType("prepare_benchmarks", 1, "trainer", "trainer.stages.prepare_benchmarks:run",
              p.PrepareBenchmarksParams, "data", _named("benchmarks")),
    StageType("sft", 1, "trainer", "trainer.stages.sft:run", p.SftParams, "checkpoints",
              _named("sft"), takes=("dense",), gives="dense", needs_corpus=_always),
    StageType("prune", 1, "trainer", "trainer.stages.prune:run", p.PruneParams, "checkpoints",
              lambda q: f"prune{q.keep_layers}", takes=("dense",), gives="dense",
              needs_corpus=lambda q: q.selection == "block_influence"),
    StageType("distill", 1, "trainer", "trainer.stages.distill:run", p.DistillParams,
              "checkpoints", _named("distill"), takes=("dense",), gives="dense",
              needs_corpus=_always, needs_teacher=True),
    StageType("post_sft", 1, "trainer", "trainer.stages.post_sft:run", p.PostSftParams, "models",
              _named("post_sft"), takes=("dense", "packed"), needs_corpus=_always),
    StageType("gptq", 1, "quantizer", "quantizer.stages.gptq:run", p.GptqParams, "models",
              _scheme("gptq"), takes=("dense",), gives="packed", needs_corpus=_always),
    StageType("fp8", 1, "quantizer", "quantizer.stages.fp8:run", p.Fp8Params, "models",
              _scheme("fp8"), takes=("dense",), gives="packed",
              needs_corpus=lambda q: q.scheme == "FP8"),
    StageType("evaluate", 1, "evaluator", "evaluator.stages.evaluate:run", p.EvaluateParams,
              "results", _named("evaluate")),
    StageType("measure_speed", 1, "evaluator", "evaluator.stages.measure_speed:run",
              p.MeasureSpeedParams, "results", _named("speed"), exclusive=True),
    StageType("rank", 1, "ranker", "ranker.stages.rank:run", p.RankParams, "results",
              _named("summary")),
    StageType("package", 1, "ranker", "ranker.stages.package:run", p.PackageParams, "submissions",
              lambda q: q.lane),
    StageType("verify_package", 1, "evaluator", "evaluator.stages.verify_package:run",
              p.VerifyPackageParams, "results", _named("verify")),
]  # fmt: skip

STAGE_TYPES: dict[str, StageType] = {t.name: t for t in _TYPES}
LANE_STAGES: tuple[str, ...] = tuple(t.name for t in _TYPES if t.is_lane_stage)
