"""One fault after another during one run on the real engine: it ends complete, nothing is made twice."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from commands import make_environment, read_table
from composed import WORKERS, Stack, run_stack
from faults import (
    RECOVERY_S,
    FaultRow,
    Scene,
    cut_upload,
    flush_redis,
    kill_controller,
    kill_worker,
    read_time,
    restart_redis,
    stop_minio,
)

pytestmark = [pytest.mark.slow, pytest.mark.stack, pytest.mark.timeout(1800)]

LANES = (  # every kind of stage
    "lane01_gptq_w4a16", "lane04_fp8_dynamic", "lane05_sft_fp16", "lane06_sft_gptq_w4a16",
    "lane08_w4a16_postsft", "lane10_prune28_kd_w4a16",
)  # fmt: skip


@pytest.fixture
def stack(engine: None, tmp_path: Path) -> Iterator[Stack]:
    """A stack of its own: the other tests look at what theirs went through."""
    ports = {"REDIS_PORT": "17379", "MINIO_PORT": "17000", "MINIO_CONSOLE_PORT": "17001"}
    folder = tmp_path / "stack"
    folder.mkdir()
    yield from run_stack(Stack("lanes-faults", folder, ports=ports))


@pytest.fixture
def long_experiment(experiment: Path, tmp_path: Path) -> Path:
    """The reduced experiment with other data, so with other keys, and stages of some seconds."""
    settings = yaml.safe_load(experiment.read_text(encoding="utf-8"))
    settings["name"] = "faults"
    settings["corpus"].update(train_rows=240, calibration_rows=64)
    settings["stage_defaults"]["sft"]["steps"] = 30
    settings["stage_defaults"]["distill"]["steps"] = 20
    settings["stage_defaults"]["post_sft"]["steps"] = 20
    settings["stage_defaults"]["gptq"]["calibration_rows"] = settings["limit_calibration_rows"] = 48
    settings["evaluation"]["limit_items"] = 24
    folder = tmp_path / "lanes"
    folder.mkdir()
    for path in experiment.parent.glob("lane*.yaml"):
        (folder / path.name).write_bytes(path.read_bytes())
    (folder / "benchmarks").symlink_to(experiment.parent / "benchmarks")
    (folder / "experiment.yaml").write_text(yaml.safe_dump(settings, allow_unicode=True), encoding="utf-8")
    return folder / "experiment.yaml"


def test_a_run_survives_every_fault(stack: Stack, long_experiment: Path, tmp_path: Path) -> None:
    first_event = len(stack.read_events(*WORKERS))
    done = stack.run_script("enqueue_lane.py", "--experiment", str(long_experiment), *LANES)
    run_id = next(word for word in done.stdout.split() if word.startswith("faults-")).strip(":,.")
    scene = Scene(stack, run_id)
    watch = subprocess.Popen(
        [*stack.name_script("status.py"), run_id, "--watch"],
        cwd=stack.folder, env=make_environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    rows = [
        kill_worker(scene, "trainer"),
        cut_upload(scene, "trainer"),
        kill_worker(scene, "quantizer"),
        kill_controller(scene),
        restart_redis(scene),
        flush_redis(scene),
        kill_worker(scene, "evaluator"),
        stop_minio(scene),
    ]
    printed, _ = watch.communicate(timeout=1200)
    assert watch.returncode == 0, printed
    count_stages(rows, stack.read_events(*WORKERS)[first_event:])
    table = draw_table(rows)
    print("\n" + table)
    if folder := os.environ.get("LANEKIT_REPORTS"):
        (Path(folder) / "faults.md").write_text(table, encoding="utf-8")
    assert all(row.recomputed == 0 for row in rows), table
    assert all(row.recovered_s < RECOVERY_S for row in rows), table
    stack.run_script("fetch.py", run_id, "--results", str(tmp_path / "results"),
                     "--submissions", str(tmp_path / "submissions"))  # fmt: skip
    lanes = read_table(tmp_path)
    assert len(lanes) == len(LANES) + 1
    assert all(row["status"] == "ok" for row in lanes.values()), lanes
    corrupt = [
        e for e in stack.read_events() if "sha256" in json.dumps(e) and e.get("event") == "stage_failed"
    ]
    assert not corrupt, "nothing half-written may ever be read"


def count_stages(rows: list[FaultRow], events: list[dict[str, Any]]) -> None:
    """Count the stages that were begun again, before and after their commit, to the fault before them."""
    begun: set[str] = set()
    committed: set[str] = set()
    for event in events:
        key = event.get("key", "")
        if event.get("event") == "stage_committed":
            committed.add(key)
        if event.get("event") != "stage_started":
            continue
        if key in begun:
            row = next(row for row in reversed(rows) if row.since <= read_time(event))
            if key in committed:
                row.recomputed += 1
            else:
                row.begun_again += 1
        begun.add(key)


def draw_table(rows: list[FaultRow]) -> str:
    """Return the table as Markdown."""
    lines = [
        "| fault | hit | recovered after | unfinished stage begun again | committed stages recomputed |",
        "| :--- | :--- | ---: | ---: | ---: |",
    ]
    for row in rows:
        counts = f"{row.begun_again} | {row.recomputed}"
        lines.append(f"| {row.fault} | {row.hit or '–'} | {row.recovered_s:.0f} s | {counts} |")
    return "\n".join(lines) + "\n"
