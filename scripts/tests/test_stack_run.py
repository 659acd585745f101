"""The composed stack on a real engine: the twelve lanes, with the embedded run's keys and ranking."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from commands import EmbeddedRun, Runner, read_table
from composed import N_LANES, SERVICES, WORKERS, FinishedRun, Stack, run_command

pytestmark = [pytest.mark.slow, pytest.mark.stack]


def read_keys(store: Path) -> dict[str, dict[str, Any]]:
    """Return the manifests of the lanes' work by key; what follows the measured speeds is left out."""
    manifests = [json.loads(path.read_text(encoding="utf-8")) for path in store.glob("*/*/manifest.json")]
    return {m["key"]: m for m in manifests if m["stage"] not in ("rank", "package", "verify_package")}


def test_every_lane_is_ranked_and_three_packages_are_fetched(finished_run: FinishedRun) -> None:
    table = read_table(finished_run.folder)
    assert len(table) == N_LANES + 1
    assert all(row["status"] == "ok" for row in table.values())
    submissions = finished_run.folder / "submissions"
    assert sorted(path.name for path in submissions.glob("*.zip")) == [
        "submit_top1.zip", "submit_top2.zip", "submit_top3.zip",
    ]  # fmt: skip
    assert (finished_run.folder / "results" / "summary.html").is_file()


def test_keys_and_ranking_are_the_embedded_runs(
    finished_run: FinishedRun, embedded_run: EmbeddedRun, run_script: Runner, tmp_path: Path
) -> None:
    run_id = re.compile(r"\b[a-z0-9-]+-[0-9a-f]{12}\b")
    assert run_id.search(embedded_run.printed).group() in finished_run.printed  # type: ignore[union-attr]
    ours, theirs = read_keys(finished_run.mirror), read_keys(embedded_run.folder / ".lanekit" / "store")
    assert set(ours) == set(theirs)
    assert {lane: row["perf"] for lane, row in read_table(finished_run.folder).items()} == {
        lane: row["perf"] for lane, row in read_table(embedded_run.folder).items()
    }, "the same models answer the same"
    # Speed differs from sitting to sitting. Over the stack's own measurements the embedded run computes
    # nothing, not even the ranking, and gives the same table and packages, byte for byte.
    again = run_script("run_all.py", "--store", str(finished_run.mirror), cwd=tmp_path)
    assert "running:" not in again.stdout
    for name in ("summary.csv", "summary.md", "summary.html"):
        fetched = (finished_run.folder / "results" / name).read_bytes()
        assert (tmp_path / "results" / name).read_bytes() == fetched
    for position in (1, 2, 3):
        name = f"submit_top{position}.zip"
        fetched = (finished_run.folder / "submissions" / name).read_bytes()
        assert (tmp_path / "submissions" / name).read_bytes() == fetched


def test_nothing_was_computed_twice(finished_run: FinishedRun) -> None:
    started = [event["key"] for event in finished_run.events if event.get("event") == "stage_started"]
    assert len(started) == len(set(started))
    assert set(started) >= set(read_keys(finished_run.mirror))


def test_no_two_stages_shared_the_device(finished_run: FinishedRun) -> None:
    told = [e for e in finished_run.events if e.get("event") in ("device_acquired", "device_released")]
    assert {event["container"] for event in told} == {"trainer", "quantizer", "evaluator"}
    assert len({event["device"] for event in told}) == 1
    assert len(told) >= 2 * 40
    pairs = list(zip(told[::2], told[1::2], strict=True))
    for acquired, released in pairs:
        assert (acquired["event"], released["event"]) == ("device_acquired", "device_released")
        assert acquired["key"] == released["key"]


def test_an_artifact_made_on_this_host_is_not_fetched_again(finished_run: FinishedRun) -> None:
    filled = [event["place"] for event in finished_run.events if event.get("event") == "cache_filled"]
    assert filled, "the sources come from the store"
    assert all("source-" in place for place in filled), "all workers of a host share one cache"


def test_containers_run_as_compose_says(finished_run: FinishedRun, stack: Stack) -> None:
    for service in (*SERVICES, "redis", "minio"):
        assert stack.inspect(service, "{{.Config.User}}") == "10001:10001"
        assert stack.inspect(service, "{{.HostConfig.ReadonlyRootfs}}") == "true"
        assert stack.inspect(service, "{{.RestartCount}}") == "0"
    password = stack.read_secret("REDIS_PASSWORD")
    assert password not in run_command(["docker", "top", stack.find_container("redis"), "-eo", "pid,args"])


def test_asking_for_the_same_run_again_computes_nothing(
    finished_run: FinishedRun, stack: Stack, experiment: Path
) -> None:
    before = len(stack.read_events(*WORKERS))
    done = stack.run_script("enqueue_lane.py", "--experiment", str(experiment), "--all", "--watch")
    assert "fetch.py" in done.stdout
    stages = [e for e in stack.read_events(*WORKERS)[before:] if e.get("event") == "stage_started"]
    assert not stages
