"""scripts/push.py against the hub's double: what it sends, what it asks first, what it never shows."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import push
import pytest
from commands import ROOT
from hub_writes import WritableHub, serve_hub

from lanekit.errors import InputError

FIXTURE = ROOT / "scripts" / "tiny" / "fixture"
REPO = "me/tiny"
CARD = "---\nlicense: other\nlicense_name: see-license-file\nlicense_link: LICENSE\n---\n\n# tiny\n"
Push = Callable[..., str]


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[WritableHub]:
    yield from serve_hub(monkeypatch)


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("submissions") / "submit_top1.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(FIXTURE.iterdir()):
            if file.suffix != ".md":
                archive.write(file, file.name)
        archive.writestr("README.md", CARD)
    return path


@pytest.fixture
def run(package: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Push:
    """Push the package in this process, and return what was printed."""

    def run(*options: str) -> str:
        monkeypatch.setenv("COLUMNS", "200")
        monkeypatch.setattr(sys, "argv", ["push.py", str(package), REPO, *options])
        assert push.main() == 0
        return capsys.readouterr().out

    return run


def test_a_dry_run_lists_every_file_and_asks_the_hub_nothing(
    hub: WritableHub, run: Push, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HF_TOKEN")
    printed = run("--dry-run")
    size_bytes = (FIXTURE / "model.safetensors").stat().st_size
    assert f"{size_bytes:,}" in printed and "model.safetensors" in printed and "LICENSE" in printed
    assert "nothing was sent; me/tiny would be private" in printed
    assert hub.requests == []


def test_a_package_arrives_as_it_was_zipped(hub: WritableHub, run: Push, package: Path) -> None:
    printed = run()
    with zipfile.ZipFile(package) as archive:
        sent = {name: archive.read(name) for name in archive.namelist()}
    assert hub.repos[REPO].files == {".gitattributes": b"", **sent} and hub.repos[REPO].is_private
    assert f"to send: {len(sent)} files" in printed and "all are there (private)" in printed
    assert f"{hub.url}/{REPO}/tree/{hub.repos[REPO].commits[-1]}" in printed
    assert f"{len(sent)} are there already" in run()


def test_other_files_stay_unless_they_are_to_go(hub: WritableHub, run: Push) -> None:
    hub.add(REPO, is_private=True, **{"model-00001-of-00002.safetensors": b"old"})
    with pytest.raises(InputError, match=r"files that are not of .*model-00001-of-00002") as caught:
        run()
    assert "--replace" in caught.value.remedy and len(hub.repos[REPO].commits) == 1
    run("--replace")
    assert "model-00001-of-00002.safetensors" not in hub.repos[REPO].files


def test_public_is_asked_about(hub: WritableHub, run: Push, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="no terminal to ask on") as caught:
        run("--public")
    assert "--yes" in caught.value.remedy
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", lambda _question: "y")
    with pytest.raises(InputError, match="not confirmed; nothing was sent"):
        run("--public")
    assert hub.requests == []
    monkeypatch.setattr("builtins.input", lambda _question: REPO)
    assert "all are there (public)" in run("--public")
    assert not hub.repos[REPO].is_private


def test_public_without_a_question_wants_yes(hub: WritableHub, run: Push) -> None:
    run("--public", "--yes")
    assert not hub.repos[REPO].is_private


@pytest.mark.slow
@pytest.mark.parametrize("where", ["environment", "login"])
def test_the_token_is_never_shown(package: Path, tmp_path: Path, where: str) -> None:
    """By a hub that repeats it, in a process that finds hub and token as a person's does."""
    hub = WritableHub()
    hub.echoes_token = True
    token = "hf_secret_of_a_person"
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "HUGGING_FACE_"))}
    kept |= {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path)}
    if where == "environment":
        kept["HF_TOKEN"] = token
    else:
        (tmp_path / "token").write_text(token, encoding="utf-8")
    command = [sys.executable, str(ROOT / "scripts" / "push.py"), str(package), REPO]
    try:
        done = subprocess.run(command, env=kept, capture_output=True, text=True, timeout=120, cwd=tmp_path)
    finally:
        hub.close()
    assert done.returncode == 2 and "the hub refused the token" in done.stderr and hub.requests
    assert "remedy: " in done.stderr and token not in done.stderr + done.stdout
