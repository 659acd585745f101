"""What the stack must refuse: foreign jobs, damaged objects, wrong keys. Its workers live on."""

from __future__ import annotations

import io
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import redis
import rq
from composed import WORKERS, FinishedRun, Stack, wait_until
from minio import Minio
from minio.error import S3Error
from rq.serializers import JSONSerializer, PickleSerializer

pytestmark = [pytest.mark.slow, pytest.mark.stack]

FUNCTION = "lanekit.stage_worker.perform"


def connect(stack: Stack) -> redis.Redis:
    """Return a raw connection, as somebody with Redis' password has."""
    return redis.Redis(port=int(stack.ports["REDIS_PORT"]), password=stack.read_secret("REDIS_PASSWORD"))


def open_store(stack: Stack) -> Minio:
    """Return the store as its administrator sees it."""
    return Minio(
        f"127.0.0.1:{stack.ports['MINIO_PORT']}", stack.read_secret("MINIO_ROOT_USER"),
        stack.read_secret("MINIO_ROOT_PASSWORD"), secure=False,
    )  # fmt: skip


def count_refusals(stack: Stack) -> int:
    """Return how many jobs the trainer has refused."""
    return sum(event.get("event") == "job_refused" for event in stack.read_events("trainer"))


@pytest.mark.parametrize(
    ("function", "keywords", "serializer"),
    [
        ("os.system", {"command": "touch /tmp/owned"}, PickleSerializer),
        ("os.system", {"command": "touch /tmp/owned"}, JSONSerializer),
        (FUNCTION, {"payload": {"stage": "sft"}}, JSONSerializer),
        (
            FUNCTION,
            {"payload": {"stage": "sft", "key": "0" * 64, "params": {}, "timeout_s": 5}},
            JSONSerializer,
        ),
    ],
)
def test_a_foreign_job_is_refused_and_the_worker_lives_on(
    stack: Stack, function: str, keywords: dict[str, object], serializer: Any
) -> None:
    before = count_refusals(stack)
    queue = rq.Queue("trainer", connection=connect(stack), serializer=serializer)
    queue.enqueue(function, kwargs=keywords)
    wait_until(lambda: count_refusals(stack) > before, "the job is refused", 30)
    listing = stack.compose("exec", "-T", "trainer", "ls", "/tmp")
    assert "owned" not in listing
    assert stack.inspect("trainer", "{{.RestartCount}}") == "0"


def test_raw_bytes_in_the_queue_are_refused(stack: Stack) -> None:
    before = count_refusals(stack)
    client = connect(stack)
    client.hset(
        "rq:job:poison", mapping={"data": b"\x80\x04not a job", "created_at": "never", "status": "queued"}
    )
    client.rpush("rq:queue:trainer", "poison", "no-such-job")
    wait_until(lambda: count_refusals(stack) > before, "the job is refused", 30)
    wait_until(lambda: client.llen("rq:queue:trainer") == 0, "the queue is empty again", 30)
    assert stack.inspect("trainer", "{{.RestartCount}}") == "0"


def test_a_damaged_object_is_refused_by_name(
    stack: Stack, finished_run: FinishedRun, experiment: Path
) -> None:
    """The model's bytes change in the store, and its evaluation is asked for again."""
    store = open_store(stack)
    manifests = [
        json.loads(path.read_text(encoding="utf-8"))
        for path in finished_run.mirror.glob("*/*/manifest.json")
    ]  # fmt: skip
    model = next(m for m in manifests if m["name"].startswith("gptq_w8a16-"))
    users = [m for m in manifests if model["key"] in m["inputs"].values() and m["bucket"] == "results"]
    weights = f"{model['name']}/model.safetensors"
    whole = store.get_object("models", weights).read()
    damaged = whole[:-64] + bytes(64)
    store.put_object("models", weights, io.BytesIO(damaged), len(damaged))
    for user in users:
        for entry in list(store.list_objects("results", f"{user['name']}/", recursive=True)):
            store.remove_object("results", entry.object_name)
    stack.compose("stop", *WORKERS)  # an empty cache: the volume keeps what was verified when it was made
    stack.compose("run", "--rm", "--no-deps", "-T", "--entrypoint", "sh", "trainer", "-c",
                  "chmod -R u+w /var/lib/lanekit/cache; rm -rf /var/lib/lanekit/cache")  # fmt: skip
    stack.compose("up", "--detach", "--wait", *WORKERS)
    options = ("--experiment", str(experiment), "--only", "lane03", "--watch")
    done = stack.run_script("enqueue_lane.py", *options, expect=1)
    assert f"{model['name']}" in done.stdout
    assert "sha256" in done.stdout
    store.put_object("models", weights, io.BytesIO(whole), len(whole))
    stack.run_script("enqueue_lane.py", *options)


def test_a_wrong_key_is_told_apart(stack: Stack, experiment: Path, tmp_path: Path) -> None:
    text = stack.env_file.read_text(encoding="utf-8")
    secret = stack.read_secret("OPERATOR_SECRET_KEY")
    wrong = tmp_path / "wrong.env"
    wrong.write_text(text.replace(secret, "x" * len(secret)), encoding="utf-8")
    done = stack.run_script(
        "enqueue_lane.py",
        "--experiment",
        str(experiment),
        "--only",
        "lane03",
        "--env-file",
        str(wrong),
        expect=2,
    )
    assert "operator" in done.stderr
    assert secret not in done.stderr
    wrong.write_text(text.replace(stack.read_secret("REDIS_PASSWORD"), "nothing"), encoding="utf-8")
    done = stack.run_script("status.py", "--env-file", str(wrong), expect=1)
    assert "refuses the password" in done.stdout


def test_each_account_can_do_only_what_it_needs(stack: Stack) -> None:
    store = Minio(
        f"127.0.0.1:{stack.ports['MINIO_PORT']}", "quantizer",
        stack.read_secret("QUANTIZER_SECRET_KEY"), secure=False,
    )  # fmt: skip
    for bucket, name in (("results", "summary.md"), ("submissions", "x"), ("models", "tiny-x/model")):
        with pytest.raises(S3Error, match="Access"):
            store.put_object(bucket, name, io.BytesIO(b"x"), 1)


def test_a_stack_that_is_half_up_says_what_is_missing(stack: Stack, experiment: Path) -> None:
    options = ("--experiment", str(experiment), "--only", "lane03")
    stack.compose("stop", "--timeout", "5", "quantizer", "controller")
    try:
        subprocess.run(["sleep", "21"], check=True)  # their last words expire
        done = stack.run_script("enqueue_lane.py", *options, expect=2)
        assert "docker compose up -d quantizer" in done.stderr
        assert "docker compose up -d controller" in done.stderr
    finally:
        stack.compose("up", "--detach", "--wait", "quantizer", "controller")


def test_a_stack_that_is_not_up_says_how_to_start_it(stack: Stack, experiment: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / ".env"
    text = stack.env_file.read_text(encoding="utf-8")
    for name, port in stack.ports.items():
        text = text.replace(f"{name}={port}", f"{name}=1{port[1:-1]}9")
    elsewhere.write_text(text, encoding="utf-8")
    options = ("--experiment", str(experiment), "--all", "--env-file", str(elsewhere))
    done = stack.run_script("enqueue_lane.py", *options, expect=2)
    assert "docker compose up" in done.stderr
    done = stack.run_script("enqueue_lane.py", *options[:-1], str(tmp_path / "no.env"), expect=2)
    assert "make_env.py" in done.stderr
