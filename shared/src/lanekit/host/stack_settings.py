"""Where the stack's Redis and MinIO are, from LANEKIT_* variables or, on the host, from `.env`."""

from __future__ import annotations

import io
import os
import re
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, quote, urlsplit

from dotenv import dotenv_values
from pydantic import Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from lanekit.errors import InputError

OPERATOR = "operator"
LAST_PORT = 65_535
_HOST = re.compile(r"[A-Za-z0-9._:-]+")
MAKE_ENV = "python scripts/make_env.py, then docker compose up -d --wait"


class StackSettings(BaseSettings):
    """What every process of the stack needs to reach Redis and MinIO.

    Attributes:
        redis_url: redis:// or rediss://, with the password.
        minio_url: http:// or https://, host and port.
        ca: a CA file for both, where the system's own do not do.
        cache: the folder of artifacts and of unfinished outputs, shared by the workers of a host.
        cache_limit_gb: how much of the disk the artifacts in it may take.
    """

    model_config = SettingsConfigDict(env_prefix="LANEKIT_", extra="ignore", hide_input_in_errors=True)

    redis_url: SecretStr
    minio_url: str
    minio_access_key: str = Field(min_length=1)
    minio_secret_key: SecretStr = Field(min_length=1)
    ca: Path | None = None
    cache: Path = Path("/var/lib/lanekit")
    cache_limit_gb: float = Field(default=50.0, gt=0, allow_inf_nan=False)

    @field_validator("redis_url")
    @classmethod
    def check_redis(cls, value: SecretStr) -> SecretStr:
        """Refuse what is not the address of a Redis; the password in it is not shown."""
        parts = _split(value.get_secret_value())
        is_good = (
            parts is not None
            and parts.scheme in ("redis", "rediss")
            and re.fullmatch(r"/?\d*", parts.path)
            and not parts.query
            and not parts.fragment
        )
        if not is_good:
            raise ValueError(
                "not the address of a Redis, redis://:PASSWORD@HOST:6379/0; characters such as / # ? @ % in "
                "the password are written %2F %23 %3F %40 %25"
            )
        return value

    @field_validator("minio_url")
    @classmethod
    def check_minio(cls, value: str) -> str:
        """Refuse what is not the address of a MinIO; it holds no account."""
        parts = _split(value)
        is_good = (
            parts is not None
            and parts.scheme in ("http", "https")
            and not parts.path.strip("/")
            and not (parts.query or parts.fragment or parts.username or parts.password)
        )
        if not is_good:
            raise ValueError("not the address of a MinIO, http://HOST:9000 or https://HOST:9000")
        return value

    @field_validator("ca", "cache", mode="before")
    @classmethod
    def check_path(cls, value: Any, info: ValidationInfo) -> Any:
        """Take an empty CA for none, and refuse an empty cache: it would be the working folder."""
        if not isinstance(value, str) or value.strip():
            return value
        if info.field_name == "cache":
            raise ValueError("it is empty; the working folder is '.'")
        return None

    @field_validator("ca")
    @classmethod
    def check_ca(cls, value: Path | None) -> Path | None:
        """Refuse a CA that is no file."""
        if value is not None and not value.is_file():
            raise ValueError(f"{value}: no such file")
        return value

    @property
    def cache_limit_bytes(self) -> int:
        """The cache's bound in bytes."""
        return int(self.cache_limit_gb * 1e9)


def load_stack_settings(**overrides: Any) -> StackSettings:
    """Return the settings of this process's environment.

    Raises:
        InputError: a variable is missing or wrong; no value is shown.
    """
    try:
        return StackSettings(**overrides)
    except ValidationError as error:
        wrong = ", ".join(
            f"LANEKIT_{str(e['loc'][0]).upper()} ({_describe(e['msg'])})"
            for e in error.errors(include_input=False)
        )
        raise InputError(
            f"the stack's settings are not complete or not right: {wrong}",
            remedy=f"set them; docker-compose.yml does so from .env, which {MAKE_ENV.split(',')[0]} makes",
        ) from None


def load_operator_settings(env_file: Path) -> StackSettings:
    """Return the operator's settings for a script on the host, from the `.env` that compose reads.

    LANEKIT_* variables, of the process or of the file, go before what follows from the other keys.

    Raises:
        InputError: the file, or a key in it, is missing or wrong; no secret is shown.
    """
    values = {name: value for name, value in read_env_file(env_file).items() if value}
    values.update(
        {name: value for name, value in os.environ.items() if name.startswith("LANEKIT_") and value}
    )
    host = values.get("BIND_ADDRESS", "127.0.0.1")
    if not _HOST.fullmatch(host):
        raise InputError(f"{env_file}: BIND_ADDRESS={host}: not an address", remedy="e.g. 127.0.0.1 or ::1")
    host = "127.0.0.1" if host in {"0.0.0.0", "::"} else f"[{host}]" if ":" in host else host

    def read_port(name: str, default: str) -> str:
        port = values.get(name, default)
        if not re.fullmatch(r"[0-9]{1,5}", port) or not 1 <= int(port) <= LAST_PORT:
            raise InputError(f"{env_file}: {name}={port}: not a port", remedy=f"give 1 to {LAST_PORT}")
        return port

    def require(name: str) -> str:
        if name not in values:
            raise InputError(f"{env_file}: {name} is missing", remedy=MAKE_ENV)
        return values[name]

    def read(name: str) -> str:
        return values.get(f"LANEKIT_{name}", "")

    redis_url = read("REDIS_URL")
    if not redis_url:
        password = quote(require("REDIS_PASSWORD"), safe="")
        redis_url = f"redis://:{password}@{host}:{read_port('REDIS_PORT', '6379')}/0"
    return load_stack_settings(
        redis_url=redis_url,
        minio_url=read("MINIO_URL") or f"http://{host}:{read_port('MINIO_PORT', '9000')}",
        minio_access_key=OPERATOR,
        minio_secret_key=require("OPERATOR_SECRET_KEY"),
        ca=read("CA") or None,
        cache=read("CACHE") or ".lanekit/cache",
    )


def read_env_file(env_file: Path) -> dict[str, str | None]:
    """Return the variables of a `.env` file.

    Raises:
        InputError: it is missing, cannot be read, or is not UTF-8.
    """
    if not env_file.is_file():
        raise InputError(f"{env_file}: no such file", remedy=MAKE_ENV)
    try:
        text = env_file.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise InputError(
            f"{env_file}: {error.strerror}", remedy="give this user the right to read it"
        ) from error
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise InputError(
            f"{env_file}:{line}: not UTF-8 text", remedy="save the file as UTF-8, comments included"
        ) from None  # the error itself holds the file's bytes
    return dotenv_values(stream=io.StringIO(text))


def _split(url: str) -> SplitResult | None:
    """Return a URL's parts; None where it has no host, or a port that is none."""
    try:
        parts = urlsplit(url)
        is_good = bool(parts.hostname) and parts.port != 0 and not re.search(r"\s", url)
    except ValueError:
        return None
    return parts if is_good else None


def _describe(message: str) -> str:
    own = message.removeprefix("Value error, ")
    return own if own != message else message.lower()
