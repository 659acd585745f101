"""What determines a model as an engine loads it: the content of its files, wherever they lie."""

from __future__ import annotations

from pathlib import Path

from lanekit.files.hashing import digest_json, hash_file, list_files
from lanekit.files.hub_card import is_licence_or_notice
from lanekit.files.model_folder import STAGE_FILES

LOADED_SUFFIXES = (".safetensors", ".json", ".jinja", ".model", ".txt")

_Stamp = tuple[str, int, int, int]
_known: dict[_Stamp, str] = {}  # a file of gigabytes is read once a process


def identify_model(folder: Path) -> str:
    """Return the sha256 of weights, config and tokenizer: equal for a lane's model and its unzipped package.

    What stages write beside a model (cards, reports, manifests) and licences are left out.
    """
    listing = {
        path.relative_to(folder).as_posix(): _hash_once(path)
        for path in list_files(folder)
        if path.suffix in LOADED_SUFFIXES
        and path.name not in STAGE_FILES
        and not is_licence_or_notice(path.name)
    }
    return digest_json(listing)


def _hash_once(path: Path) -> str:
    status = path.stat()
    stamp = (str(path.resolve()), status.st_ino, status.st_size, status.st_mtime_ns)
    if stamp not in _known:
        _known[stamp] = hash_file(path)
    return _known[stamp]
