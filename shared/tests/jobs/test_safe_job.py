"""Jobs that somebody else put into Redis: none is run, each is refused, and the worker lives on."""

from __future__ import annotations

import json
import pickle
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from real_services import RedisServer
from rq import Callback, Queue
from rq.serializers import JSONSerializer, PickleSerializer
from worker_bench import Bench, make_fetch, make_timed, open_bench, wait_for

from lanekit.errors import InputError
from lanekit.jobs.safe_job import FUNCTION, MAX_DATA_BYTES, SafeJob, find_job, unpack_data

pytestmark = pytest.mark.slow  # starts workers


class Bomb:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self) -> tuple[Any, ...]:
        return (open, (self.path, "w"))


@pytest.fixture
def bench(tmp_path: Path, redis_server: RedisServer) -> Iterator[Bench]:
    with open_bench(tmp_path, redis_server) as bench:
        yield bench


def push(bench: Bench, job_id: str, data: bytes | None, **fields: Any) -> str:
    """Put a hash and its id into the trainer's queue."""
    if data is not None:
        fields["data"] = data
    bench.client.hset(f"rq:job:{job_id}", mapping={"status": "queued", "origin": "trainer", **fields})
    bench.client.rpush("rq:queue:trainer", job_id)
    return job_id


def pack(*parts: Any) -> bytes:
    """Return data as RQ packs it."""
    return zlib.compress(json.dumps(parts).encode())


def test_foreign_jobs_are_refused_and_the_worker_lives_on(bench: Bench) -> None:
    worker = bench.start("trainer")
    owned = bench.root / "owned"
    command = f"touch {owned}"
    bomb = pickle.dumps(Bomb(owned))
    good = make_fetch("write")
    payload = {"stage": "fetch_model", "key": good.key, "params": good.params.model_dump(), "timeout_s": 60}
    pickled = Queue("trainer", connection=bench.client, serializer=PickleSerializer)
    as_json = Queue("trainer", connection=bench.client, serializer=JSONSerializer)
    asked = {
        pickled.enqueue("os.system", command, job_id="pickled", meta={"x": Bomb(owned)}).id: "not JSON",
        as_json.enqueue("os.system", command, job_id="os-system").id: "names another function",
        as_json.enqueue("os.system", command, job_id="callbacks", on_success=Callback("os.system"),
                        on_failure=Callback("os.system"), on_stopped=Callback("os.system")
                        ).id: "names another function",
        push(bench, "bomb", zlib.compress(bomb), meta=bomb, result=bomb): "not JSON",
        push(bench, "raw-bomb", bomb): "not compressed",
        push(bench, "broken-zlib", pack(FUNCTION)[:-3]): "cut off",
        push(bench, "no-data", None): "no data",
        push(bench, "zip-bomb", zlib.compress(b" " * (MAX_DATA_BYTES + 1))): "larger than 16 MiB",
        push(bench, "deep", zlib.compress(b"[" * 100_000)): "not JSON",
        push(bench, "a-list", pack(FUNCTION, None, [], {"payload": [1, 2]})): "no object",
        push(bench, "an-instance", pack(FUNCTION, "os", [], {"payload": payload})): "names another function",
        push(bench, "arguments", pack(FUNCTION, None, [payload], {})): "payload alone",
        push(bench, "empty", pack(FUNCTION, None, [], {"payload": {}})): "stage: Field required",
        push(bench, "unknown", pack(FUNCTION, None, [], {"payload": payload | {"stage": "rm"}})): "unknown",
        push(bench, "extra", pack(FUNCTION, None, [], {"payload": payload | {"shell": "x"}})): "shell",
        push(bench, "wrong-key", pack(FUNCTION, None, [], {"payload": payload | {"key": "0" * 64}})): "key",
        push(bench, "wrong-id", pack(FUNCTION, None, [], {"payload": payload})): "the job's id",
        push(bench, "odd-fields", pack(1), created_at="never", status="no", timeout="x", result_ttl="-1",
             failure_ttl="0", retries_left="x", dependency_ids="{", webhooks="[", group_id="g",
             rate_limit_key="r"): "not four parts",
        bench.enqueue(make_timed("gptq", 1), queue="trainer"): "is the quantizer worker's",
    }  # fmt: skip
    bench.client.rpush("rq:queue:trainer", "no-such-job", b"\xff\xfe", "../../etc/passwd", "a b")
    bench.client.set("rq:job:a-string", "x")
    bench.client.rpush("rq:queue:trainer", "a-string")
    job_id = bench.enqueue(good)
    bench.await_status(job_id, "finished")
    assert not owned.exists()
    assert not bench.client.llen("rq:queue:trainer:intermediate")
    reasons = {event["job"]: event["reason"] for event in worker.read_events("job_refused")}
    for name, reason in asked.items():
        failure = bench.await_failure(name)
        assert reason in failure.message, name
        assert "\n" not in failure.message
        assert not failure.transient
        assert reasons[name] == failure.message
        assert bench.status(name) == "failed"
        assert bench.client.zscore("rq:failed:trainer", name) is not None
        assert 0 < bench.client.ttl(f"rq:job:{name}") <= 7 * 24 * 3600
    assert set(reasons) - set(asked) == {"no-such-job", "��", "../../etc/passwd", "a b", "a-string"}
    assert bench.failure("no-such-job") is None
    assert worker.process.poll() is None


def test_a_speed_job_for_other_hardware_is_refused(bench: Bench) -> None:
    bench.start("evaluator")
    job_id = bench.enqueue(make_timed("measure_speed", 1, hardware="NVIDIA L4"), queue="evaluator")
    assert "belongs to the queue speed-nvidia-l4" in bench.await_failure(job_id).message


def test_an_id_that_a_living_worker_holds_is_not_run_twice(bench: Bench) -> None:
    run = make_fetch("sleep")
    first, second = bench.start("trainer"), bench.start("trainer")
    job_id = bench.enqueue(run)
    bench.await_state(job_id, "running")
    bench.client.rpush("rq:queue:trainer", job_id)
    wait_for(
        lambda: first.read_events("job_refused") + second.read_events("job_refused"), "it is not refused"
    )
    assert bench.status(job_id) == "started"
    assert bench.failure(job_id) is None


def test_nothing_that_a_job_names_is_imported(redis_server: RedisServer) -> None:
    client = redis_server.client()
    client.hset(
        "rq:job:named",
        mapping={"data": pack("os.system", None, ["true"], {}), "success_callback_name": "os.system",
                 "failure_callback_name": "os.system", "stopped_callback_name": "os.system"},
    )  # fmt: skip
    job = find_job("named", client)
    assert job is not None
    assert job.func is job.success_callback is job.failure_callback is job.stopped_callback is None
    with pytest.raises(InputError):
        job.perform()
    assert SafeJob.fetch("named", connection=client, serializer=PickleSerializer).serializer is JSONSerializer


def test_data_is_bounded() -> None:
    assert unpack_data(zlib.compress(b"[]")) == (b"[]", "")
    assert unpack_data(None) == (b"", "it has no data")
    assert len(unpack_data(zlib.compress(b"x" * (MAX_DATA_BYTES * 2)))[0]) <= MAX_DATA_BYTES
