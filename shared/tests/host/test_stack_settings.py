"""The stack's settings: from variables, from `.env`, no secret shown; a restart of Redis is waited for."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest
from pydantic import SecretStr
from real_services import MinioServer, RedisServer

from lanekit.errors import InputError
from lanekit.host.stack_settings import load_operator_settings, load_stack_settings
from lanekit.jobs.connection import connect_redis

SECRET = "s3cret-word"


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out what this shell has set."""
    for name in ("REDIS_URL", "MINIO_URL", "MINIO_ACCESS_KEY", "MINIO_SECRET_KEY", "CA", "CACHE"):
        monkeypatch.delenv(f"LANEKIT_{name}", raising=False)


def test_the_operators_settings_follow_from_the_env_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    env_file = tmp_path / ".env"
    with pytest.raises(InputError, match="no such file") as caught:
        load_operator_settings(env_file)
    assert "scripts/make_env.py" in caught.value.remedy
    env_file.write_text(f"REDIS_PASSWORD={SECRET}/a\nBIND_ADDRESS=0.0.0.0\nMINIO_PORT=9100\n")
    with pytest.raises(InputError, match="OPERATOR_SECRET_KEY is missing") as caught:
        load_operator_settings(env_file)
    assert SECRET not in str(caught.value)
    env_file.write_text(env_file.read_text() + f"OPERATOR_SECRET_KEY={SECRET}\n")
    settings = load_operator_settings(env_file)
    assert settings.redis_url.get_secret_value() == f"redis://:{SECRET}%2Fa@127.0.0.1:6379/0"
    assert (settings.minio_url, settings.minio_access_key) == ("http://127.0.0.1:9100", "operator")
    assert SECRET not in repr(settings) + str(settings)
    monkeypatch.setenv("LANEKIT_MINIO_URL", "https://store:9000")
    assert load_operator_settings(env_file).minio_url == "https://store:9000"


def test_missing_variables_are_named_and_no_value_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LANEKIT_MINIO_SECRET_KEY", SECRET)
    monkeypatch.setenv("LANEKIT_CACHE_LIMIT_GB", SECRET)
    with pytest.raises(InputError) as caught:
        load_stack_settings()
    for name in ("LANEKIT_REDIS_URL", "LANEKIT_MINIO_URL", "LANEKIT_CACHE_LIMIT_GB"):
        assert name in caught.value.message
    assert SECRET not in str(caught.value)


def test_a_restart_of_redis_is_waited_for(redis_server: RedisServer, minio_server: MinioServer) -> None:
    settings = minio_server.settings().model_copy(update={"redis_url": SecretStr(redis_server.url)})
    client = connect_redis(settings)
    client.set("lanekit-test", "1")
    answers: list[object] = []
    with redis_server.outage():
        thread = threading.Thread(target=lambda: answers.append(client.get("lanekit-test")))
        thread.start()
        time.sleep(10.0)
    thread.join(30)
    assert answers == [b"1"]
