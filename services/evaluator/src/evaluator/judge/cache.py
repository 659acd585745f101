"""Judgements on this host's disk: what was paid for is not lost when a stage stops, nor paid for again."""

from __future__ import annotations

import hashlib
import json
import os
import re
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from lanekit.errors import InputError
from lanekit.files.atomic import write_text_atomically
from lanekit.files.owned import adopt_folder
from lanekit.files.pruning import DAY_S, Bound, Kept, choose_removals

BOUND = Bound(size_bytes=500_000_000, age_s=365 * DAY_S)  # a quarter of a million judgements, and a year
_SHELF = re.compile(r"[0-9a-f]{2}")
_NAME = re.compile(r"[0-9a-f]{64}\.json")


@dataclass(frozen=True)
class Judgement:
    """What an endpoint answered to one request; token counts are None where it did not tell them."""

    text: str
    model: str
    finish_reason: str
    prompt_tokens: int | None
    completion_tokens: int | None


_JUDGEMENT = TypeAdapter(Judgement)


def find_cache_folder(environment: Mapping[str, str] = os.environ) -> Path:
    """Return `judge` in LANEKIT_CACHE, else in the user's cache directory for this product."""
    if environment.get("LANEKIT_CACHE"):
        return Path(environment["LANEKIT_CACHE"]) / "judge"
    home = environment.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "exaone-lanes" / "judge"


class JudgementCache:
    """Judgements by the sha256 of endpoint and request; the same request is the same judgement.

    A file holds the judge's words and token counts, about 2 kB; what was not used for long goes by `prune`,
    and deleting the folder has all judged anew. Neither a key nor a request is in it.

    Raises:
        InputError: the folder cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            self._is_own = adopt_folder(folder, lambda entry: _SHELF.fullmatch(entry.name) is not None)
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
        path = self.locate(url, body)
        try:
            judgement = _JUDGEMENT.validate_json(path.read_bytes(), strict=True)
            os.utime(path)
        except (OSError, ValueError):
            return None
        return judgement

    def prune(self, bound: Bound = BOUND) -> int:
        """Remove the judgements not used for longest until the bound holds, and return how many.

        Nothing goes of a folder in which something else stands.
        """
        if not self._is_own:
            return 0
        kept = []
        for path in self.folder.glob("*/*.json"):
            if _NAME.fullmatch(path.name) and path.parent.name == path.name[:2]:
                with suppress(OSError):  # another judge may prune as well
                    stat = path.stat()
                    kept.append(Kept(path, stat.st_size, stat.st_mtime))
        removals = choose_removals(kept, bound, time.time())
        for path in removals:
            path.unlink(missing_ok=True)
        return len(removals)

    def save(self, url: str, body: Mapping[str, Any], judgement: Judgement) -> None:
        """Keep a judgement; a reader sees all of it or nothing."""
        path = self.locate(url, body)
        path.parent.mkdir(exist_ok=True)
        write_text_atomically(path, json.dumps(asdict(judgement), ensure_ascii=False))
