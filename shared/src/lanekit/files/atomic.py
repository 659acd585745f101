"""Writing a small file so that no reader, and no crash, ever meets half of it."""

from __future__ import annotations

import contextlib
import os
import uuid
from pathlib import Path


def write_text_atomically(path: Path, text: str, *, durable: bool = False) -> None:
    """Write UTF-8 beside a file and put it in its place; the old content stays where that fails.

    Args:
        durable: bring the content to the disk first, so that a power cut leaves no empty file.
    """
    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex}.partial")
    try:
        with partial.open("w", encoding="utf-8") as stream:
            stream.write(text)
            if durable:
                stream.flush()
                os.fsync(stream.fileno())
        partial.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            partial.unlink()
        raise
