"""A model's generation config while the model is saved: carried over, never written anew. No torch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from lanekit.files.small_files import GENERATION_CONFIG


class _Stand:
    """Takes the place of a generation config: saving it writes nothing, or only what can be written."""

    def __init__(self, own: Any, *, is_carried: bool) -> None:
        self.__dict__.update(_own=own, _is_carried=is_carried)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._own, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._own, name, value)

    def save_pretrained(self, *arguments: Any, **options: Any) -> None:
        """Write the own one where the source has no file and transformers does not refuse to."""
        if not self._is_carried:
            with suppress(ValueError):  # decoding is greedy: nothing is lost with it
                self._own.save_pretrained(*arguments, **options)


@contextmanager
def without_generation_config(model: Any, source: Path) -> Iterator[None]:
    """Let a transformers model be saved whatever its generation config holds.

    Many a model has settings that transformers reads and refuses to write, e.g. a temperature without
    do_sample; found when a model is saved, that costs all of a stage's work. The source's own file is carried
    over with its other files.
    """
    own = getattr(model, "generation_config", None)
    if own is None:
        yield
        return
    model.generation_config = _Stand(own, is_carried=(source / GENERATION_CONFIG).is_file())
    try:
        yield
    finally:
        model.generation_config = own
