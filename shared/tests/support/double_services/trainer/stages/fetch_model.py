"""A stage for the tests of pool and child: `spec.name` says how it behaves. Runs in a real child process."""

from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from lanekit.errors import InputError, TransientError
from lanekit.progress import Progress
from lanekit.spec.params import FetchModelParams

FOREVER_SECONDS = 120


def run(spec: FetchModelParams, inputs: Mapping[str, Path], out: Path, progress: Progress) -> None:
    """Do what `spec.name` says."""
    (out / "pid").write_text(str(os.getpid()), encoding="ascii")
    progress(1, 2, "half-way")
    if spec.name == "sleep":
        time.sleep(FOREVER_SECONDS)
    elif spec.name == "fork":
        grandchild = os.fork()
        if grandchild == 0:
            time.sleep(FOREVER_SECONDS)
            os._exit(0)
        (out / "grandchild.partial").write_text(str(grandchild), encoding="ascii")
        (out / "grandchild.partial").rename(out / "grandchild")
        time.sleep(FOREVER_SECONDS)
    elif spec.name == "spawn":  # as vLLM starts its engine core
        spawned = multiprocessing.get_context("spawn").Process(target=write_and_sleep, args=(out,))
        spawned.start()
        spawned.join()
    elif spec.name == "daemon":  # in a session of its own, and its parent is gone
        go_away = "import os, sys; os.setsid(); os.fork() and os._exit(0); "
        stay = f"open(sys.argv[1], 'w').write(str(os.getpid())); import time; time.sleep({FOREVER_SECONDS})"
        subprocess.run([sys.executable, "-c", go_away + stay, str(out / "grandchild")], check=True)
        time.sleep(FOREVER_SECONDS)
    elif spec.name == "refuse":
        raise InputError("keep_layers is 31, the model has 30", remedy="lower keep_layers")
    elif spec.name == "busy":
        raise TransientError("the GPU is busy", remedy="wait")
    elif spec.name == "crash":
        raise RuntimeError("no idea")
    elif spec.name == "quit":
        os._exit(7)
    elif spec.name == "fill":
        (out / "big").write_bytes(b"x" * (4 << 20))
    elif spec.name == "environment":
        (out / "names.json").write_text(json.dumps(sorted(os.environ)), encoding="utf-8")
    progress(2, 2, "done")


def write_and_sleep(out: Path) -> None:
    """Tell the process's id and stay."""
    (out / "grandchild.partial").write_text(str(os.getpid()), encoding="ascii")
    (out / "grandchild.partial").rename(out / "grandchild")
    time.sleep(FOREVER_SECONDS)
