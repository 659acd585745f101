"""Lay out one lane's model as a submission: Hugging Face folder, model card, licence, zip."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

from lanekit.errors import InputError
from lanekit.files.hashing import hash_file
from lanekit.files.safetensors_header import check_model_folder
from lanekit.files.tied_head import check_tied_head
from lanekit.progress import Progress
from lanekit.spec.params import PackageParams
from ranker.package.card import render_card
from ranker.package.contents import check_package_name, choose_files, find_licences
from ranker.package.zipping import write_zip


def run(spec: PackageParams, inputs: Mapping[str, Path], out: Path, progress: Progress) -> None:
    """Write package/, submit.zip and package.json from inputs["model"] and inputs["base"].

    Raises:
        InputError: the name, the licence, the weights or a size limit stands against handing it on.
    """
    check_package_name(spec.package_name, spec.base_model_name)
    model = check_model_folder(inputs["model"])
    check_tied_head(model)
    licences = find_licences(inputs["model"], inputs["base"])
    sources = {**choose_files(model), **{path.name: path for path in licences}}
    folder = out / "package"
    folder.mkdir(parents=True)
    for step, (name, source) in enumerate(sorted(sources.items())):
        progress(step, len(sources) + 1, f"copying {name}")
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, folder / name)
    texts = {path.name: path.read_text(encoding="utf-8", errors="replace") for path in licences}
    card = render_card(spec, model.config, texts)
    (folder / "README.md").write_text(card, encoding="utf-8")

    unpacked_bytes = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    check_limit("unpacked", unpacked_bytes, spec.max_unpacked_bytes)
    progress(len(sources), len(sources) + 1, "zipping")
    zip_bytes = write_zip(folder, out / "submit.zip", spec.zip_prefix)
    check_limit("zipped", zip_bytes, spec.max_zip_bytes)
    report = {
        "package_name": spec.package_name,
        "lane": spec.lane,
        "zip_bytes": zip_bytes,
        "unpacked_bytes": unpacked_bytes,
        "files": {
            path.relative_to(folder).as_posix(): {
                "size_bytes": path.stat().st_size,
                "sha256": hash_file(path),
            }
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        },
    }
    text = json.dumps(report, indent=2, ensure_ascii=False) + "\n"
    (out / "package.json").write_text(text, encoding="utf-8")
    progress(len(sources) + 1, len(sources) + 1, "packaged")


def check_limit(what: str, size_bytes: int, limit_bytes: int) -> None:
    """Refuse a package above one of the contest's limits.

    Raises:
        InputError: by how many bytes it is above.
    """
    if size_bytes > limit_bytes:
        raise InputError(
            f"the package takes {size_bytes} bytes {what}, {size_bytes - limit_bytes} above the limit "
            f"of {limit_bytes}",
            remedy="choose a smaller scheme, or correct packaging limits in the experiment file",
        )
