"""A full disk under a running job: a clear error, nothing half-written, and the job goes on afterwards."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from commands import Runner

pytestmark = pytest.mark.slow


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 9 MB: the base model fits, a quantized one does not."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=9m", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("only root may mount a small file system")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_loses_nothing(small_disk: Path, run_script: Runner, tmp_path: Path) -> None:
    store = small_disk / "store"
    options = ("--store", str(store), "--lane", "lane03")
    done = run_script("03_quantize.py", *options, cwd=tmp_path, expect=1)
    text = " ".join(done.stderr.split())
    assert "No space left on device" in text
    assert "free space" in text
    assert "Traceback" not in text
    committed = sorted(path.parent.name for path in store.glob("*/*/manifest.json"))
    assert any(name.startswith("corpus-") for name in committed)
    assert not any(name.startswith("gptq") for name in committed)
    assert not list(store.glob("models/gptq*")), "nothing half-written may stand among the artifacts"

    subprocess.run(["mount", "-o", "remount,size=64m", str(small_disk)], check=True)
    again = run_script("03_quantize.py", *options, cwd=tmp_path)
    for name in committed:
        assert f"reused: {name}" in again.stdout
    assert list(store.glob("models/gptq*/manifest.json"))
