"""The stage types: what each takes, which service runs it, where its artifact goes.

A new stage is one entry here, one parameter model (params.py, quantization.py, evaluation.py) and one
function in a service.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, get_args

from lanekit.spec import evaluation as e
from lanekit.spec import params as p
from lanekit.spec import quantization as quant
from lanekit.spec.judge import JudgeParams
from lanekit.spec.screen import CompareLogitsParams

Service = Literal["trainer", "quantizer", "evaluator", "ranker"]
ModelForm = Literal["dense", "packed"]
Bucket = Literal["data", "checkpoints", "models", "results", "submissions"]

BUCKETS: tuple[Bucket, ...] = get_args(Bucket)
HOUR_S = 3600


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
        corpus_part: the corpus file that it reads, if it reads the corpus.
        needs_sensitivity: whether, with these parameters, it reads what each layer of its model costs.
        needs_teacher: it reads the base model beside the lane's own.
        needs_device: it computes on the device, which it has to itself where there is a lease.
        exclusive: nothing else may run on its host meanwhile.
        waits: it only waits for another machine's answers, for hours. Nothing is to wait behind it: it has a
            worker of its own, and takes none of an embedded run's slots.
        timeout_s: how long it may run, in seconds, once it has its device.
    """

    name: str
    version: int
    service: Service
    function: str
    params: type[p.Parameters]
    bucket: Bucket
    label: Callable[[Any], str]
    takes: tuple[ModelForm, ...] = ()
    gives: ModelForm | None = None
    needs_corpus: Callable[[Any], bool] = lambda _params: False
    corpus_part: Literal["train", "calibration"] = "train"
    needs_sensitivity: Callable[[Any], bool] = lambda _params: False
    needs_teacher: bool = False
    needs_device: bool = False
    exclusive: bool = False
    waits: bool = False
    timeout_s: int = 6 * HOUR_S

    @property
    def is_lane_stage(self) -> bool:
        """Whether a lane file may name it."""
        return bool(self.takes)

    @property
    def is_seeded(self) -> bool:
        """Whether it takes the experiment's seed; what draws nothing has none."""
        return "seed" in self.params.model_fields

    @property
    def worker(self) -> str:
        """The worker that runs it, which is called as its queue and as its Compose service are."""
        return self.name if self.waits else self.service


def _named(name: str) -> Callable[[Any], str]:
    return lambda _params: name


def _always(_params: Any) -> bool:
    return True


def _scheme(method: str) -> Callable[[Any], str]:
    return lambda params: f"{method}_{params.scheme.lower()}".replace("fp8_fp8", "fp8")


def _chooses_layers(params: quant.CompressParams) -> bool:
    return params.keep is not None and params.keep.by == "sensitivity"


def _label_fp8(params: quant.Fp8Params) -> str:
    plain = _scheme("fp8")(params)
    if params.format != "modelopt":
        return plain
    return f"{plain}_modelopt_kv8" if params.kv_cache == "fp8" else f"{plain}_modelopt"


_TYPES = [
    StageType("fetch_model", 1, "trainer", "trainer.stages.fetch_model:run", p.FetchModelParams,
              "models", lambda q: q.name.lower(), gives="dense"),
    StageType("prepare_corpus", 3, "trainer", "trainer.stages.prepare_corpus:run",
              p.PrepareCorpusParams, "data", _named("corpus")),
    StageType("mix_calibration", 1, "trainer", "trainer.stages.mix_calibration:run",
              p.MixCalibrationParams, "data", _named("calibration_mix")),
    StageType("prepare_benchmarks", 3, "trainer", "trainer.stages.prepare_benchmarks:run",
              p.PrepareBenchmarksParams, "data", _named("benchmarks")),
    StageType("sft", 1, "trainer", "trainer.stages.sft:run", p.SftParams, "checkpoints",
              _named("sft"), takes=("dense",), gives="dense", needs_corpus=_always, needs_device=True,
              timeout_s=24 * HOUR_S),
    StageType("prune", 2, "trainer", "trainer.stages.prune:run", p.PruneParams, "checkpoints",
              lambda q: f"prune{q.keep_layers}", takes=("dense",), gives="dense",
              needs_corpus=lambda q: q.selection == "block_influence", corpus_part="calibration",
              needs_device=True),
    StageType("distill", 1, "trainer", "trainer.stages.distill:run", p.DistillParams,
              "checkpoints", _named("distill"), takes=("dense",), gives="dense",
              needs_corpus=_always, needs_teacher=True, needs_device=True, timeout_s=48 * HOUR_S),
    StageType("post_sft", 2, "trainer", "trainer.stages.post_sft:run", p.PostSftParams, "models",
              _named("post_sft"), takes=("dense", "packed"), needs_corpus=_always, needs_device=True,
              timeout_s=24 * HOUR_S),
    StageType("smooth", 1, "trainer", "trainer.stages.smooth:run", p.SmoothParams, "checkpoints",
              _named("smooth"), takes=("dense",), gives="dense", needs_corpus=_always,
              corpus_part="calibration", needs_device=True),
    StageType("gptq", 2, "quantizer", "quantizer.stages.gptq:run", quant.GptqParams, "models",
              _scheme("gptq"), takes=("dense",), gives="packed", needs_corpus=_always,
              corpus_part="calibration", needs_sensitivity=_chooses_layers, needs_device=True),
    StageType("round", 1, "quantizer", "quantizer.stages.round:run", quant.RoundParams, "models",
              _scheme("round"), takes=("dense",), gives="packed", needs_corpus=_chooses_layers,
              corpus_part="calibration", needs_sensitivity=_chooses_layers, needs_device=True),
    StageType("fp8", 2, "quantizer", "quantizer.stages.fp8:run", quant.Fp8Params, "models",
              _label_fp8, takes=("dense",), gives="packed",
              needs_corpus=lambda q: q.scheme == "FP8" or _chooses_layers(q), corpus_part="calibration",
              needs_sensitivity=_chooses_layers, needs_device=True),
    StageType("sensitivity", 1, "quantizer", "quantizer.stages.sensitivity:run", quant.SensitivityParams,
              "results", _scheme("sensitivity"), needs_device=True, corpus_part="calibration"),
    StageType("awq", 1, "quantizer", "quantizer.stages.awq:run", quant.AwqParams, "models",
              _scheme("awq"), takes=("dense",), gives="packed", needs_corpus=_always,
              corpus_part="calibration", needs_sensitivity=_chooses_layers,
              needs_device=True),
    StageType("autoround", 1, "quantizer", "quantizer.stages.autoround:run", quant.AutoRoundParams,
              "models", _scheme("autoround"), takes=("dense",), gives="packed", needs_corpus=_always,
              corpus_part="calibration", needs_sensitivity=_chooses_layers,
              needs_device=True),
    StageType("evaluate", 3, "evaluator", "evaluator.stages.evaluate:run", e.EvaluateParams,
              "results", _named("evaluate"), needs_device=True, timeout_s=12 * HOUR_S),
    StageType("compare_logits", 1, "evaluator", "evaluator.stages.compare_logits:run",
              CompareLogitsParams, "results", _named("screen"), needs_device=True, timeout_s=2 * HOUR_S),
    StageType("judge", 2, "evaluator", "evaluator.stages.judge:run", JudgeParams, "results",
              _named("judge"), waits=True, timeout_s=6 * HOUR_S),
    StageType("measure_speed", 5, "evaluator", "evaluator.stages.measure_speed:run",
              e.MeasureSpeedParams, "results", _named("speed"), needs_device=True, exclusive=True,
              timeout_s=2 * HOUR_S),
    StageType("rank", 7, "ranker", "ranker.stages.rank:run", p.RankParams, "results",
              _named("summary"), timeout_s=HOUR_S),
    StageType("package", 1, "ranker", "ranker.stages.package:run", p.PackageParams, "submissions",
              lambda q: q.lane),
    StageType("verify_package", 1, "evaluator", "evaluator.stages.verify_package:run",
              e.VerifyPackageParams, "results", _named("verify"), needs_device=True,
              timeout_s=HOUR_S),
]  # fmt: skip

STAGE_TYPES: dict[str, StageType] = {t.name: t for t in _TYPES}
LANE_STAGES: tuple[str, ...] = tuple(t.name for t in _TYPES if t.is_lane_stage)
# The workers of the stack, each with the service whose code, image and lock it has.
WORKERS: dict[str, Service] = {t.worker: t.service for t in _TYPES}
