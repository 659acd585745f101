"""The sources inside a stage's parameters, one by one: a local path never leaves the user's machine."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from lanekit.spec.experiment_file import is_local
from lanekit.spec.params import Parameters, Source

LOCAL = "local"  # stands in keys and messages instead of a path

AnyParameters = TypeVar("AnyParameters", bound=Parameters)


def map_sources(params: AnyParameters, change: Callable[[Source], Source]) -> AnyParameters:
    """Return the parameters with every source changed."""

    def visit(value: Any) -> Any:
        if isinstance(value, Source):
            return change(value)
        return {name: visit(inner) for name, inner in value.items()} if isinstance(value, Mapping) else value

    return params.model_copy(update={name: visit(value) for name, value in params})


def list_sources(params: Parameters) -> list[Source]:
    """Return all sources, in the order of the fields."""
    found: list[Source] = []

    def note(source: Source) -> Source:
        found.append(source)
        return source

    map_sources(params, note)
    return found


def drop_local_paths(params: AnyParameters) -> AnyParameters:
    """Return the parameters without local paths: the content's digest says what they were.

    Raises:
        ValueError: a local source has no digest yet.
    """

    def drop(source: Source) -> Source:
        if not is_local(source.source):
            return source
        if not source.digest:
            raise ValueError(f"{source.source}: no digest yet (see sources.resolve.resolve_sources)")
        return source.model_copy(update={"source": LOCAL})

    return map_sources(params, drop)


def put_local_paths(params: AnyParameters, paths: Mapping[str, Path]) -> AnyParameters:
    """Return the parameters with paths by digest where they were dropped."""

    def put(source: Source) -> Source:
        path = paths.get(source.digest) if source.source == LOCAL else None
        return source if path is None else source.model_copy(update={"source": str(path)})

    return map_sources(params, put)
