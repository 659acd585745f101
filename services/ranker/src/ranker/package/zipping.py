"""A zip whose bytes depend on the files' names and contents alone."""

from __future__ import annotations

import shutil
import stat
import zipfile
from pathlib import Path, PurePosixPath

from lanekit.errors import InputError

FIXED_TIME = (1980, 1, 1, 0, 0, 0)  # the earliest that the format can tell
FILE_MODE = stat.S_IFREG | 0o644
UNIX = 3
STORED_SUFFIXES = (".safetensors",)  # weights do not compress, and reading them should not wait
CHUNK_BYTES = 1 << 20


def write_zip(folder: Path, target: Path, prefix: str = "") -> int:
    """Zip a folder's files in the order of their names; return the zip's size in bytes.

    Args:
        prefix: a folder inside the zip under which all entries stand; none where empty.

    Raises:
        InputError: the prefix would leave the folder into which the zip is unpacked.
    """
    root = PurePosixPath(prefix)
    if root.is_absolute() or ".." in root.parts or "\\" in prefix:
        raise InputError(f"zip_prefix '{prefix}' is not a plain folder name", remedy="use e.g. model/")
    files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    with zipfile.ZipFile(target, "w", allowZip64=True) as archive:
        for name in sorted(files):
            info = zipfile.ZipInfo((root / name).as_posix(), FIXED_TIME)
            info.create_system = UNIX
            info.external_attr = FILE_MODE << 16
            stored = name.endswith(STORED_SUFFIXES)
            info.compress_type = zipfile.ZIP_STORED if stored else zipfile.ZIP_DEFLATED
            info.file_size = files[name].stat().st_size  # decides on ZIP64 before the data are written
            with files[name].open("rb") as source, archive.open(info, "w") as entry:
                shutil.copyfileobj(source, entry, CHUNK_BYTES)
    return target.stat().st_size
