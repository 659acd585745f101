"""The GPU's compute capability, as nvidia-smi tells it."""

from __future__ import annotations

from pathlib import Path

import pytest

from lanekit.host.probe import query_capability


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("echo 8.9", 89),
        ("printf '9.0\\n8.9\\n'", 89),
        ("echo 12.0", 120),
        ("echo '[N/A]'", None),
        ("echo broken >&2; exit 9", None),
    ],
)
def test_the_lowest_one_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, expected: int | None
) -> None:
    (tmp_path / "nvidia-smi").write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    (tmp_path / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    assert query_capability() == expected


def test_there_may_be_no_nvidia_smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert query_capability() is None
