"""Settings of this host, from LANEKIT_* environment variables; what shapes results stands in lanes/."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from lanekit.errors import InputError
from lanekit.host.devices import detect_cuda

STACK_CACHE = Path(".lanekit/stack-cache")  # ranking and packages that fetch.py brought here


class Settings(BaseSettings):
    """Where the embedded default keeps things and how much it does at once."""

    model_config = SettingsConfigDict(env_prefix="LANEKIT_", extra="ignore")

    store: Path = Path(".lanekit/store")
    results: Path = Path("results")
    submissions: Path = Path("submissions")
    engine: Literal["vllm", "transformers"] | None = None
    slots: int | None = None
    warm_engines: int = Field(default=0, ge=0)  # kept beside the baseline's; 0: none, and none sleeps
    mlflow_uri: str = ""  # of a tracker that is told of each lane; none where empty

    @field_validator("store", "results", "submissions", mode="before")
    @classmethod
    def check_folder(cls, value: Any) -> Any:
        """Refuse an empty name: it would be the working folder."""
        if isinstance(value, str) and not value.strip():
            raise ValueError("it is empty; the working folder is '.'")
        return value

    def count_slots(self) -> int:
        """Return how many stages may run at once: one on a GPU host, else up to two."""
        if self.slots is not None:
            return max(1, self.slots)
        return 1 if detect_cuda() else min(2, os.cpu_count() or 1)


def load_host_settings(**overrides: Any) -> Settings:
    """Return this host's settings.

    Raises:
        InputError: a LANEKIT_* variable has a value that it cannot have.
    """
    try:
        return Settings(**overrides)
    except ValidationError as error:
        first = error.errors()[0]
        raise InputError(
            f"LANEKIT_{str(first['loc'][0]).upper()}={first['input']}: "
            f"{first['msg'].removeprefix('Value error, ').lower()}",
            remedy="correct the variable, or unset it",
        ) from None
