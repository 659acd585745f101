"""Resolving an experiment's sources: local content is hashed, a hub revision becomes its commit."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Literal

from lanekit.errors import InputError
from lanekit.experiment import Experiment, is_local
from lanekit.keys import hash_environment, hash_source
from lanekit.params import Source

COMMIT = re.compile(r"^[0-9a-f]{40}$")
SERVICES: tuple[str, ...] = ("trainer", "quantizer", "evaluator", "ranker")


def find_project_root() -> Path:
    """Return the folder that holds lanes/ and services/ (this file's great-grandparent)."""
    return Path(__file__).resolve().parents[3]


def load_environments(root: Path, services: Iterable[str] = SERVICES) -> dict[str, str]:
    """Return the services' lock digests; an image holds its own service's lock alone."""
    return {s: hash_environment(root / "services" / s / "requirements.lock") for s in services}


def detect_cuda() -> bool:
    """Whether an NVIDIA device is there, found without importing torch."""
    return Path("/dev/nvidiactl").exists() or (
        shutil.which("nvidia-smi") is not None and Path("/proc/driver/nvidia/gpus").is_dir()
    )


def resolve_source(
    source: Source, kind: Literal["model", "dataset"], find_commit: Callable[..., str] | None = None
) -> Source:
    """Return the source with its digest: content hash of a local path, commit of a hub revision.

    Raises:
        InputError: the path does not exist, or the hub cannot be asked.
    """
    if is_local(source.source):
        return source.model_copy(update={"digest": hash_source(Path(source.source).expanduser())})
    if COMMIT.match(source.revision):
        return source.model_copy(update={"digest": source.revision})
    commit = (find_commit or _ask_hub)(source.source, source.revision, kind)
    return source.model_copy(update={"digest": commit, "revision": commit})


def resolve_sources(experiment: Experiment, parts: tuple[str, ...] = ("base_model", "data")) -> Experiment:
    """Resolve the sources that a command needs; see `resolve_source`.

    Args:
        parts: any of "base_model", "data" (all sets), "benchmarks" (those of the suite), or a set's name.
    """
    suite = {benchmark.name for benchmark in experiment.benchmarks}

    def is_wanted(name: str) -> bool:
        return "data" in parts or name in parts or ("benchmarks" in parts and name in suite)

    data: dict[str, Any] = {
        name: resolve_source(source, "dataset") if is_wanted(name) else source
        for name, source in experiment.data.items()
    }
    base = experiment.base_model
    if "base_model" in parts:
        base = base.model_copy(
            update=resolve_source(base, "model").model_dump(include={"digest", "revision"})
        )
    return experiment.model_copy(update={"data": data, "base_model": base})


def _ask_hub(repo: str, revision: str, kind: str) -> str:
    from huggingface_hub import HfApi
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, RepositoryNotFoundError

    try:
        info = HfApi().repo_info(repo, repo_type=kind, revision=revision, timeout=30)
    except GatedRepoError as error:
        raise InputError(
            f"{repo}: this {kind} is gated",
            remedy=f"accept its terms on its hub page, then set HF_TOKEN ({error.__class__.__name__})",
        ) from error
    except RepositoryNotFoundError as error:
        raise InputError(
            f"{repo}: no such {kind} on the hub, or no right to see it",
            remedy="correct the name in the experiment file, or set HF_TOKEN",
        ) from error
    except (HfHubHTTPError, OSError, ValueError) as error:
        raise InputError(
            f"{repo}: the hub could not be asked for revision '{revision}': {error}",
            remedy="check the network, pin a 40-digit commit, or give a local path "
            "(it starts with / or ./) in the experiment file",
        ) from error
    return str(info.sha)
