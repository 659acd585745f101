"""The commands for the composed stack, as a person runs them, on the real Redis and the real MinIO."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from commands import ROOT, Runner, make_environment
from hosted import BEST, BROKEN, Hosted, run_hosted
from real_services import find_free_port
from snapshots import make_snapshot

from lanekit.jobs.keys import RedisKeys
from lanekit.jobs.messages import FailureReport, JobReport
from lanekit.spec.stages import WORKERS
from lanekit.store.folder import FolderStore

BAD_INPUT = 2
LANES = ("--only", "lane01,lane04")
SCRIPTS = ("enqueue_lane.py", "status.py", "cancel.py", "retry.py", "fetch.py")


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hosted]:
    with run_hosted(tmp_path_factory.mktemp("hosted")) as hosted:
        yield hosted


@pytest.fixture
def hosted(servers: Hosted) -> Hosted:
    """The stack, with every process reporting and no run."""
    servers.clear()
    servers.report()
    return servers


@pytest.fixture
def run_id(hosted: Hosted, experiment: Path, tmp_path: Path) -> str:
    """A run of two lanes, enqueued."""
    return enqueue(hosted, experiment, tmp_path)[0]


def enqueue(hosted: Hosted, experiment: Path, cwd: Path, *options: str) -> tuple[str, str]:
    chosen = options or LANES
    done = hosted.run("enqueue_lane.py", *chosen, "--experiment", str(experiment), cwd=cwd)
    found = re.search(r"^run (\S+):", done.stdout, re.MULTILINE)
    assert found, done.stdout
    return found[1], done.stdout


def check_text(text: str, *parts: str) -> None:
    for part in parts:
        assert part in " ".join(text.split()), text


@pytest.mark.parametrize("script", SCRIPTS)
def test_help_teaches(script: str) -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / script), "--help"],
        env=make_environment(), capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    assert f"python scripts/{script}" in done.stdout


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "say which lanes: LANE…, --all, --all-lanes, --only A,B or --max-lanes N"),
        (("--all", "--only", "lane01"), "one of them, not 2"),
        (("lane01", "--max-lanes", "2"), "one of them, not 2"),
        (("--all", "--all-lanes"), "one of them, not 2"),
        (("--only", ","), "--only ',' names no lane"),
        (("--only", ""), "--only '' names no lane"),
        (("lane01_gptq_w4a61",), "unknown lane 'lane01_gptq_w4a61' (did you mean 'lane01_gptq_w4a16'?)"),
        (("--max-lanes", "0"), "--max-lanes must be at least 1"),
    ],
)
def test_lanes_are_chosen_in_one_way(options: tuple[str, ...], message: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "enqueue_lane.py"), *options],
        cwd=tmp_path, env=make_environment(), capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == BAD_INPUT
    check_text(done.stderr, message)
    assert "Traceback" not in done.stderr


def test_without_an_env_file_the_remedy_makes_one(tmp_path: Path) -> None:
    for script in ("enqueue_lane.py", "status.py", "cancel.py", "retry.py", "fetch.py"):
        options = ["--all"] if script == "enqueue_lane.py" else []
        done = subprocess.run(
            [sys.executable, str(ROOT / "scripts" / script), "--env-file", "nowhere/.env", *options],
            cwd=tmp_path, env=make_environment(), capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        assert done.returncode == BAD_INPUT
        check_text(done.stderr, "nowhere/.env: no such file", "python scripts/make_env.py")


def test_a_stack_that_is_not_up_is_one_line(tmp_path: Path) -> None:
    env_file = tmp_path / ".env"
    env_file.write_text(
        f"REDIS_PASSWORD=a\nOPERATOR_SECRET_KEY=b\nREDIS_PORT={find_free_port()}\n"
        f"MINIO_PORT={find_free_port()}\n"
    )
    done = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "enqueue_lane.py"), "--env-file", str(env_file), "--all"],
        cwd=tmp_path, env=make_environment(), capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == BAD_INPUT
    check_text(done.stderr, "stack: it is not up", "remedy: docker compose up -d --wait")


def test_a_missing_evaluator_queues_nothing(hosted: Hosted, experiment: Path, tmp_path: Path) -> None:
    hosted.clear()
    hosted.report(evaluator=None, quantizer=None)  # type: ignore[arg-type]
    options = ("--all", "--experiment", str(experiment))
    done = hosted.run("enqueue_lane.py", *options, cwd=tmp_path, expect=BAD_INPUT)
    check_text(done.stderr, "evaluator: no worker is up", "docker compose up -d evaluator",
               "docker compose logs quantizer")  # fmt: skip
    assert hosted.documents.list_runs() == []


def test_a_run_that_judges_wants_a_judge_worker(hosted: Hosted, experiment: Path, tmp_path: Path) -> None:
    hosted.clear()
    hosted.report(judge=None)  # type: ignore[arg-type]
    enqueue(hosted, experiment, tmp_path)  # nothing is judged, and nobody is missed
    hosted.clear()
    hosted.report(judge=None)  # type: ignore[arg-type]
    settings = yaml.safe_load(experiment.read_text(encoding="utf-8"))
    settings["evaluation"]["judge"] = {"url": "http://judge:8000/v1", "model": "m"}
    judged = experiment.parent / "experiment.waiting.yaml"
    judged.write_text(yaml.safe_dump(settings, allow_unicode=True), encoding="utf-8")
    options = (*LANES, "--experiment", str(judged))
    done = hosted.run("enqueue_lane.py", *options, cwd=tmp_path, expect=BAD_INPUT)
    check_text(done.stderr, "judge: no worker is up", "docker compose up -d judge")
    assert "evaluator:" not in done.stderr
    assert hosted.documents.list_runs() == []
    hosted.report()
    run_id, _ = enqueue(hosted, judged, tmp_path)
    assert "judge" in {run.stage for run in hosted.read_run(run_id).runs}


def test_the_run_is_that_of_the_embedded_default(
    hosted: Hosted, experiment: Path, run_script: Runner, tmp_path: Path
) -> None:
    run_id, text = enqueue(hosted, experiment, tmp_path)
    embedded = run_script("run_all.py", *LANES, "--plan", cwd=tmp_path)
    assert embedded.stdout.startswith(f"run {run_id}:")
    check_text(text, "2 lanes and the baseline ask for 20 stage runs, 14 of them distinct; 0 are committed",
               "uploaded manta.jsonl", f"python scripts/status.py {run_id} --watch", "enqueued")  # fmt: skip
    spec = hosted.read_run(run_id)
    assert spec.run_id == run_id
    assert str(experiment.parent) not in spec.model_dump_json(), "no path of this host leaves it"
    stored = [o.object_name for o in hosted.client.minio.list_objects("data", recursive=True)]
    assert sum(str(name).endswith("/source.json") for name in stored) == 6, "five data sets, the model"
    again = enqueue(hosted, experiment, tmp_path)
    assert again[0] == run_id
    check_text(again[1], "it is under way already")
    assert "uploaded" not in again[1]
    failure = f"failures/{spec.runs[0].key}.json"
    hosted.documents.write(run_id, failure, b"{}", "application/json")
    enqueue(hosted, experiment, tmp_path)
    assert hosted.documents.read(run_id, failure) is None, "run again, as the remedies say: it is tried again"


def test_images_of_another_version_are_refused(hosted: Hosted, experiment: Path, tmp_path: Path) -> None:
    hosted.report(trainer={"lock_digest": "another"})
    options = ("--all", "--experiment", str(experiment))
    done = hosted.run("enqueue_lane.py", *options, cwd=tmp_path, expect=BAD_INPUT)
    check_text(done.stderr, "images are of another version than this checkout: trainer-1",
               "docker compose up -d --build")  # fmt: skip


def test_several_kinds_of_hardware_want_a_choice(hosted: Hosted, experiment: Path, tmp_path: Path) -> None:
    devices = {"GPU-1": "NVIDIA L4", "GPU-2": "NVIDIA L40S"}
    hosted.report(evaluator={"devices": devices, "device_kind": "cuda"})
    options = ("--all", "--experiment", str(experiment))
    done = hosted.run("enqueue_lane.py", *options, cwd=tmp_path, expect=BAD_INPUT)
    check_text(done.stderr, "--hardware 'NVIDIA L4' or --hardware 'NVIDIA L40S'")
    done = hosted.run("enqueue_lane.py", *options, "--hardware", "L4", cwd=tmp_path, expect=BAD_INPUT)
    check_text(done.stderr, "no evaluator has the hardware 'L4'", "NVIDIA L4, NVIDIA L40S")
    done = hosted.run("enqueue_lane.py", *options, "--hardware", "NVIDIA L4", cwd=tmp_path)
    check_text(done.stdout, "Engine: vllm on NVIDIA L4")


def test_cancel_then_enqueue_again(hosted: Hosted, run_id: str, experiment: Path, tmp_path: Path) -> None:
    done = hosted.run("cancel.py", cwd=tmp_path)
    check_text(done.stdout, f"run {run_id} is being cancelled")
    assert hosted.documents.read(run_id, "cancelled.json") is not None
    check_text(hosted.run("status.py", run_id[:12], cwd=tmp_path).stdout, "being cancelled")
    again = enqueue(hosted, experiment, tmp_path)
    check_text(again[1], "enqueued again")
    assert hosted.documents.read(run_id, "cancelled.json") is None


def test_runs_are_named_by_their_start(hosted: Hosted, run_id: str, experiment: Path, tmp_path: Path) -> None:
    other, _ = enqueue(hosted, experiment, tmp_path, "lane03")
    done = hosted.run("cancel.py", cwd=tmp_path, expect=BAD_INPUT)
    check_text(done.stderr, "there are 2 runs: say which", run_id, other)
    done = hosted.run("cancel.py", "demo", cwd=tmp_path, expect=BAD_INPUT)
    check_text(done.stderr, "'demo' begins 2 runs", other)
    done = hosted.run("retry.py", other[:-1] + "x", cwd=tmp_path, expect=BAD_INPUT)
    check_text(done.stderr, f"unknown run '{other[:-1]}x' (did you mean '{other}'?)")
    done = hosted.run("retry.py", other[:16], cwd=tmp_path)
    check_text(done.stdout, f"run {other} goes on, and nothing failed")


def test_retry_forgets_the_failures_of_a_lane_alone(hosted: Hosted, run_id: str, tmp_path: Path) -> None:
    plan = hosted.read_run(run_id).make_plan()
    keys = {run.type.name: key for key, run in plan.runs.items() if run.type.name in ("gptq", "fp8")}
    for stage, key in keys.items():
        failure = FailureReport(message="broken").model_dump_json()
        hosted.documents.write(run_id, f"failures/{key}.json", failure.encode())
        hosted.redis.set(RedisKeys.failure(f"{stage}-{key}"), failure)
    hosted.end_run(hosted.read_run(run_id), tmp_path, is_complete=False)
    done = hosted.run("retry.py", run_id, "lane04_fp8_dinamic", cwd=tmp_path, expect=BAD_INPUT)
    check_text(done.stderr, f"did you mean '{BROKEN}'", "baseline, lane01")
    done = hosted.run("retry.py", run_id, "lane04", cwd=tmp_path)
    check_text(done.stdout, "1 failed stage is tried again")
    assert hosted.documents.list_names(run_id, "failures/") == [f"failures/{keys['gptq']}.json"]
    assert hosted.documents.read(run_id, "outcome.json") is None
    assert not hosted.redis.exists(RedisKeys.failure(f"fp8-{keys['fp8']}"))
    assert hosted.redis.exists(RedisKeys.failure(f"gptq-{keys['gptq']}"))


def test_fetch_brings_what_the_embedded_default_leaves(hosted: Hosted, run_id: str, tmp_path: Path) -> None:
    done = hosted.run("fetch.py", cwd=tmp_path, expect=BAD_INPUT)
    check_text(done.stderr, f"run {run_id} has not ended: not seen by the controller yet")
    spec = hosted.read_run(run_id)
    ended = hosted.end_run(spec, tmp_path / "made")
    done = hosted.run("fetch.py", cwd=tmp_path)
    check_text(done.stdout, "MB/s", "every file's sha256 checked")
    for name in ("results/summary.md", "results/summary.csv", "results/baseline.json",
                 f"results/{BEST}/metrics.json", "submissions/top1/config.json"):  # fmt: skip
        assert (tmp_path / name).is_file(), name
    assert (tmp_path / "submissions" / "submit_top1.zip").stat().st_size == 500_000
    check_text(hosted.run("fetch.py", cwd=tmp_path).stdout, "everything is here already")

    base = next(run for run in spec.make_plan().runs.values() if run.type.name == "fetch_model")
    hosted.commit(base, tmp_path / "base", {"config.json": "{}"})
    hosted.run("fetch.py", "--store", "store", cwd=tmp_path)
    store = FolderStore(tmp_path / "store")
    for locator in (base, ended.summary if ended.summary else base, ended.packages[0]):
        assert store.find_artifact(locator) is not None
        store.fetch_artifact(locator)


def test_fetch_refuses_what_is_not_its_manifests(hosted: Hosted, run_id: str, tmp_path: Path) -> None:
    ended = hosted.end_run(hosted.read_run(run_id), tmp_path / "made")
    minio, place = hosted.client.minio, ended.packages[0]
    bad = tmp_path / "bad"
    bad.write_text("y" * 500_000)
    minio.fput_object(place.bucket, f"{place.name}/submit.zip", str(bad))
    done = hosted.run("fetch.py", cwd=tmp_path, expect=1)
    check_text(done.stderr, f"{place.path}/submit.zip", "sha256", "remedy:")
    assert not (tmp_path / "results").exists(), "nothing is laid out before everything is here"
    for name in ("submit.zip", "package/config.json", "manifest.json"):  # others share this place
        minio.remove_object(place.bucket, f"{place.name}/{name}")


def test_an_interrupted_fetch_goes_on_with_what_is_missing(
    hosted: Hosted, run_id: str, tmp_path: Path
) -> None:
    ended = hosted.end_run(hosted.read_run(run_id), tmp_path / "made")
    place = ended.packages[0]
    arrived = tmp_path / ".lanekit" / "stack-cache" / "incoming" / place.bucket / place.name
    arrived.mkdir(parents=True)
    (arrived / "submit.zip").write_text("z" * 500_000)
    hosted.client.minio.remove_object(place.bucket, f"{place.name}/submit.zip")  # not asked for again
    hosted.run("fetch.py", cwd=tmp_path)
    assert (tmp_path / "submissions" / "submit_top1.zip").stat().st_size == 500_000
    assert not arrived.exists()
    for name in ("package/config.json", "manifest.json"):
        hosted.client.minio.remove_object(place.bucket, f"{place.name}/{name}")


def test_status_shows_failures_with_their_logs(hosted: Hosted, run_id: str, tmp_path: Path) -> None:
    hosted.end_run(hosted.read_run(run_id), tmp_path, is_complete=False)
    text = hosted.run("status.py", cwd=tmp_path).stdout
    check_text(text, "✓ redis answers", "✓ controller reports", "✓ evaluator idle evaluator-1",
               "queues empty",
               f"{run_id} complete", "rank 1, score 0.6000",
               f"✗ {BROKEN}: stage fp8: out of memory")  # fmt: skip
    text = hosted.run("status.py", run_id, cwd=tmp_path).stdout
    check_text(text, "remedy: less", "| CUDA out of memory")
    data = json.loads(hosted.run("status.py", "--json", cwd=tmp_path).stdout)
    assert data["runs"][0]["failed"][BROKEN]["log_tail"] == ["line one", "CUDA out of memory"]
    assert {worker["service"] for worker in data["workers"]} == set(WORKERS)
    assert {*WORKERS} <= set(data["queues"])
    assert data["problems"] == []


def test_status_without_a_controller_says_how_to_start_it(hosted: Hosted, tmp_path: Path) -> None:
    hosted.redis.flushall()
    done = hosted.run("status.py", cwd=tmp_path, expect=1)
    check_text(done.stdout, "✗ controller silent", "docker compose up -d controller", "✗ trainer no worker",
               "no run was enqueued yet")  # fmt: skip


def test_watching_in_plain_lines_to_a_failed_lane(hosted: Hosted, run_id: str, tmp_path: Path) -> None:
    spec = hosted.read_run(run_id)
    show_running(hosted, run_id)
    watcher = start_watch(hosted, run_id, tmp_path)
    wait_for(watcher, "running: gptq_w4a16-")
    hosted.end_run(spec, tmp_path / "made", is_complete=False)
    stdout, _ = watcher.communicate(timeout=30)
    assert watcher.returncode == 1
    check_text(stdout, f"{BROKEN}: failed: stage fp8: out of memory", "complete: 1 lane(s) failed",
               f"python scripts/fetch.py {run_id}", f"python scripts/retry.py {run_id}")  # fmt: skip


def test_leaving_a_watched_run_cancels_nothing(hosted: Hosted, run_id: str, tmp_path: Path) -> None:
    show_running(hosted, run_id)
    watcher = start_watch(hosted, run_id, tmp_path)
    wait_for(watcher, "running: gptq_w4a16-")
    watcher.send_signal(signal.SIGINT)
    stdout, stderr = watcher.communicate(timeout=30)
    assert watcher.returncode == 130
    check_text(stdout, f"the run goes on; watch again with: python scripts/status.py {run_id} --watch")
    assert "Traceback" not in stderr
    assert hosted.documents.list_names(run_id) == ["run.json"]


def test_a_complete_run_is_not_run_again(
    hosted: Hosted, run_id: str, experiment: Path, tmp_path: Path
) -> None:
    hosted.end_run(hosted.read_run(run_id), tmp_path / "made")
    text = enqueue(hosted, experiment, tmp_path)[1]
    check_text(text, "it is complete already", f"python scripts/fetch.py {run_id}")
    assert hosted.documents.read(run_id, "outcome.json") is not None
    check_text(hosted.run("cancel.py", cwd=tmp_path).stdout, "has ended already: complete")
    hosted.end_run(hosted.read_run(run_id), tmp_path / "again", is_complete=False)
    check_text(enqueue(hosted, experiment, tmp_path)[1], "enqueued again")
    assert hosted.documents.read(run_id, "outcome.json") is None


def show_running(hosted: Hosted, run_id: str) -> None:
    plan = hosted.read_run(run_id).make_plan()
    key = next(key for key, run in plan.runs.items() if run.type.name == "gptq")
    report = JobReport(worker="quantizer-1", state="running", step=3, total=9, started_at=time.time())
    snapshot = make_snapshot(plan, {key: "running"}, reports={key: report})
    snapshot = snapshot.model_copy(update={"run_id": run_id})
    hosted.redis.set(RedisKeys.snapshot(run_id), snapshot.model_dump_json())


def start_watch(hosted: Hosted, run_id: str, cwd: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        hosted.command("status.py", run_id, "--watch"), cwd=cwd, text=True,
        env={**make_environment(), "PYTHONUNBUFFERED": "1"}, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def wait_for(watcher: subprocess.Popen[str], text: str) -> None:
    assert watcher.stdout is not None
    deadline = time.monotonic() + 30
    while text not in (line := watcher.stdout.readline()):
        assert line and time.monotonic() < deadline, f"'{text}' was not said"
