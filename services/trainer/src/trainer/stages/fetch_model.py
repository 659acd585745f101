"""Bring a model into the store: from a local folder or from the hub."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from lanekit.errors import InputError
from lanekit.files.finite_weights import check_base_weights
from lanekit.files.hashing import list_files
from lanekit.files.model_folder import STAGE_FILES, write_report
from lanekit.files.safetensors_header import check_model_folder, find_weight_names
from lanekit.progress import Progress
from lanekit.sources.hub import explain_hub_error
from lanekit.spec.experiment_file import is_local
from lanekit.spec.params import FetchModelParams

KEPT = ("*.json", "*.safetensors", "*.jinja", "*.txt", "*.model", "LICENSE*", "NOTICE*")


def run(spec: FetchModelParams, inputs: Mapping[str, Path], out: Path, progress: Progress) -> None:
    """Copy the model's files and check that its weights are whole and finite.

    Raises:
        InputError: the folder is no model, a weight file is truncated, a weight is NaN or infinite, or the
            hub keeps the model closed.
        TransientError: the hub could not be reached.
    """
    del inputs  # the source is outside the store
    source = spec.model.source
    folder = Path(source) if is_local(source) else _download(spec)
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder", remedy="correct base_model in the experiment file")
    files = choose_files(folder)
    with ThreadPoolExecutor(max_workers=1) as beside:
        looking = beside.submit(check_base_weights, folder)  # the copying leaves the processor idle
        for number, path in enumerate(files):
            progress(number, len(files), f"copying {path.name}")
            shutil.copyfile(path, out / path.name)
        looking.result()
    check_model_folder(out)

    left = [p for p in list_files(folder, recursive=False) if p not in files and p.suffix != ".md"]
    passed_over = [p.name for p in left if p.name not in STAGE_FILES]
    write_report(
        out,
        source=source,
        revision=spec.model.revision,
        digest=spec.model.digest,
        passed_over=passed_over,
        notes=[f"not taken along from the model's folder: {', '.join(passed_over)}"] if passed_over else [],
    )


def choose_files(folder: Path) -> list[Path]:
    """Return a model folder's files that are carried on: its weights, and what small files go with them.

    Raises:
        InputError: there are no weights, or it is not clear which they are.
    """
    weights = find_weight_names(folder)
    return [
        path
        for path in list_files(folder, recursive=False)
        if path.name in weights
        or (path.name not in STAGE_FILES and any(map(path.match, KEPT)) and path.suffix != ".safetensors")
    ]


def _download(spec: FetchModelParams) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError

    repo = spec.model.source
    try:
        return Path(snapshot_download(repo, revision=spec.model.revision, allow_patterns=list(KEPT)))
    except (HfHubHTTPError, OSError) as error:  # what was fetched stays in the hub cache
        raise explain_hub_error(error, repo, "model", spec.model.revision) from error
