"""The commit of a checkout: changes are refused, its source is the same tar twice and holds no weights."""

from __future__ import annotations

import subprocess
import tarfile
from pathlib import Path

import pytest

from lanekit.commands.reproduction.source_tree import find_commit, refuse_changes, write_archive
from lanekit.errors import InputError


def git(root: Path, *arguments: str) -> str:
    command = ["git", "-c", "user.name=x", "-c", "user.email=x@example.com", *arguments]
    return subprocess.run(command, cwd=root, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    root = tmp_path / "checkout"
    (root / "lanes").mkdir(parents=True)
    (root / "code").mkdir()
    for name in ("code/a.py", "lanes/lane01_x.yaml", "model.safetensors", "code/b.safetensors", ".gitignore"):
        (root / name).write_text("results/\n", encoding="utf-8")
    git(root, "init", "-q")
    git(root, "add", "-A")
    git(root, "commit", "-qm", "first")
    return root


def test_a_clean_checkout_is_its_commit(checkout: Path) -> None:
    assert find_commit(checkout) == git(checkout, "rev-parse", "HEAD")
    (checkout / "results").mkdir()
    (checkout / "results" / "ignored").write_text("x", encoding="utf-8")
    refuse_changes(checkout, [])
    refuse_changes(checkout / "code", [])


@pytest.mark.parametrize("name", ["code/a.py", "code/new with space.py", "lanes/lane02_y.yaml"])
def test_what_is_in_no_commit_is_refused_unless_it_is_carried(checkout: Path, name: str) -> None:
    (checkout / name).write_text("changed", encoding="utf-8")
    with pytest.raises(InputError, match=f"1 file.s. are not as in the commit: {name}") as caught:
        refuse_changes(checkout, [])
    assert "git commit" in caught.value.remedy
    refuse_changes(checkout, [checkout / name])


def test_what_was_removed_or_staged_is_refused(checkout: Path) -> None:
    (checkout / "code" / "a.py").rename(checkout / "code" / "c.py")
    git(checkout, "add", "-A")
    with pytest.raises(InputError, match=r"2 file\(s\).*code/a\.py, code/c\.py"):
        refuse_changes(checkout, [])


def test_the_source_is_the_same_twice_and_holds_no_weights(checkout: Path, tmp_path: Path) -> None:
    commit = find_commit(checkout)
    for name in ("one.tar", "two.tar"):
        write_archive(checkout, commit, tmp_path / name)
    assert (tmp_path / "one.tar").read_bytes() == (tmp_path / "two.tar").read_bytes()
    with tarfile.open(tmp_path / "one.tar") as archive:
        names = [member.name for member in archive if member.isfile()]
    assert names == [".gitignore", "code/a.py", "lanes/lane01_x.yaml"]


def test_gits_own_words_are_told(checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bare").mkdir()
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    with pytest.raises(InputError, match="git says: fatal: not a git repository") as caught:
        find_commit(tmp_path / "bare")
    assert "clone" in caught.value.remedy
    with pytest.raises(InputError, match="git says"):
        write_archive(checkout, "0" * 40, tmp_path / "none.tar")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match="git is not installed"):
        find_commit(checkout)
