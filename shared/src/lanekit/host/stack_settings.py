"""Where the stack's Redis and MinIO are, from LANEKIT_* variables or, on the host, from `.env`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any
from urllib.parse import quote

from dotenv import dotenv_values
from pydantic import SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from lanekit.errors import InputError

OPERATOR = "operator"
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
    minio_access_key: str
    minio_secret_key: SecretStr
    ca: Path | None = None
    cache: Path = Path("/var/lib/lanekit")
    cache_limit_gb: float = 50.0

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
            f"LANEKIT_{str(e['loc'][0]).upper()} ({e['msg'].lower()})"
            for e in error.errors(include_input=False)
        )
        raise InputError(
            f"the stack's settings are not complete: {wrong}",
            remedy=f"set them; docker-compose.yml does so from .env, which {MAKE_ENV.split(',')[0]} makes",
        ) from None


def load_operator_settings(env_file: Path) -> StackSettings:
    """Return the operator's settings for a script on the host, from the `.env` that compose reads.

    LANEKIT_* variables, of the process or of the file, go before what follows from the other keys.

    Raises:
        InputError: the file, or a key in it, is missing.
    """
    if not env_file.is_file():
        raise InputError(f"{env_file}: no such file", remedy=MAKE_ENV)
    values = {name: value for name, value in dotenv_values(env_file).items() if value}
    values.update(
        {name: value for name, value in os.environ.items() if name.startswith("LANEKIT_") and value}
    )
    host = values.get("BIND_ADDRESS", "127.0.0.1")
    host = "127.0.0.1" if host in {"0.0.0.0", "::"} else host

    def require(name: str) -> str:
        if name not in values:
            raise InputError(f"{env_file}: {name} is missing", remedy=MAKE_ENV)
        return values[name]

    def read(name: str) -> str:
        return values.get(f"LANEKIT_{name}", "")

    redis_url = read("REDIS_URL")
    if not redis_url:
        password = quote(require("REDIS_PASSWORD"), safe="")
        redis_url = f"redis://:{password}@{host}:{values.get('REDIS_PORT', '6379')}/0"
    return load_stack_settings(
        redis_url=redis_url,
        minio_url=read("MINIO_URL") or f"http://{host}:{values.get('MINIO_PORT', '9000')}",
        minio_access_key=OPERATOR,
        minio_secret_key=require("OPERATOR_SECRET_KEY"),
        ca=read("CA") or None,
        cache=read("CACHE") or ".lanekit/cache",
    )
