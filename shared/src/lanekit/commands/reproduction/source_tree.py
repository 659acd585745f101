"""The commit of this checkout and its files, by git."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import IO

from lanekit.errors import InputError, explain_os_errors
from lanekit.files.owned import show_some

WITHOUT_WEIGHTS = (
    ":(exclude,glob)**/*.safetensors"  # the tiny model's; a bundle names digests of weights alone
)


def find_commit(root: Path) -> str:
    """Return the commit that is checked out.

    Raises:
        InputError: there is no git, or this is no checkout.
    """
    return _ask_git(root, "rev-parse", "--verify", "HEAD^{commit}").strip()


def refuse_changes(root: Path, carried: Iterable[Path]) -> None:
    """Look whether the checkout is its commit, but for files that a bundle carries itself.

    A changed tree is refused, not told of: what it would take to make the package again is then nowhere.

    Raises:
        InputError: files were changed or added, and are in no commit; names some.
    """
    top = Path(_ask_git(root, "rev-parse", "--show-toplevel").strip())
    known = {path.resolve() for path in carried}
    listed = _ask_git(root, "status", "--porcelain=v1", "-z", "--untracked-files=all", "--no-renames")
    names = [entry[3:] for entry in listed.split("\0") if entry]
    changed = [name for name in names if (top / name).resolve() not in known]
    if changed:
        raise InputError(
            f"{root}: {len(changed)} file(s) are not as in the commit: {show_some(changed)}",
            remedy="commit them (git add, git commit), or move them away: a bundle holds a commit's source",
        )


def write_archive(root: Path, commit: str, target: Path) -> None:
    """Write a commit's files, weights left out, as a tar: the same bytes for the same commit.

    Raises:
        InputError: git fails.
        StoreError: the disk is full.
    """
    command = ["git", "-c", "tar.umask=0022", "archive", "--format=tar", commit, "--", ".", WITHOUT_WEIGHTS]
    with explain_os_errors(f"writing {target}"), target.open("wb") as stream:
        done = _run(command, root, stdout=stream)
    if done.returncode != 0:
        raise _explain(root, done)


def _ask_git(root: Path, *arguments: str) -> str:
    done = _run(["git", *arguments], root, stdout=subprocess.PIPE)
    if done.returncode != 0:
        raise _explain(root, done)
    return done.stdout.decode("utf-8", errors="surrogateescape")


def _run(command: list[str], root: Path, stdout: IO[bytes] | int) -> subprocess.CompletedProcess[bytes]:
    try:
        return subprocess.run(command, cwd=root, stdout=stdout, stderr=subprocess.PIPE, check=False)
    except FileNotFoundError as error:
        raise InputError("git is not installed", remedy="install it (Debian: apt-get install git)") from error


def _explain(root: Path, done: subprocess.CompletedProcess[bytes]) -> InputError:
    words = " ".join(done.stderr.decode("utf-8", errors="replace").split())
    return InputError(
        f"{root}: git says: {words}",
        remedy="run this from a clone of the repository with at least one commit: a bundle holds its source",
    )
