"""The upload: what a repository holds, what it lacks, one commit, and the comparison afterwards.

Large files go to the hub's storage one after another, each under its sha256; one commit then names all of
them. What arrived is known there by its sha256, so a second call sends what is missing; and no one ever
loads half a package, for the repository shows nothing before the commit. `upload_large_folder` of the hub's
library, which resumes as well, is not used: it commits parts, writes its notes into the folder that it
reads, which is the store's, and tries forever where the hub refuses.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lanekit.commands.push.content import Content
from lanekit.commands.push.faults import GO_ON, explain_refusals
from lanekit.errors import CorruptArtifactError, InputError, StoreError
from lanekit.files.owned import show_some

if TYPE_CHECKING:
    from huggingface_hub import HfApi

MADE_BY_HUB = (".gitattributes",)
_MOST_NAMED = 5


@dataclass(frozen=True)
class RemoteFile:
    """A file of a repository; `sha256` is that of a large one, a small one has git's `blob_id` alone."""

    size_bytes: int
    sha256: str
    blob_id: str


@dataclass(frozen=True)
class Remote:
    """A repository at one commit."""

    is_private: bool
    commit: str
    files: Mapping[str, RemoteFile]


def find_remote(api: HfApi, repo: str, revision: str | None = None) -> Remote | None:
    """Return what a repository holds; None where there is none that the token can see.

    Raises:
        InputError, TransientError: the hub refuses, or cannot be reached.
    """
    from huggingface_hub.errors import DisabledRepoError, GatedRepoError, RepositoryNotFoundError

    with explain_refusals(repo, "looking at it"):
        try:
            info = api.model_info(repo, revision=revision, files_metadata=True)
        except (GatedRepoError, DisabledRepoError):
            raise
        except RepositoryNotFoundError:
            return None
    files = {sibling.rfilename: _describe(sibling) for sibling in info.siblings or ()}
    return Remote(bool(info.private), str(info.sha), files)


def _describe(sibling: Any) -> RemoteFile:
    large = sibling.lfs
    size_bytes = large.size if large else sibling.size
    return RemoteFile(int(size_bytes or 0), large.sha256 if large else "", str(sibling.blob_id or ""))


def make_repository(api: HfApi, repo: str, *, is_public: bool) -> Remote:
    """Return a repository as it is before the push; it is made where there is none.

    Raises:
        InputError: it is there and is not as it was asked for, or it may not be made.
        TransientError: the hub cannot be reached.
    """
    remote = find_remote(api, repo)
    if remote is None:
        with explain_refusals(repo, "making the repository"):
            api.create_repo(repo, private=not is_public, repo_type="model", exist_ok=True)
        remote = find_remote(api, repo)  # an organization, or another hand, may have made it otherwise
        if remote is None:
            raise InputError(
                f"{repo}: the repository was made, and the token in use cannot see it",
                remedy="use a token that may read this owner's private repositories as well",
            )
    page = f"{api.endpoint}/{repo}"
    if not remote.is_private and not is_public:
        raise InputError(
            f"{repo}: this repository is public, and a private one was asked for; nothing was sent",
            remedy=f"make it private on {page}/settings, name another one, or pass --public",
        )
    if remote.is_private and is_public:
        raise InputError(
            f"{repo}: this repository is private, and --public was asked for; nothing was sent",
            remedy=f"push without --public, and make it public on {page}/settings when you have looked at it",
        )
    return remote


def find_missing(content: Content, remote: Remote) -> list[str]:
    """Return the files that a repository lacks or has otherwise."""
    return [name for name in sorted(content.entries) if not is_equal(content, name, remote.files.get(name))]


def is_equal(content: Content, name: str, found: RemoteFile | None) -> bool:
    """Whether the hub's file is the one here, by its size and its digest."""
    entry = content.entries[name]
    if found is None or found.size_bytes != entry.size_bytes:
        return False
    return found.sha256 == entry.sha256 if found.sha256 else found.blob_id == _hash_blob(content, name)


def _hash_blob(content: Content, name: str) -> str:
    """Return git's name of a small file; a large one has its sha256 on the hub."""
    data = content.places[name].read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


def find_others(content: Content, remote: Remote) -> list[str]:
    """Return the repository's files that are not of the content."""
    return sorted(name for name in remote.files if name not in content.entries and name not in MADE_BY_HUB)


def upload(
    api: HfApi, repo: str, content: Content, remote: Remote, removed: list[str], tell: Callable[[str], None]
) -> str:
    """Send what is missing, remove `removed`, compare, and return the commit.

    Raises:
        CorruptArtifactError: a file here is not what it was when it was looked at.
        InputError, TransientError: the hub refuses, or cannot be reached; what was sent stays there.
        StoreError: what the hub holds afterwards is not what was sent.
    """
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete

    missing = find_missing(content, remote)
    additions = []
    for position, name in enumerate(missing, start=1):
        addition = CommitOperationAdd(name, str(content.places[name]))
        if addition.upload_info.sha256.hex() != content.entries[name].sha256:
            raise CorruptArtifactError(
                f"{content.places[name]}: changed while it was pushed",
                remedy="push again when nothing writes it",
            )
        tell(f"{position}/{len(missing)} {name} ({content.entries[name].size_bytes / 1e6:.1f} MB)")
        with explain_refusals(repo, f"sending {name}"):
            api.preupload_lfs_files(repo, [addition], free_memory=False)
        additions.append(addition)
    commit = remote.commit
    if missing or removed:
        deletions = [CommitOperationDelete(name, is_folder=False) for name in removed]
        message = f"Push {content.what.rpartition('/')[2]}"
        with explain_refusals(repo, "committing"):
            done = api.create_commit(
                repo, [*additions, *deletions], commit_message=message, parent_commit=commit
            )
        commit = str(done.oid)
    _compare(api, repo, content, commit)
    return commit


def _compare(api: HfApi, repo: str, content: Content, commit: str) -> None:
    """Compare what the hub holds at a commit with what is here.

    Raises:
        StoreError: with the files that differ.
    """
    there = find_remote(api, repo, commit)
    wrong = sorted(content.entries) if there is None else find_missing(content, there)
    if wrong:
        raise StoreError(
            f"{repo}: {len(wrong)} of {len(content.entries)} files are not there as they are here: "
            f"{show_some(wrong, _MOST_NAMED)}",
            remedy=f"{GO_ON}; where a .gitignore in the repository leaves them out, delete that",
        )
