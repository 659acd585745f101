"""Addresses, ports and files of the stack: checked where they are read, and no secret is shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from lanekit.errors import InputError
from lanekit.host.settings import load_host_settings
from lanekit.host.stack_settings import StackSettings, load_operator_settings, load_stack_settings
from lanekit.jobs.connection import connect_briefly

SECRET = "hunter2"
BASE = "REDIS_PASSWORD=abcdef12\nOPERATOR_SECRET_KEY=def12345\n"
GOOD = {"redis_url": "redis://:a@h:1/0", "minio_url": "http://h:9000", "minio_access_key": "o",
        "minio_secret_key": "s"}  # fmt: skip


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out what this shell has set."""
    for name in ("REDIS_URL", "MINIO_URL", "MINIO_ACCESS_KEY", "MINIO_SECRET_KEY", "CA", "CACHE", "STORE",
                 "RESULTS", "SUBMISSIONS"):  # fmt: skip
        monkeypatch.delenv(f"LANEKIT_{name}", raising=False)


def load(tmp_path: Path, content: str | bytes) -> StackSettings:
    env_file = tmp_path / "t.env"
    env_file.write_bytes(content.encode() if isinstance(content, str) else content)
    return load_operator_settings(env_file)


@pytest.mark.parametrize(
    "url",
    [
        f"redis://:{SECRET}/word@127.0.0.1:6379/0",
        f"redis://:{SECRET}#w@127.0.0.1:6379/0",
        f"redis://:{SECRET}?w@127.0.0.1:6379/0",
        f"redis://:6379/{SECRET}@127.0.0.1/0",
        f"redis://:{SECRET}@127.0.0.1:port/0",
        f"redis://:{SECRET}@127.0.0.1:63790000/0",
        f"redis://:{SECRET}@127.0.0.1:6379/zero",
        f"redis://:{SECRET}@/0",
        f"redis://:{SECRET}@[::1/0",
        f"redis://:{SECRET} w@127.0.0.1:6379/0",
        f"http://:{SECRET}@127.0.0.1:6379",
        f"{SECRET}@127.0.0.1:6379",
        "127.0.0.1:6379",
        "redis:127.0.0.1",
    ],
)
def test_what_is_no_address_of_a_redis_is_refused_without_its_value(tmp_path: Path, url: str) -> None:
    with pytest.raises(InputError, match=r"LANEKIT_REDIS_URL .*not the address of a Redis") as caught:
        load(tmp_path, f"{BASE}LANEKIT_REDIS_URL='{url}'\n")
    assert "%2F %23 %3F %40" in caught.value.message and caught.value.remedy
    assert SECRET not in str(caught.value) and caught.value.__cause__ is None


@pytest.mark.parametrize(
    ("url", "password"),
    [
        ("redis://:a%2Fb%23c%3Fd%40e%25f@127.0.0.1:6379/0", "a/b#c?d@e%f"),
        ("redis://:a@b@127.0.0.1:6379/0", "a@b"),
        ("rediss://user:word@[::1]:6380/2", "word"),
        ("redis://127.0.0.1", None),
    ],
)
def test_an_address_of_a_redis_is_taken_as_it_is(tmp_path: Path, url: str, password: str | None) -> None:
    settings = load(tmp_path, f"{BASE}LANEKIT_REDIS_URL='{url}'\n")
    client = connect_briefly(settings)
    assert client.connection_pool.connection_kwargs.get("password") == password


@pytest.mark.parametrize("word", ["a/b#c?d@e%f:g&h", "비밀번호", "a b", "[x]"])
def test_a_password_may_hold_any_character(tmp_path: Path, word: str) -> None:
    settings = load(tmp_path, f"REDIS_PASSWORD='{word}'\nOPERATOR_SECRET_KEY=def12345\n")
    assert connect_briefly(settings).connection_pool.connection_kwargs["password"] == word


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("REDIS_PORT=abc", "t.env: REDIS_PORT=abc: not a port"),
        ("REDIS_PORT=0", "REDIS_PORT=0: not a port"),
        ("MINIO_PORT=90000", "MINIO_PORT=90000: not a port"),
        ("MINIO_PORT=-1", "MINIO_PORT=-1: not a port"),
        ("BIND_ADDRESS=http://x", "BIND_ADDRESS=http://x: not an address"),
        ("LANEKIT_MINIO_URL=127.0.0.1:9000", "LANEKIT_MINIO_URL .*not the address of a MinIO"),
        ("LANEKIT_MINIO_URL=ftp://h:9000", "LANEKIT_MINIO_URL .*not the address of a MinIO"),
        ("LANEKIT_MINIO_URL=http://h:90000", "LANEKIT_MINIO_URL .*not the address of a MinIO"),
        ("LANEKIT_MINIO_URL=http://h:9000/bucket", "LANEKIT_MINIO_URL .*not the address of a MinIO"),
        (f"LANEKIT_MINIO_URL=http://me:{SECRET}@h:9000", "LANEKIT_MINIO_URL .*not the address of a MinIO"),
        ("LANEKIT_CA=/nowhere/ca.pem", "LANEKIT_CA .*/nowhere/ca.pem: no such file"),
    ],
)
def test_each_wrong_value_is_named_with_a_remedy(tmp_path: Path, line: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        load(tmp_path, f"{BASE}{line}\n")
    assert caught.value.remedy and SECRET not in str(caught.value)


def test_an_ipv6_address_is_written_as_a_url_has_it(tmp_path: Path) -> None:
    settings = load(tmp_path, f"{BASE}BIND_ADDRESS=::1\n")
    assert settings.minio_url == "http://[::1]:9000"
    assert settings.redis_url.get_secret_value().endswith("@[::1]:6379/0")


@pytest.mark.parametrize(
    "content",
    [BASE.encode() + "# 한국어".encode("cp949"), BASE.encode("utf-16"), b"\xff\xfe"],
)
def test_a_file_that_is_not_utf8_is_named(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(InputError, match=r"t\.env:\d+: not UTF-8 text") as caught:
        load(tmp_path, content)
    assert "UTF-8" in caught.value.remedy
    assert "abcdef12" not in str(caught.value) and caught.value.__cause__ is None


def test_a_file_with_a_byte_order_mark_and_crlf_is_read(tmp_path: Path) -> None:
    settings = load(tmp_path, b"\xef\xbb\xbf" + BASE.replace("\n", "\r\n").encode())
    assert settings.minio_secret_key.get_secret_value() == "def12345"


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("cache", "", "it is empty; the working folder is"),
        ("cache_limit_gb", "0", "greater than 0"),
        ("cache_limit_gb", "inf", "finite"),
        ("minio_secret_key", "", "at least 1"),
        ("minio_access_key", "", "at least 1"),
    ],
)
def test_values_outside_their_range_are_refused(name: str, value: str, words: str) -> None:
    with pytest.raises(InputError, match=f"LANEKIT_{name.upper()} .*{words}"):
        load_stack_settings(**GOOD | {name: value})
    assert load_stack_settings(**GOOD, ca="").ca is None


@pytest.mark.parametrize("name", ["store", "results", "submissions"])
@pytest.mark.parametrize("value", ["", "  "])
def test_an_empty_folder_is_not_the_working_folder(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(f"LANEKIT_{name.upper()}", value)
    with pytest.raises(InputError, match=f"LANEKIT_{name.upper()}=.*it is empty") as caught:
        load_host_settings()
    assert "unset it" in caught.value.remedy
