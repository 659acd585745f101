"""A run of the twelve lanes in the middle of its work, as the controller would report it."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from lanekit.host.checkout import find_project_root
from lanekit.jobs.messages import (
    JobReport,
    LaneInfo,
    RunInfo,
    RunPhase,
    RunSnapshot,
    WorkerReport,
    name_queue,
)
from lanekit.jobs.signs import LiveWorker
from lanekit.plan.evaluation import plan_engine
from lanekit.plan.graph import Plan, StageRun
from lanekit.plan.planner import plan_lanes
from lanekit.plan.state import StageStatus
from lanekit.spec.experiment_file import Experiment, load_experiment_lanes

RUN_ID = "demo-tiny-0123456789ab"
CPU = "cpu: Intel(R) Xeon(R) Processor @ 2.70GHz"
GPU = "NVIDIA L4"
LOCK = "test-environment"
RANKED = ("rank", "package", "verify_package")


def plan_all_lanes(hardware: str = GPU) -> Plan:
    """Plan the repository's lanes over sources that need not exist."""
    experiment, lanes = load_experiment_lanes(find_project_root() / "lanes" / "experiment.demo.yaml")
    experiment = give_digests(experiment)
    engine = plan_engine(experiment, lambda: True)
    services = ("trainer", "quantizer", "evaluator", "ranker")
    return plan_lanes(experiment, lanes, engine, dict.fromkeys(services, LOCK), hardware)


def give_digests(experiment: Experiment) -> Experiment:
    """Return the experiment with a digest on every source."""
    data = {name: source.model_copy(update={"digest": "d" * 64}) for name, source in experiment.data.items()}
    base = experiment.base_model.model_copy(update={"digest": "b" * 64})
    return experiment.model_copy(update={"data": data, "base_model": base})


def make_snapshot(
    plan: Plan,
    status: Mapping[str, StageStatus] | None = None,
    queued: Sequence[str] = (),
    reports: Mapping[str, JobReport] | None = None,
    reasons: Mapping[str, str] | None = None,
    phase: RunPhase = "lanes",
) -> RunSnapshot:
    """Return a snapshot of a plan; `status`, `queued`, `reports` and `reasons` go by the runs' keys."""
    status, reports, reasons = status or {}, reports or {}, reasons or {}

    def describe(run: StageRun) -> RunInfo:
        now = status.get(run.key, "waiting")
        same_queue = [key for key in queued if name_queue(plan.runs[key]) == name_queue(run)]
        return RunInfo(
            key=run.key, name=run.name, stage=run.type.name, service=run.type.service, status=now,
            lanes=tuple(plan.list_lanes_of(run.key)), reason=reasons.get(run.key, ""),
            attempt=int(now in ("running", "failed")), queue=name_queue(run),
            queue_position=same_queue.index(run.key) + 1 if run.key in queued else None,
            report=reports.get(run.key),
        )  # fmt: skip

    def explain(keys: Sequence[str]) -> str:
        return next((f"stage {plan.runs[k].type.name}: {reasons[k]}" for k in keys if k in reasons), "")

    lanes = tuple(
        LaneInfo(name=lane.name, title=lane.title, keys=keys, reason=explain(keys))
        for lane in plan.lanes.values()
        if (keys := tuple(dict.fromkeys((*lane.stage_keys, *lane.wanted_keys))))
    )
    runs = tuple(describe(run) for run in plan.runs.values())
    return RunSnapshot(run_id=RUN_ID, phase=phase, updated_at=time.time(), runs=runs, lanes=lanes)


def make_busy_snapshot(plan: Plan) -> RunSnapshot:
    """Return a run that is half done: three stages run, some wait in queues, one lane failed."""
    by_stage: dict[str, list[str]] = {}
    for key, run in plan.runs.items():
        by_stage.setdefault(run.type.name, []).append(key)
    status: dict[str, StageStatus] = dict.fromkeys(
        (*by_stage["fetch_model"], *by_stage["prepare_corpus"], *by_stage["prepare_benchmarks"],
         *by_stage["sft"], *by_stage["prune"], *by_stage["gptq"][:2], by_stage["evaluate"][0]), "done",
    )  # fmt: skip
    status[by_stage["fp8"][0]] = "failed"
    for run in plan.runs.values():
        if by_stage["fp8"][0] in run.inputs.values():
            status[run.key] = "blocked"
    now = time.time()
    distill, gptq, evaluate = by_stage["distill"][0], by_stage["gptq"][2], by_stage["evaluate"][1]
    status.update({distill: "running", gptq: "running", evaluate: "running"})
    reports = {
        distill: JobReport(worker="trainer-7f3a9c", state="running", device=GPU, step=640, total=2000,
                           message="loss 1.2345", started_at=now - 700, first_step=1,
                           first_step_at=now - 640),
        gptq: JobReport(worker="quantizer-11bc02", state="waiting for the device", started_at=now - 12),
        evaluate: JobReport(worker="evaluator-e01d55", state="running", device=GPU, step=0, total=0,
                            message="loading the model", started_at=now - 44),
    }  # fmt: skip
    queued = [by_stage["distill"][1], *by_stage["post_sft"], *by_stage["gptq"][3:5], by_stage["fp8"][1]]
    reasons = {by_stage["fp8"][0]: "out of memory on NVIDIA L4: 21.9 of 22.4 GiB were in use\n  remedy: x"}
    return make_snapshot(plan, status, queued, reports, reasons)


def make_workers(
    *services: str, device: str = GPU, lock_digest: str = LOCK, job_id: str = "", age_s: float = 1.0
) -> list[LiveWorker]:
    """Return one live worker for each of the services."""
    return [
        LiveWorker(make_worker(service, f"{service}-{index:06x}", device, lock_digest, job_id), age_s)
        for index, service in enumerate(services)
    ]


def make_worker(
    service: str, name: str = "", device: str = GPU, lock_digest: str = LOCK, job_id: str = ""
) -> WorkerReport:
    """Return a worker's report."""
    return WorkerReport(
        name=name or f"{service}-1", service=service, host="host-1", queues=(service,),
        devices={"GPU-1": device} if device != CPU else {"cpu-1": device},
        device_kind="cpu" if device.startswith("cpu") else "cuda",
        lock_digest=lock_digest, job_id=job_id, started_at=time.time() - 60,
    )  # fmt: skip
