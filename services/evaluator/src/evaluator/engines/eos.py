"""Which tokens end a reply."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def read_eos_ids(model: Path, tokenizer: Any) -> list[int]:
    """Return every token id that ends a reply: the generation config's, the config's, the tokenizer's."""
    ids: set[int] = set()
    for name in ("generation_config.json", "config.json"):
        path = model / name
        value = json.loads(path.read_text(encoding="utf-8")).get("eos_token_id") if path.is_file() else None
        ids.update([value] if isinstance(value, int) else value or [])
    if tokenizer.eos_token_id is not None:
        ids.add(int(tokenizer.eos_token_id))
    return sorted(ids)
