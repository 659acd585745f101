"""What nvidia-smi is asked, and how its answer about memory is read."""

from __future__ import annotations

import pytest

from lanekit.host import gpu_query
from lanekit.host.gpu_query import make_query, read_free_share, read_memory_mib


@pytest.mark.parametrize(
    ("own", "visible", "last"),
    [
        ("2,3", None, "--id=2"),
        ("2", "1", "--id=1"),
        ("", "GPU-1f", "--id=GPU-1f"),
        ("2", "", "--format=csv,noheader,nounits"),
    ],
)
def test_the_gpu_asked_of(monkeypatch: pytest.MonkeyPatch, own: str, visible: str | None, last: str) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", own)
    assert make_query(["name"], visible=visible)[-1] == last


def test_memory_is_told_or_not() -> None:
    assert read_memory_mib("81559, 36702\n81559, 1") == (81559, 36702)
    for untold in ("", "[N/A], [N/A]", "81559", "0, 0"):
        assert read_memory_mib(untold) is None


@pytest.mark.parametrize(("answer", "share"), [("1000, 250", 0.25), ("", 1.0)])
def test_the_free_share(monkeypatch: pytest.MonkeyPatch, answer: str, share: float) -> None:
    monkeypatch.setattr(gpu_query, "run_query", lambda *_, **__: answer)
    assert read_free_share() == share
