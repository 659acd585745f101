"""What a run at the real size showed, as one JSON document and one page of Markdown."""

from __future__ import annotations

import json
import platform
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from benchmarks.real_size.driving import StageFact
from benchmarks.real_size.inputs import ROOT, STEPS
from lanekit.host.probe import count_cores, list_versions, measure_memory_bytes, query_gpus
from lanekit.plan.graph import Locator, Plan, StageRun
from lanekit.results.course import Outcome
from lanekit.spec.estimates import estimate_device_bytes, estimate_disk_bytes, estimate_host_bytes, read_shape
from lanekit.spec.lane_file import Lane
from lanekit.store.folder import FolderStore

MB, GB = 10**6, 10**9


def read_commit() -> str:
    """Return the commit of this checkout, with "+" where files differ from it; empty without git."""
    command = ["git", "-C", str(ROOT), "describe", "--always", "--abbrev=40", "--dirty=+"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""


def collect_result(
    plan: Plan, outcome: Outcome | None, store: FolderStore, facts: Sequence[StageFact], **told: Any
) -> dict[str, Any]:
    """Return the whole result; without an outcome it holds the stages that are done."""
    gpus = query_gpus()
    runs = dict(plan.runs)
    for path in outcome.packages.values() if outcome else ():
        runs[path.key] = store.load_run(path.path)
    return {
        "made_by": "scripts/benchmarks/run_real_size.py",
        "date": f"{datetime.now(timezone.utc):%Y-%m-%d}",
        "complete": bool(outcome and outcome.is_complete),
        "device": gpus[0].name if gpus else "cpu",
        "driver": gpus[0].driver if gpus else "",
        "gpu_memory_bytes": gpus[0].memory_bytes if gpus else 0,
        "host": {
            "cores": count_cores(),
            "memory_bytes": measure_memory_bytes(),
            "system": platform.platform(),
        },
        "versions": list_versions(),
        **told,
        "stages": [describe_stage(fact, plan, store) for fact in facts],
        "lanes": [describe_lane(lane) for lane in outcome.ranking.lanes] if outcome else [],
        "notes": outcome.ranking.notes if outcome else [],
        "packages": describe_packages(outcome, store, facts) if outcome else [],
        "refused": outcome.refused if outcome else {},
    }


def describe_stage(fact: StageFact, plan: Plan, store: FolderStore) -> dict[str, Any]:
    """Return one stage's times and peaks, with the engine's start apart."""
    run = plan.runs.get(fact.key)
    lanes = plan.list_lanes_of(fact.key) if run else []
    starts, seconds = read_start(fact, store)
    return {**asdict(fact), "lanes": lanes, "engine_starts": starts, "engine_start_seconds": seconds}


def read_start(fact: StageFact, store: FolderStore) -> tuple[int, list[float]]:
    """Return how many engines a stage started, by its own report, and the seconds until it had each."""
    folders = list(store.root.glob(f"*/{fact.name}"))
    if not folders:
        return 0, []
    for name in ("report.json", "verification.json"):
        path = folders[0] / name
        if path.is_file():
            report = json.loads(path.read_text(encoding="utf-8"))
            seconds = report.get("load_seconds")
            if seconds is not None:
                listed = [round(s, 2) for s in (seconds if isinstance(seconds, list) else [seconds])]
                return int(report.get("engine_starts", len(listed))), listed
    return 0, []


def describe_lane(lane: Any) -> dict[str, Any]:
    """Return a ranked lane's row."""
    record, speed = lane.record, lane.record.speed
    row: dict[str, Any] = {
        "lane": record.lane,
        "status": record.status,
        "reason": record.reason,
        "rank": lane.rank,
        "weights_bytes": record.size_bytes,
    }
    if speed is None:
        return row
    return row | {
        "engine": speed.engine,
        "device": speed.device,
        "kernels": speed.cost.kernels if speed.cost else {},
        "kv_cache_dtype": speed.cost.kv_cache_dtype if speed.cost else "",
        "engine_arguments": speed.engine_arguments,
        "forms": {name: form.model_dump() for name, form in speed.forms.items()},
        "warnings": speed.warnings,
    }


def describe_packages(
    outcome: Outcome, store: FolderStore, facts: Sequence[StageFact]
) -> list[dict[str, Any]]:
    """Return what the verification of each package found; a package in `packages` has passed it."""
    verified = {}
    for fact in facts:
        for path in store.root.glob(f"*/{fact.name}/verification.json"):
            found = json.loads(path.read_text(encoding="utf-8"))
            manifest = json.loads((path.parent / "manifest.json").read_text(encoding="utf-8"))
            verified[manifest["inputs"]["package"]] = found
    rows = []
    for lane, package in outcome.packages.items():
        found = verified.get(package.key, {})
        engine = found.get("engine", {})
        rows.append(
            {
                "lane": lane,
                "loaded_with": found.get("loaded_with"),
                "vllm": engine.get("vllm"),
                "kernels": engine.get("kernels"),
                "n_tokens": found.get("n_tokens"),
                "zip_bytes": found.get("zip_bytes"),
                "load_seconds": found.get("load_seconds"),
            }
        )
    return rows


def compare_estimates(
    plan: Plan, facts: Sequence[StageFact], lanes: Sequence[Lane], config: Mapping[str, Any], top_k: int,
    model_bytes: int, used_bytes: int, packaged: Sequence[Lane],
) -> list[dict[str, Any]]:  # fmt: skip
    """Return measured against estimated: each training and quantization stage, the host, and the disk.

    The disk is estimated for the lanes that were packaged; before a run the set-up check takes the largest.
    """
    shape, rows = read_shape(config), []

    def add(what: str, estimated: int, measured: int) -> None:
        if measured:  # nvidia-smi tells nothing on a CPU
            ratio = round(estimated / measured, 3)
            rows.append(
                {"what": what, "estimated_bytes": estimated, "measured_bytes": measured, "ratio": ratio}
            )

    for fact in facts:
        run: StageRun | None = plan.runs.get(fact.key)
        estimated = estimate_device_bytes(run.params, shape) if run else None
        if run and estimated is not None:
            add(f"GPU memory, {fact.name}", estimated, fact.peak_device_bytes)
            host_bytes = estimate_host_bytes(run.params, shape, on_gpu=bool(fact.peak_device_bytes))
            add(f"main memory, {fact.name}", host_bytes, fact.peak_rss_bytes)
    disk_bytes = estimate_disk_bytes(model_bytes, lanes, top_k, from_hub=False, packaged=packaged)
    add("disk: store, submissions, packages unzipped to verify them", disk_bytes, used_bytes)
    return rows


def measure_disk(plan: Plan, outcome: Outcome, store: FolderStore, submissions: Path) -> int:
    """Return the bytes of a plan's artifacts and packages, of what was exported of them, and of the exported
    zips once more: each was unzipped to verify it, and zips of weights save next to nothing."""
    places: list[Locator] = [*plan.runs.values(), *outcome.packages.values()]
    found = [store.find_artifact(place) for place in places]
    exported = [path for path in submissions.rglob("*") if path.is_file()]
    unzipped = [path for path in exported if path.suffix == ".zip"]
    kept_bytes = sum(manifest.size_bytes for manifest in found if manifest)
    return kept_bytes + sum(path.stat().st_size for path in [*exported, *unzipped])


def render_markdown(result: Mapping[str, Any]) -> str:
    """Return the result as a page."""
    versions = ", ".join(f"{name} {version}" for name, version in result["versions"].items())
    gpus = result["gpus"]
    lines = [
        f"# Lanes at the real size on {result['device']}, {result['date']}",
        "",
        "Random weights in EXAONE-4.0-1.2B's shape, the tiny model's tokenizer, synthetic text; batch sizes "
        f"and lengths of lanes/experiment.yaml, {STEPS} training steps, few rows and items: the qualities "
        f"mean nothing. Made by `{result['made_by']}` at commit `{result['commit'] or 'unknown'}`; "
        f"{'complete' if result['complete'] else '**not complete**'}.",
        "",
        f"Driver {result['driver']}, {result['host']['cores']} cores, {versions}.",
        "",
    ]
    if result["is_crowded"]:
        lines += [
            f"GPUs: {len(gpus)}. Many stages ran at once: training and quantizing stages shared a GPU with "
            "each other, small ones with an engine too, and all shared the host's cores. Seconds are "
            "therefore upper bounds, and the speeds show that the forms work: they rank nothing.",
            "",
        ]
    if result["enforce_eager"]:
        lines += [
            "The engines ran with `enforce_eager`, without compiling and CUDA graphs, to start in less time: "
            "their speeds are not those of a submission.",
            "",
        ]
    if result.get("gpu_tests"):
        lines += _tell_tests(result["gpu_tests"])
    return "\n".join([*lines, *_tabulate_lanes(result), *_tabulate_stages(result), *_tabulate_rest(result)])


def _tell_tests(tests: Mapping[str, Any]) -> list[str]:
    """Say what the GPU test suite ended with; an empty line follows."""
    said = [
        f"`pytest -m gpu` on one {tests['device']} (driver {tests['driver']}, {tests['date']}, commit "
        f"`{tests['commit']}`) ended with: `{tests['closing_line']}`."
    ]
    shares = [float(found["equal_tokens"]) for found in tests["recorded"].values() if "equal_tokens" in found]
    if shares:
        said.append(
            f"Of the tokens that vLLM and transformers generate greedily, {min(shares):.2%} or more are "
            f"equal in each of the {len(shares)} formats."
        )
    repeated = [found["bit_identical"] for found in tests["recorded"].values() if "bit_identical" in found]
    if repeated:
        equal = "the same bytes" if set(repeated) == {"True"} else "**other bytes**"
        said.append(f"Quantizing the tiny model twice by GPTQ there gave {equal}.")
    return [" ".join(said), ""]


def _tabulate_lanes(result: Mapping[str, Any]) -> list[str]:
    lanes = [lane for lane in result["lanes"] if "forms" in lane]
    names = list(lanes[0]["forms"]) if lanes else []
    lines = [
        "## Lanes",
        "",
        f"| lane | weights MB | kernel of the linears | KV | {' | '.join(names)} |",
        f"| :--- | ---: | :--- | :--- |{' ---: |' * len(names)}",
    ]
    for lane in lanes:
        forms = " | ".join(
            f"{1000 * form['s_per_token']:.4f} / {1000 * form['baseline_s_per_token']:.4f}"
            for form in lane["forms"].values()
        )
        kernels = sorted({name.split(": ")[1] for name in lane["kernels"] if name.startswith("qkv_proj")})
        lines.append(
            f"| `{lane['lane']}` | {lane['weights_bytes'] / MB:.0f} | {', '.join(kernels)} "
            f"| {lane['kv_cache_dtype']} | {forms} |"
        )
    lines += ["", "*ms a token: candidate / baseline, in turn in one sitting.*", ""]
    failed = [lane for lane in result["lanes"] if "forms" not in lane]
    return lines + [f"- `{lane['lane']}`: {lane['status']}: {lane['reason']}" for lane in failed]


def _tabulate_stages(result: Mapping[str, Any]) -> list[str]:
    lines = [
        "## Stages",
        "",
        "| stage | lanes | seconds | of these engine starts | peak GPU GB | of these allocated by the "
        "stage's own process | peak main memory GB |",
        "| :--- | :--- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for stage in result["stages"]:
        starts = " + ".join(f"{s:.0f}" for s in stage["engine_start_seconds"])
        lanes = ", ".join(name.partition("_")[0] for name in stage["lanes"])
        lines.append(
            f"| `{stage['name']}` | {lanes} | {stage['wall_seconds']:.0f} | {starts} "
            f"| {stage['peak_device_bytes'] / GB:.1f} | {stage['peak_allocated_bytes'] / GB:.1f} "
            f"| {stage['peak_rss_bytes'] / GB:.1f} |"
        )
    return [*lines, "", "*seconds: wall time with the child's start and its imports.*", ""]


def _tabulate_rest(result: Mapping[str, Any]) -> list[str]:
    lines = ["## Packages", "", "| lane | loaded with | tokens | zip MB |", "| :--- | :--- | ---: | ---: |"]
    lines += [
        f"| `{p['lane']}` | {p['loaded_with']} {p['vllm'] or ''} | {p['n_tokens']} "
        f"| {p['zip_bytes'] / MB:.0f} |"
        for p in result["packages"]
        if p["zip_bytes"]
    ]
    lines += [f"- refused: `{lane}`: {reason}" for lane, reason in result["refused"].items()]
    lines += ["", "## What the set-up check estimates", ""]
    lines += ["| what | estimated GB | measured GB | ratio |", "| :--- | ---: | ---: | ---: |"]
    lines += [
        f"| {row['what']} | {row['estimated_bytes'] / GB:.2f} | {row['measured_bytes'] / GB:.2f} "
        f"| {row['ratio']} |"
        for row in result["estimates"]
    ]
    return [*lines, ""]
