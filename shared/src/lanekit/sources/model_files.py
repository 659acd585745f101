"""A model's small files, from its folder or from the hub; the weights stay where they are."""

from __future__ import annotations

from pathlib import Path

from lanekit.errors import InputError
from lanekit.files.small_files import SMALL_FILES, SmallFiles, read_small_files
from lanekit.sources.hub import explain_hub_error
from lanekit.sources.revisions import Revisions
from lanekit.spec.experiment_file import is_local
from lanekit.spec.params import Source


def look_at_model(source: Source, revisions: Revisions | None = None) -> SmallFiles:
    """Return what a model's small files hold; on the hub at the commit that is pinned for its revision.

    Raises:
        InputError: there is no such folder, or the hub has no such model or keeps it closed.
        TransientError: the hub cannot be reached.
    """
    if is_local(source.source):
        return read_small_files(Path(source.source).expanduser())
    pinned = (revisions or Revisions()).find("model", source.source, source.revision)
    return _ask_hub(source.source, pinned or source.revision)


def _ask_hub(repo: str, revision: str) -> SmallFiles:
    from huggingface_hub import HfApi, hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError

    try:
        info = HfApi().model_info(repo, revision=revision, timeout=30)
        names = frozenset(file.rfilename for file in info.siblings or () if "/" not in file.rfilename)
        commit = info.sha or revision
        texts = {
            name: Path(hf_hub_download(repo, name, revision=commit)).read_bytes()
            for name in SMALL_FILES
            if name in names
        }
    except (HfHubHTTPError, OSError, ValueError) as error:
        raise explain_hub_error(error, repo, "model", revision) from error
    place, visible = f"{repo}@{commit[:12]}", frozenset(n for n in names if not n.startswith("."))
    trouble = None
    if not any(name.endswith(".safetensors") for name in visible):
        trouble = InputError(
            f"{place}: no *.safetensors file",
            remedy="take a revision of the model that is saved as safetensors (pickled weights are not read)",
        )
    return SmallFiles(place, visible, texts, trouble=trouble)
