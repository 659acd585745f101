"""Peak memory of a stage, sampled."""

from __future__ import annotations

import sys
import threading
from typing import Any

import psutil

SAMPLE_SECONDS = 0.25


class MemoryMeter:
    """Context manager: the process tree's peak resident bytes, and the GPU allocator's peak.

    The GPU's number comes from torch if a stage has imported it; this module never imports it.
    """

    def __init__(self) -> None:
        self.peak_rss_bytes = 0
        self.peak_gpu_bytes = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> MemoryMeter:
        cuda = _find_cuda()
        if cuda:
            cuda.reset_peak_memory_stats()
        self._sample()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._sample()
        cuda = _find_cuda()
        if cuda:
            self.peak_gpu_bytes = int(cuda.max_memory_allocated())

    def _watch(self) -> None:
        while not self._stop.wait(SAMPLE_SECONDS):
            self._sample()

    def _sample(self) -> None:
        process = psutil.Process()
        total = process.memory_info().rss
        for child in process.children(recursive=True):
            try:
                total += child.memory_info().rss
            except psutil.Error:
                continue
        self.peak_rss_bytes = max(self.peak_rss_bytes, total)


def _find_cuda() -> Any:
    torch = sys.modules.get("torch")
    cuda = getattr(torch, "cuda", None)
    return cuda if cuda is not None and cuda.is_available() and cuda.is_initialized() else None
