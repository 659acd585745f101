"""Bring a model into the store: from a local folder or from the hub."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

from lanekit.errors import InputError
from lanekit.files.model_folder import STAGE_FILES, write_report
from lanekit.files.safetensors_header import check_model_folder
from lanekit.progress import Progress
from lanekit.sources.hub import explain_hub_error
from lanekit.spec.experiment_file import is_local
from lanekit.spec.params import FetchModelParams

KEPT = ("*.json", "*.safetensors", "*.jinja", "*.txt", "*.model", "LICENSE*", "NOTICE*")


def run(spec: FetchModelParams, inputs: Mapping[str, Path], out: Path, progress: Progress) -> None:
    """Copy the model's files and check that its weights are whole.

    Raises:
        InputError: the folder is no model, a weight file is truncated, or the hub keeps the model closed.
        TransientError: the hub could not be reached.
    """
    del inputs  # the source is outside the store
    source = spec.model.source
    folder = Path(source) if is_local(source) else _download(spec)
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder", remedy="correct base_model in the experiment file")
    files = sorted({p for pattern in KEPT for p in folder.glob(pattern) if p.name not in STAGE_FILES})
    for number, path in enumerate(files):
        progress(number, len(files), f"copying {path.name}")
        shutil.copyfile(path, out / path.name)
    check_model_folder(out)
    write_report(out, source=source, revision=spec.model.revision, digest=spec.model.digest)


def _download(spec: FetchModelParams) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError

    repo = spec.model.source
    try:
        return Path(snapshot_download(repo, revision=spec.model.revision, allow_patterns=list(KEPT)))
    except (HfHubHTTPError, OSError) as error:  # what was fetched stays in the hub cache
        raise explain_hub_error(error, repo, "model", spec.model.revision) from error
