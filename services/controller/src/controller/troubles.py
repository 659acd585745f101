"""What is wrong at the moment, told once and not at every tick."""

from __future__ import annotations

from collections.abc import Callable

import structlog

SAY_AGAIN_SECONDS = 60.0

log = structlog.get_logger()


class Troubles:
    """Remembers what was told, and when."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._told: dict[str, tuple[str, float]] = {}

    def __contains__(self, about: str) -> bool:
        return about in self._told

    def is_news(self, about: str, text: str) -> bool:
        """Whether a trouble is to be told: a new one at once, a lasting one every minute."""
        last, at_s = self._told.get(about, ("", float("-inf")))
        if text == last and self._clock() - at_s < SAY_AGAIN_SECONDS:
            return False
        self._told[about] = (text, self._clock())
        return True

    def forget(self, about: str) -> bool:
        """Forget a trouble; whether there was one."""
        return self._told.pop(about, None) is not None

    def note_lost(self, what: str, error: Exception) -> None:
        """Tell that `what` does not answer, at the first time."""
        if what not in self._told:
            log.warning(f"{what}_lost", reason=str(error))
        self._told[what] = (str(error), self._clock())

    def note_back(self, what: str) -> bool:
        """Tell that `what` answers again, where it did not; whether that is so."""
        if not self.forget(what):
            return False
        log.info(f"{what}_back")
        return True
