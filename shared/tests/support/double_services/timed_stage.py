"""What the device stages of the tests do: take their time, and write down from when to when."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path


def record_and_sleep(name: str, milliseconds: int, out: Path) -> None:
    """Sleep, and append the stage's own start and end to the file that LANEKIT_TEST_RECORD names."""
    (out / "pid").write_text(str(os.getpid()), encoding="ascii")
    start = time.time()
    time.sleep(milliseconds / 1000)
    line = {
        "stage": name,
        "start": start,
        "end": time.time(),
        "visible": os.environ.get("CUDA_VISIBLE_DEVICES"),
    }
    with Path(os.environ["LANEKIT_TEST_RECORD"]).open("a", encoding="utf-8") as stream:
        stream.write(json.dumps(line) + "\n")
