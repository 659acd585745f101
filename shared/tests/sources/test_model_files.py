"""A model's small files, on the hub and in a folder: looked at without its weights.

The hub's address is read when its library is imported, so that is asked in a process of its own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hub_double import COMMIT, HubDouble

from lanekit.errors import InputError
from lanekit.files.small_files import SMALL_FILES
from lanekit.host.checkout import find_project_root
from lanekit.sources.model_files import look_at_model
from lanekit.spec.params import Source

FIXTURE = find_project_root() / "scripts" / "tiny" / "fixture"
LOOK = """
import json, sys
from lanekit.errors import LanekitError
from lanekit.sources.model_files import look_at_model
from lanekit.sources.revisions import Revisions
from lanekit.spec.params import Source
pins = Revisions(pinned={("model", "org/model", "main"): sys.argv[2]} if sys.argv[2] else {})
try:
    files = look_at_model(Source(source=sys.argv[1]), pins)
    print(json.dumps([files.place, sorted(files.texts), files.has_licence, files.peek_object("config.json")]))
except LanekitError as error:
    print(json.dumps([type(error).__name__, str(error)]))
"""


def look(hub: HubDouble, home: Path, source: str, pin: str = "") -> list[object]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "HUGGING_FACE_"))}
    done = subprocess.run(
        [sys.executable, "-c", LOOK, source, pin], capture_output=True, text=True, check=True, timeout=120,
        env=environment | {"HF_ENDPOINT": hub.url, "HF_HOME": str(home)},
    )  # fmt: skip
    result: list[object] = json.loads(done.stdout)
    return result


@pytest.mark.slow
def test_on_the_hub_the_small_files_alone_are_fetched(tmp_path: Path) -> None:
    files = {p.name: p.read_bytes() for p in FIXTURE.iterdir() if p.suffix != ".safetensors"}
    hub = HubDouble(
        {"org/model": {**files, "model.safetensors": b"weights"}, "org/shut": files}, {"org/shut"}
    )
    try:
        place, texts, has_licence, config = look(hub, tmp_path, "org/model")
        assert place == f"org/model@{COMMIT[:12]}" and has_licence
        assert texts == sorted(name for name in SMALL_FILES if name in files)
        assert config == json.loads(files["config.json"])
        fetched = [request for request in hub.requests if "/resolve/" in request]
        assert fetched and not any("safetensors" in r or "tokenizer.json" in r for r in fetched)
        assert look(hub, tmp_path / "pinned", "org/model", COMMIT)[0] == place
        assert any(f"revision/{COMMIT}" in request for request in hub.requests), (
            "the pinned commit is asked for"
        )
        kind, text = look(hub, tmp_path, "org/shut")
        assert kind == "InputError" and "gated, and no token is set" in str(text)
    finally:
        hub.close()
    kind, text = look(hub, tmp_path / "cut", "org/model")
    assert kind == "TransientError" and "remedy:" in str(text)


def test_a_folder_is_looked_at_without_hidden_and_empty_files(tmp_path: Path) -> None:
    for name in ("._config.json", ".hidden"):
        (tmp_path / name).write_text("x", encoding="utf-8")
    (tmp_path / "LICENSE").touch()
    (tmp_path / "config.json").write_text('{\n "a": 1,\n "b": {"a": 2}}', encoding="utf-8")
    files = look_at_model(Source(source=str(tmp_path)))
    assert files.names == {"config.json"} and not files.has_licence
    assert files.name_place("config.json", "b") == f"{tmp_path}/config.json:3"
    assert files.name_place("config.json", "c") == f"{tmp_path}/config.json"
    assert files.trouble is not None and "no *.safetensors file" in files.trouble.message


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder") as caught:
        look_at_model(Source(source=str(tmp_path / "nowhere")))
    assert caught.value.remedy
