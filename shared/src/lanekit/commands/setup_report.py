"""The set-up check as a whole: looks things up and has them judged."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from lanekit.commands import setup_check as check
from lanekit.errors import LanekitError
from lanekit.files.model_folder import read_config
from lanekit.host import probe
from lanekit.host.checkout import find_project_root
from lanekit.spec.estimates import (
    BF16,
    EXAONE_SHAPE,
    ModelShape,
    estimate_device_bytes,
    estimate_disk_bytes,
    estimate_host_bytes,
    name_memory_knobs,
    read_shape,
)
from lanekit.spec.experiment_file import Experiment, is_local, load_experiment_lanes
from lanekit.spec.judge import show_host
from lanekit.spec.lane_file import Lane
from lanekit.spec.params import JudgeSettings

HUB_URL = "https://huggingface.co"
LOCKS_FOLDER = Path("scripts/env")
PROBED_URLS = (("Redis", "LANEKIT_REDIS_URL"), ("MinIO", "LANEKIT_MINIO_URL"))


def check_setup(
    experiment_path: Path, store: Path, environment: Mapping[str, str] | None = None
) -> list[check.Line]:
    """Return all findings, in the order in which a person would mend them."""
    environment = os.environ if environment is None else environment
    gpus = probe.query_gpus()
    lines = [check.judge_python(sys.version_info[:3]), check.judge_cores(probe.count_cores())]
    lines += check.judge_gpus(gpus)
    versions = probe.find_versions([*check.PINS, *check.VLLM_BUILDS])
    lines += check.judge_pins(versions, bool(gpus))
    lines.append(_check_lock(find_project_root(), LOCKS_FOLDER / check.choose_lock(versions)))
    lines.append(check.judge_store(str(store), probe.try_write(store)))
    try:
        experiment, lanes = load_experiment_lanes(experiment_path)
    except LanekitError as error:
        lines.append(check.Line("fault", "experiment", error.message, error.remedy or "correct the file"))
    else:
        lines += _check_needs(experiment, lanes, store, gpus)
        lines.append(_check_hub(experiment, environment))
        if experiment.evaluation.judge:
            lines.append(_check_judge(experiment.evaluation.judge, environment))
    for name, variable in PROBED_URLS:
        lines.append(_check_service(name, variable, environment.get(variable)))
    client = probe.run_command(["docker", "--version"])
    server = probe.run_command(["docker", "version", "--format", "{{.Server.Version}}"]) if client else None
    lines.append(check.judge_docker(client, server.strip() if server else None))
    return lines


def _check_lock(root: Path, lock: Path) -> check.Line:
    path = root / lock
    locked = check.parse_lock(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return check.judge_lock(locked, probe.find_versions(locked), str(lock))


def _check_needs(
    experiment: Experiment, lanes: list[Lane], store: Path, gpus: list[probe.Gpu]
) -> list[check.Line]:
    source = experiment.base_model.source
    local = is_local(source)
    model_bytes = probe.measure_folder_bytes(Path(source)) if local else BF16 * EXAONE_SHAPE.parameters
    lines: list[check.Line] = []
    missing = sorted(
        f"{name} ({s.source})"
        for name, s in {"base_model": experiment.base_model, **experiment.data}.items()
        if is_local(s.source) and not Path(s.source).exists()
    )
    if missing:
        remedy = "correct the experiment file, or make the data first (scripts/01_prepare_data.py --help)"
        lines.append(check.Line("warning", "sources", f"not there: {', '.join(missing)}", remedy))
    disk_bytes = estimate_disk_bytes(model_bytes, lanes, experiment.packaging.top_k, not local)
    lines.append(check.judge_disk(probe.measure_free_bytes(store), disk_bytes, str(store)))
    shape = _find_shape(Path(source)) if local else EXAONE_SHAPE
    return lines + _check_memory(lanes, shape, gpus)


def _find_shape(folder: Path) -> ModelShape:
    """Return a local model's shape; a folder that is no model is told elsewhere."""
    try:
        return read_shape(read_config(folder))
    except (LanekitError, KeyError, TypeError, ValueError):
        return EXAONE_SHAPE


def _check_memory(lanes: list[Lane], shape: ModelShape, gpus: list[probe.Gpu]) -> list[check.Line]:
    """Return a line for the GPU's memory, where there is one, and one for the main memory."""
    stages = [stage for lane in lanes for stage in lane.stages]

    def judge(subject: str, there_bytes: int, needs: list[int], on_host: bool) -> check.Line:
        worst = stages[needs.index(max(needs))]
        knobs = name_memory_knobs(worst.params, on_host=on_host)
        return check.judge_memory(subject, there_bytes, max(needs), worst.type.name, knobs)

    lines = []
    if stages and gpus:
        on_device = [estimate_device_bytes(stage.params, shape) or 0 for stage in stages]
        lines.append(judge("GPU memory", gpus[0].memory_bytes, on_device, False))
    if stages:
        on_host = [estimate_host_bytes(stage.params, shape, on_gpu=bool(gpus)) for stage in stages]
        lines.append(judge("memory", probe.measure_memory_bytes(), on_host, bool(gpus)))
    return lines


def _check_hub(experiment: Experiment, environment: Mapping[str, str]) -> check.Line:
    named = {"base_model": experiment.base_model, **experiment.data}
    hub_sources = sorted({s.source for s in named.values() if not is_local(s.source)})
    url = environment.get("HF_ENDPOINT") or HUB_URL
    obstacle = probe.try_connect(url) if hub_sources else ""
    return check.judge_hub(obstacle, bool(environment.get("HF_TOKEN")), hub_sources)


def _check_judge(settings: JudgeSettings, environment: Mapping[str, str]) -> check.Line:
    has_key = bool(environment.get(settings.api_key_env, "").strip())
    host = show_host(settings.url)
    return check.judge_judge(host, probe.try_connect(settings.url), settings.api_key_env, has_key)


def _check_service(name: str, variable: str, url: str | None) -> check.Line:
    if not url:
        return check.judge_service(name, variable, None, "")
    # A URL may carry a password: what stands before the @ is not shown.
    return check.judge_service(name, variable, url.rpartition("@")[2], probe.try_connect(url))
