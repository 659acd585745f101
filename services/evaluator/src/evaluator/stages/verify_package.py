"""Stage `verify_package`: a package is one only if it unzips, loads and answers."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from evaluator.engines.registry import Wanted, hold_engines
from evaluator.packages.unpack import check_licence, find_zip
from evaluator.quality.chat import ChatTokenizer
from lanekit.errors import InputError, PermanentError
from lanekit.files.zips import find_model_folder, unzip_safely
from lanekit.host.probe import list_versions
from lanekit.progress import Progress
from lanekit.spec.evaluation import VerifyPackageParams


def run(spec: VerifyPackageParams, inputs: Mapping[str, Path], out: Path, progress: Progress) -> None:
    """Unzip `inputs["package"]`/submit.zip, load it, ask it; writes verification.json.

    Raises:
        InputError: the archive is unsafe or damaged, the licence is missing, the model does not load, or it
            answers nothing.
    """
    archive = find_zip(inputs["package"])
    with tempfile.TemporaryDirectory(dir=out, prefix=".unzipped-") as folder:
        root = Path(folder)
        progress(0, 3, "unzipping")
        files = unzip_safely(archive, root)
        model = find_model_folder(root)
        licence = check_licence(model, root)
        try:
            answer = _ask(spec, model, progress)
        except PermanentError as error:
            message = f"{archive.name}: the package does not work: {error.message}"
            raise InputError(message.replace(str(root), archive.name), remedy=error.remedy) from error
    verification = {
        **answer,
        "licence": licence,
        "zip": archive.name,
        "zip_bytes": archive.stat().st_size,
        "files": files,
        "versions": list_versions(),
    }
    text = json.dumps(verification, ensure_ascii=False, indent=2) + "\n"
    (out / "verification.json").write_text(text, encoding="utf-8")
    progress(3, 3, "verified")


def _ask(spec: VerifyPackageParams, model: Path, progress: Progress) -> dict[str, Any]:
    """Load the model, or take the engine that is there of equal files, and generate for the prompt."""
    started = time.perf_counter()
    chat = ChatTokenizer(model)
    wanted = [Wanted(model, spec.engine)]
    with hold_engines(wanted, lambda message: progress(1, 3, message)) as held:
        load_seconds = time.perf_counter() - started
        progress(2, 3, "asking")
        prompt = chat.encode_chat([{"role": "user", "content": spec.prompt}])
        output = held.engine.generate([prompt], spec.max_new_tokens)[0]
        description = held.engine.describe()
    response = chat.decode_replies([output.token_ids])[0]
    if not response:
        message = f"the model answers {spec.prompt!r} with no text"
        raise InputError(message, remedy="look at the lane's evaluation")
    return {
        "loaded_with": description["engine"],
        "engine": description,
        "prompt": spec.prompt,
        "response": response,
        "n_tokens": len(output.token_ids),
        "load_seconds": load_seconds,
        **held.describe(),
        "seconds": time.perf_counter() - started,
    }
