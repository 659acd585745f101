"""What an experiment needs of this machine: its sources, disk and memory, the hub and the judge."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from lanekit.commands.preflight import Asked, Inputs, collect_findings, look_at_host, read_inputs
from lanekit.commands.setup.finding import Finding, expect
from lanekit.errors import LanekitError
from lanekit.files.model_folder import measure_weights, read_config
from lanekit.host import probe
from lanekit.host.devices import detect_cuda
from lanekit.plan.evaluation import plan_engine
from lanekit.plan.preflight.environment import ENVIRONMENT
from lanekit.plan.preflight.finding import PreflightError
from lanekit.spec import estimates
from lanekit.spec.experiment_file import is_local
from lanekit.spec.judge import JudgeSettings, show_host
from lanekit.spec.lane_file import LaneStage

HUB_URL = "https://huggingface.co"


def check_needs(
    experiment_path: Path, store: Path, gpus: Sequence[probe.Gpu], environment: Mapping[str, str]
) -> Iterator[Finding]:
    """Give the findings about an experiment; one alone where it cannot be read."""
    try:
        inputs = read_inputs(experiment_path)
    except PreflightError as error:
        for fault in error.faults:
            yield Finding("fault", "experiment", f"{fault.where}: {fault.message}", fault.remedy)
        return
    except LanekitError as error:
        yield Finding("fault", "experiment", error.message, error.remedy or "correct the file")
        return
    experiment, lanes = inputs.experiment, inputs.choose_lanes([])
    yield from check_preflight(inputs, environment)
    sources = {"base_model": experiment.base_model, **experiment.data}
    local = {name: Path(s.source) for name, s in sources.items() if is_local(s.source)}
    absent = sorted(f"{name} ({path})" for name, path in local.items() if not path.exists())
    if absent:
        remedy = "correct the experiment file, or make the data first (scripts/01_prepare_data.py --help)"
        yield Finding("warning", "sources", f"not there: {', '.join(absent)}", remedy)
    model = local.get("base_model")
    shape = _find_shape(model)
    model_bytes = _measure(model) or estimates.BF16 * shape.parameters
    top_k = experiment.packaging.top_k
    yield check_disk(store, estimates.estimate_disk_bytes(model_bytes, lanes, top_k, from_hub=not model))
    yield from check_memories([stage for lane in lanes for stage in lane.stages], shape, gpus)
    yield check_hub(sorted({s.source for s in sources.values() if not is_local(s.source)}), environment)
    if experiment.evaluation.judge:
        yield check_judge(experiment.evaluation.judge, environment)


def check_preflight(inputs: Inputs, environment: Mapping[str, str]) -> Iterator[Finding]:
    """Give what the preflight of the commands finds; the hub is left alone where it cannot be reached.

    Sources that are not there are told apart: the data may be made yet.
    """
    base = inputs.experiment.base_model
    is_there = Path(base.source).is_dir() if is_local(base.source) else not _try_hub(environment)
    engine = plan_engine(inputs.experiment, detect_cuda)
    sets = inputs.experiment.data.items()
    there = (name for name, s in sets if not is_local(s.source) or Path(s.source).expanduser().exists())
    parts = (*(("base_model",) if is_there else ()), *there)
    lanes = inputs.choose_lanes([])
    found = collect_findings(inputs, Asked(lanes, engine, host=look_at_host(), parts=parts))
    for finding in found:
        if finding.where != ENVIRONMENT:  # the libraries have lines of their own
            said = f"{finding.where}: {finding.message}"
            if finding.level == "notice":
                yield Finding("ok", "plan", said)
            else:
                yield Finding(finding.level, "plan", said, finding.remedy)
    if not found:
        yield Finding("ok", "plan", f"{len(lanes)} lanes fit the base model, the data and each other")


def _try_hub(environment: Mapping[str, str]) -> str:
    return probe.try_connect(environment.get("HF_ENDPOINT") or HUB_URL)


def check_disk(store: Path, needed_bytes: int) -> Finding:
    """Compare the free disk at the store with what a run fills."""
    free_bytes = probe.measure_free_bytes(store)
    found = f"{_gigabytes(free_bytes)} free at {store}, about {_gigabytes(needed_bytes)} needed"
    missing = _gigabytes(needed_bytes - free_bytes)
    remedy = f"free {missing}, pass another --store, or run fewer lanes (--only)"
    return expect(free_bytes >= needed_bytes, "disk", found, remedy)


def check_memories(
    stages: Sequence[LaneStage], shape: estimates.ModelShape, gpus: Sequence[probe.Gpu]
) -> Iterator[Finding]:
    """Compare the GPU's memory, where there is one, and the main memory with the heaviest stage."""
    if stages and gpus:
        on_device = [estimates.estimate_device_bytes(stage.params, shape) or 0 for stage in stages]
        yield _compare_memory("GPU memory", gpus[0].memory_bytes, stages, on_device, on_host=False)
    if stages:
        on_host = [estimates.estimate_host_bytes(stage.params, shape, on_gpu=bool(gpus)) for stage in stages]
        yield _compare_memory("memory", probe.measure_memory_bytes(), stages, on_host, on_host=bool(gpus))


def _compare_memory(
    subject: str, there_bytes: int, stages: Sequence[LaneStage], needs: list[int], *, on_host: bool
) -> Finding:
    needed_bytes = max(needs)
    worst = stages[needs.index(needed_bytes)]
    needed = f"about {_gigabytes(needed_bytes)} needed by the heaviest stage ({worst.type.name})"
    remedy = "use a machine with more, or leave its lanes out (--only)"
    if knobs := estimates.name_memory_knobs(worst.params, on_host=on_host):
        remedy = f"lower its {knobs}; or {remedy}"
    found = f"{_gigabytes(there_bytes)}, {needed}"
    return expect(there_bytes >= needed_bytes, subject, found, remedy, otherwise="warning")


def check_hub(hub_sources: Sequence[str], environment: Mapping[str, str]) -> Finding:
    """Try the hub; information only, for local paths do without it."""
    if not hub_sources:
        return Finding("ok", "model hub", "not needed: every source of the experiment is a local path")
    obstacle = _try_hub(environment)
    has_token = bool(environment.get("HF_TOKEN"))
    remedy = "gated sets (KMMLU-Pro, KMMLU-Redux) need HF_TOKEN of an account that accepted their terms"
    if obstacle:
        remedy = f"give local paths for {', '.join(hub_sources)}, or connect this host to the hub"
    found = f"{_say_reachable(obstacle)}, HF_TOKEN is {'set' if has_token else 'not set'}"
    return expect(not obstacle and has_token, "model hub", found, remedy, otherwise="warning")


def check_judge(settings: JudgeSettings, environment: Mapping[str, str]) -> Finding:
    """Try the judge model's endpoint; without it KoMT-Bench cannot be scored."""
    obstacle = probe.try_connect(settings.url)
    name = settings.api_key_env
    has_key = bool(environment.get(name, "").strip())
    remedy = f"set {name}, unless the endpoint asks for no key"
    if obstacle:
        remedy = "correct evaluation.judge.url in the experiment file, or start the endpoint"
    found = (
        f"{show_host(settings.url)} {_say_reachable(obstacle)}, {name} is {'set' if has_key else 'not set'}"
    )
    return expect(not obstacle and has_key, "judge", found, remedy, otherwise="warning")


def _say_reachable(obstacle: str) -> str:
    return f"not reachable ({obstacle})" if obstacle else "reachable"


def _find_shape(folder: Path | None) -> estimates.ModelShape:
    """Return a local model's shape; a folder that is no model is told elsewhere."""
    try:
        return estimates.read_shape(read_config(folder)) if folder else estimates.EXAONE_SHAPE
    except (LanekitError, KeyError, TypeError, ValueError):
        return estimates.EXAONE_SHAPE


def _measure(folder: Path | None) -> int:
    """Return a local model's bytes of weights, 0 where they cannot be told: that is found elsewhere."""
    try:
        return measure_weights(folder) if folder else 0
    except (LanekitError, OSError):
        return 0


def _gigabytes(size_bytes: int) -> str:
    return f"{size_bytes / 1e9:.1f} GB" if size_bytes >= 1e9 else f"{size_bytes / 1e6:.0f} MB"
