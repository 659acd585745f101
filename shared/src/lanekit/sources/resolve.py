"""Resolving an experiment's sources: local content is hashed, a hub revision becomes its commit."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from lanekit.files.data_files import list_data_files
from lanekit.files.hashing import hash_source
from lanekit.sources.hub import HubKind, check_token, explain_hub_error
from lanekit.sources.revisions import COMMIT, Revisions
from lanekit.sources.typed import explain_missing, looks_like_path
from lanekit.spec.calibration import CORPORA, find_spare_sources
from lanekit.spec.experiment_file import Experiment, is_local
from lanekit.spec.lane_file import Lane
from lanekit.spec.params import Source


def resolve_source(
    source: Source,
    kind: HubKind,
    find_commit: Callable[..., str] | None = None,
    revisions: Revisions | None = None,
) -> Source:
    """Return the source with its digest: content hash of a local path, commit of a hub revision.

    A branch that `revisions` pins is not asked for; what the hub answers is noted there.

    Raises:
        InputError: the path does not exist or holds no data that can be read, or the hub has no such source
            or keeps it closed.
        TransientError: the hub cannot be reached.
    """
    if is_local(source.source):
        path = Path(source.source).expanduser()
        if not path.exists():
            raise explain_missing(source.source, path)
        if kind == "dataset":
            list_data_files(path, source.split)
        return source.model_copy(update={"digest": hash_source(path)})
    if looks_like_path(source.source):
        raise explain_missing(source.source, Path(source.source))
    if COMMIT.match(source.revision):
        return source.model_copy(update={"digest": source.revision})
    known = revisions if revisions is not None else Revisions()
    commit = known.find(kind, source.source, source.revision)
    if commit is None:
        commit = (find_commit or ask_hub)(source.source, source.revision, kind)
        known.note(kind, source.source, source.revision, commit)
    return source.model_copy(update={"digest": commit, "revision": commit})


def resolve_sources(
    experiment: Experiment,
    parts: tuple[str, ...] = ("base_model", "data"),
    revisions: Revisions | None = None,
    lanes: Iterable[Lane] = (),
) -> Experiment:
    """Resolve the sources that a command needs; see `resolve_source`.

    Args:
        parts: any of "base_model", "data" (all sets), "benchmarks" (all but the corpus), or a set's name.
        lanes: those that are run: what calibrates alone is left as it is where none of them takes it.
    """
    spare = find_spare_sources(stage.params for lane in lanes for stage in lane.stages)
    data: dict[str, Any] = {
        name: resolve_source(source, "dataset", revisions=revisions)
        if is_wanted(name, parts) and name not in spare
        else source
        for name, source in experiment.data.items()
    }
    base = experiment.base_model
    if "base_model" in parts:
        resolved = resolve_source(base, "model", revisions=revisions)
        base = base.model_copy(update=resolved.model_dump(include={"digest", "revision"}))
    return experiment.model_copy(update={"data": data, "base_model": base})


def is_wanted(name: str, parts: tuple[str, ...]) -> bool:
    """Whether a data set is among the parts of `resolve_sources`."""
    return "data" in parts or name in parts or ("benchmarks" in parts and name not in CORPORA)


def ask_hub(repo: str, revision: str, kind: HubKind) -> str:
    """Return the commit that a revision of the hub stands for.

    Raises:
        InputError: gated, or no such source or revision; names the page to open.
        TransientError: the hub cannot be reached.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    check_token()
    try:
        info = HfApi().repo_info(repo, repo_type=kind, revision=revision, timeout=30)
    except (HfHubHTTPError, OSError, ValueError) as error:
        raise explain_hub_error(error, repo, kind, revision) from error
    return str(info.sha)
