"""What is missing of the stack is said all at once, each with its command; on the real Redis and MinIO."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr
from real_services import MinioServer, RedisServer, find_free_port
from snapshots import make_worker

from lanekit.commands.stack.health import StackError, check_stack, require_stack
from lanekit.host.stack_settings import StackSettings
from lanekit.jobs.keys import RedisKeys
from lanekit.jobs.messages import REPORT_TTL_SECONDS
from lanekit.jobs.signs import read_workers
from lanekit.spec.stages import BUCKETS
from lanekit.store.minio_client import make_client

SERVICES = ("trainer", "evaluator")


@pytest.fixture
def settings(redis_server: RedisServer, minio_server: MinioServer) -> StackSettings:
    """The settings of a stack with its buckets."""
    found = minio_server.settings(redis_url=redis_server.url)
    minio = make_client(found).minio
    for bucket in BUCKETS:
        if not minio.bucket_exists(bucket):
            minio.make_bucket(bucket)
    return found


@pytest.fixture
def processes(redis_server: RedisServer) -> Iterator[None]:
    """A controller, a trainer and an evaluator that have just reported."""
    client = redis_server.client()
    client.flushall()
    client.set(RedisKeys.CONTROLLER, "{}", ex=REPORT_TTL_SECONDS)
    for service in SERVICES:
        worker = make_worker(service)
        client.set(RedisKeys.worker(worker.name), worker.model_dump_json(), ex=REPORT_TTL_SECONDS)
    yield
    client.flushall()


@pytest.mark.usefixtures("processes")
def test_a_stack_that_is_up_has_no_problem(settings: StackSettings) -> None:
    assert check_stack(settings, SERVICES) == []
    require_stack(settings, SERVICES)


def test_nothing_up_is_one_line() -> None:
    nowhere = StackSettings(
        redis_url=SecretStr(f"redis://:secret-word@127.0.0.1:{find_free_port()}/0"),
        minio_url=f"http://127.0.0.1:{find_free_port()}",
        minio_access_key="operator",
        minio_secret_key=SecretStr("secret-word"),
    )
    problems = check_stack(nowhere, SERVICES)
    assert [problem.where for problem in problems] == ["stack"]
    with pytest.raises(StackError) as caught:
        require_stack(nowhere, SERVICES)
    assert "is not up" in str(caught.value)
    assert "docker compose up -d --wait" in str(caught.value)
    assert "secret-word" not in str(caught.value)


@pytest.mark.usefixtures("processes")
def test_redis_alone(settings: StackSettings) -> None:
    half = settings.model_copy(update={"minio_url": f"http://127.0.0.1:{find_free_port()}"})
    problems = check_stack(half, SERVICES)
    assert [problem.where for problem in problems] == ["minio"]
    assert "does not answer" in problems[0].message
    assert "docker compose up -d minio" in problems[0].remedy


def test_a_wrong_password_of_redis(settings: StackSettings, redis_server: RedisServer) -> None:
    wrong = SecretStr(f"redis://:guess@127.0.0.1:{redis_server.port}/0")
    problems = check_stack(settings.model_copy(update={"redis_url": wrong}), SERVICES)
    assert [problem.where for problem in problems] == ["redis"]
    assert "refuses the password" in problems[0].message
    assert "guess" not in str(problems[0])


@pytest.mark.usefixtures("processes")
def test_a_wrong_key_of_minio(settings: StackSettings) -> None:
    for update in ({"minio_access_key": "operator"}, {"minio_secret_key": SecretStr("guess-guess")}):
        (problem,) = check_stack(settings.model_copy(update=update), SERVICES)
        assert problem.where == "minio"
        assert "refuses the account" in problem.message
        assert problem.remedy.startswith("docker compose up -d setup")


@pytest.mark.usefixtures("processes")
def test_missing_buckets(settings: StackSettings) -> None:
    minio = make_client(settings).minio
    for bucket in ("models", "checkpoints"):
        minio.remove_bucket(bucket)
    (problem,) = check_stack(settings, SERVICES)
    assert "lacks the buckets checkpoints, models" in problem.message
    assert problem.remedy == "docker compose up -d setup"


def test_no_controller_and_a_missing_evaluator(settings: StackSettings, redis_server: RedisServer) -> None:
    client = redis_server.client()
    client.flushall()
    worker = make_worker("trainer")
    client.set(RedisKeys.worker(worker.name), worker.model_dump_json(), ex=REPORT_TTL_SECONDS)
    problems = check_stack(settings, SERVICES)
    assert [problem.where for problem in problems] == ["controller", "evaluator"]
    with pytest.raises(StackError) as caught:
        require_stack(settings, SERVICES)
    for command in ("docker compose up -d controller", "docker compose up -d evaluator",
                    "docker compose logs evaluator"):  # fmt: skip
        assert command in str(caught.value)


def test_what_answers_but_is_neither(settings: StackSettings, redis_server: RedisServer) -> None:
    crossed = settings.model_copy(
        update={
            "redis_url": SecretStr(settings.minio_url.replace("http://", "redis://:x@") + "/0"),
            "minio_url": f"http://127.0.0.1:{redis_server.port}",
        }
    )
    assert [problem.where for problem in check_stack(crossed, SERVICES)] == ["redis", "minio"]


def test_a_report_of_another_version_counts_as_no_worker(redis_server: RedisServer, tmp_path: Path) -> None:
    client = redis_server.client()
    client.flushall()
    client.set(RedisKeys.worker("old"), '{"name": "old"}', ex=REPORT_TTL_SECONDS)
    client.set(RedisKeys.worker("new"), make_worker("trainer").model_dump_json(), ex=REPORT_TTL_SECONDS - 5)
    (worker,) = read_workers(client)
    assert worker.report.service == "trainer"
    assert 4.9 < worker.age_s < 10
