"""A model's content: equal for a lane's model and its unzipped package, another for what loads otherwise."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from evaluator.engines import identity
from evaluator.engines.identity import identify_model


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    (folder / "additional_chat_templates").mkdir(parents=True)
    for name in (
        "model.safetensors", "config.json", "generation_config.json", "tokenizer.json", "chat_template.jinja",
        "additional_chat_templates/short.jinja",
    ):  # fmt: skip
        (folder / name).write_text(name, encoding="utf-8")
    return folder


def test_a_package_of_a_model_is_the_same_model(model: Path, tmp_path: Path) -> None:
    package = tmp_path / "package"
    shutil.copytree(model, package)
    (package / "LICENSE").write_text("licence", encoding="utf-8")
    (package / "NOTICE.txt").write_text("notice", encoding="utf-8")
    (package / "README.md").write_text("the package's card", encoding="utf-8")
    for name in ("README.md", "manifest.json", "report.json", "recipe.yaml"):
        (model / name).write_text("the stage's", encoding="utf-8")
    assert identify_model(package) == identify_model(model)


@pytest.mark.parametrize(
    "name",
    [
        "model.safetensors",
        "generation_config.json",
        "tokenizer.json",
        "additional_chat_templates/short.jinja",
    ],
)  # fmt: skip
def test_what_is_loaded_counts(model: Path, tmp_path: Path, name: str) -> None:
    other = tmp_path / "other"
    shutil.copytree(model, other)
    assert identify_model(other) == identify_model(model)
    (other / name).write_text("changed", encoding="utf-8")
    assert identify_model(other) != identify_model(model)
    (other / name).unlink()
    assert identify_model(other) != identify_model(model)


def test_a_file_is_read_once_until_it_changes(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    hash_file = identity.hash_file
    monkeypatch.setattr(identity, "hash_file", lambda path: (read.append(path.name), hash_file(path))[1])
    first = identify_model(model)
    assert len(read) == 6
    assert identify_model(model) == first and len(read) == 6
    (model / "config.json").write_text("another config", encoding="utf-8")
    assert identify_model(model) != first
    assert read[6:] == ["config.json"]
