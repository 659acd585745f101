"""Judgements on this host's disk: what was paid for is not lost when a stage stops, nor paid for again."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lanekit.errors import InputError
from lanekit.files.atomic import write_text_atomically


@dataclass(frozen=True)
class Judgement:
    """What an endpoint answered to one request; token counts are None where it did not tell them."""

    text: str
    model: str
    finish_reason: str
    prompt_tokens: int | None
    completion_tokens: int | None


def find_cache_folder(environment: Mapping[str, str] = os.environ) -> Path:
    """Return `judge` in LANEKIT_CACHE, else in the user's cache directory for this product."""
    if environment.get("LANEKIT_CACHE"):
        return Path(environment["LANEKIT_CACHE"]) / "judge"
    home = environment.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "exaone-lanes" / "judge"


class JudgementCache:
    """Judgements by the sha256 of endpoint and request; the same request is the same judgement.

    A file holds the judge's words and token counts, about 2 kB, and nothing is ever removed: delete the
    folder to have all judged anew. Neither a key nor a request is in it.

    Raises:
        InputError: the folder cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=folder).close()
        except OSError as error:
            raise InputError(
                f"{folder}: judgements cannot be kept here: {error.strerror or error}",
                remedy="set LANEKIT_CACHE to a folder that can be written",
            ) from error

    def locate(self, url: str, body: Mapping[str, Any]) -> Path:
        """Return the file of a request's judgement."""
        request = json.dumps({"url": url, "body": body}, sort_keys=True, ensure_ascii=False)
        digest = hashlib.sha256(request.encode()).hexdigest()
        return self.folder / digest[:2] / f"{digest}.json"

    def load(self, url: str, body: Mapping[str, Any]) -> Judgement | None:
        """Return a request's judgement; None where there is none, or its file is damaged."""
        try:
            return Judgement(**json.loads(self.locate(url, body).read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None

    def save(self, url: str, body: Mapping[str, Any], judgement: Judgement) -> None:
        """Keep a judgement; a reader sees all of it or nothing."""
        path = self.locate(url, body)
        path.parent.mkdir(exist_ok=True)
        write_text_atomically(path, json.dumps(asdict(judgement), ensure_ascii=False))
