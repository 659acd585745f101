"""Pushes to the hub's double over real HTTP: what goes, what resumes, what each refusal says."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from hub_writes import CUT, READ_TOKEN, WritableHub, serve_hub
from huggingface_hub import HfApi
from huggingface_hub.utils import disable_progress_bars
from huggingface_hub.utils._http import reset_sessions

from lanekit.commands.push.content import Content
from lanekit.commands.push.faults import require_token
from lanekit.commands.push.upload import find_others, find_remote, make_repository, upload
from lanekit.errors import CorruptArtifactError, InputError, StoreError, TransientError
from lanekit.store.manifest import describe_files

pytestmark = pytest.mark.slow  # each serves a hub and pushes to it

REPO = "me/EXAONE-tiny"
LARGE = {"a.safetensors": b"a" * 90_000, "b.safetensors": b"b" * 90_000}
SMALL = {"README.md": b"---\nlicense: other\n---\n# it\n", "config.json": b"{}\n", "LICENSE": b"terms\n"}
disable_progress_bars()


def describe(folder: Path) -> Content:
    entries = describe_files(folder)
    return Content("top1.zip", folder, {name: folder / name for name in entries}, entries)


@pytest.fixture
def content(tmp_path: Path) -> Content:
    for name, data in {**LARGE, **SMALL}.items():
        (tmp_path / name).write_bytes(data)
    return describe(tmp_path)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[WritableHub]:
    yield from serve_hub(monkeypatch)


def push(hub: WritableHub, content: Content, repo: str = REPO, *, is_public: bool = False) -> str:
    api = HfApi()
    remote = make_repository(api, repo, is_public=is_public)
    return upload(api, repo, content, remote, find_others(content, remote), lambda _line: None)


def list_writes(hub: WritableHub) -> list[str]:
    return [request for request in hub.requests if not request.startswith("GET")]


def test_a_new_repository_is_private_and_holds_every_byte(hub: WritableHub, content: Content) -> None:
    commit = push(hub, content)
    made = hub.repos[REPO]
    assert made.is_private and made.commits[-1] == commit
    assert made.files == {".gitattributes": b"", **LARGE, **SMALL} and made.large == set(LARGE)
    assert sum("/commit/" in request for request in hub.requests) == 1


def test_public_is_public_where_it_was_asked_for(hub: WritableHub, content: Content) -> None:
    push(hub, content, is_public=True)
    assert not hub.repos[REPO].is_private


def test_a_cut_upload_goes_on_with_what_is_missing(hub: WritableHub, content: Content) -> None:
    first, second = (hashlib.sha256(LARGE[name]).hexdigest() for name in sorted(LARGE))
    api = HfApi()
    remote = make_repository(api, REPO, is_public=False)

    def cut_the_second(line: str) -> None:
        hub.n_cut = 10_000 if "b.safetensors" in line else 0

    with pytest.raises(TransientError, match=r"could not be reached while sending b\.safetensors") as caught:
        upload(api, REPO, content, remote, [], cut_the_second)
    assert "same command again" in caught.value.remedy
    assert any(CUT in request for request in hub.requests)
    assert hub.arrived == [first] and set(hub.repos[REPO].files) == {".gitattributes"}, (
        "no half package shows"
    )
    hub.n_cut = 0
    push(hub, content)
    assert hub.arrived == [first, second], "the first is not sent twice"
    assert hub.repos[REPO].files.items() >= {**LARGE, **SMALL}.items()


def test_a_second_push_sends_nothing_and_compares(hub: WritableHub, content: Content) -> None:
    commit = push(hub, content)
    before = len(list_writes(hub))
    assert push(hub, content) == commit
    assert len(list_writes(hub)) == before


def test_one_changed_file_goes_alone(hub: WritableHub, content: Content, tmp_path: Path) -> None:
    push(hub, content)
    (tmp_path / "a.safetensors").write_bytes(b"c" * 90_000)
    push(hub, describe(tmp_path))
    assert len(hub.arrived) == 3 and hub.repos[REPO].files["a.safetensors"] == b"c" * 90_000
    assert hub.repos[REPO].files["b.safetensors"] == LARGE["b.safetensors"]


def test_other_files_go_in_the_same_commit(hub: WritableHub, content: Content) -> None:
    hub.add(REPO, is_private=True, **{"old.safetensors": b"x", "config.json": b"[]\n"})
    push(hub, content)
    assert set(hub.repos[REPO].files) == {".gitattributes", *LARGE, *SMALL}
    assert len(hub.repos[REPO].commits) == 2


@pytest.mark.parametrize("is_public", [False, True])
def test_a_repository_of_the_other_kind_is_refused_before_a_byte_leaves(
    hub: WritableHub, content: Content, is_public: bool
) -> None:
    hub.add(REPO, is_private=is_public)
    with pytest.raises(InputError, match="nothing was sent") as caught:
        push(hub, content, is_public=is_public)
    assert f"{REPO}/settings" in caught.value.remedy
    assert list_writes(hub) == [] and set(hub.repos[REPO].files) == {".gitattributes"}


def test_no_right_to_the_owner_is_told_with_the_owner(hub: WritableHub, content: Content) -> None:
    with pytest.raises(InputError, match="may not do this \\(making the repository\\)") as caught:
        push(hub, content, "they/EXAONE-tiny")
    assert "write access to 'they'" in caught.value.remedy


@pytest.mark.parametrize("token", [READ_TOKEN, "hf_revoked_long_ago"])
def test_a_token_without_the_right_is_told_and_never_shown(
    hub: WritableHub, content: Content, monkeypatch: pytest.MonkeyPatch, token: str
) -> None:
    monkeypatch.setenv("HF_TOKEN", token)
    hub.add(REPO, is_private=True)
    hub.echoes_token = True
    with pytest.raises(InputError, match="the token") as caught:
        push(hub, content)
    assert "https://huggingface.co/settings/tokens" in caught.value.remedy
    assert "write access" in caught.value.remedy
    assert token not in str(caught.value) and hub.arrived == []


def test_no_token_is_told_before_the_hub_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    with pytest.raises(InputError, match="no token for the hub is set") as caught:
        require_token()
    assert "hf auth login" in caught.value.remedy


def test_a_commit_that_came_between_is_not_overwritten(hub: WritableHub, content: Content) -> None:
    hub.n_overtaken = 1
    with pytest.raises(TransientError, match="it changed meanwhile"):
        push(hub, content)
    assert set(hub.repos[REPO].files) == {".gitattributes"}
    push(hub, content)
    assert len(hub.arrived) == len(LARGE), "the second call sends none of them again"


def test_what_the_hub_holds_otherwise_is_named(hub: WritableHub, content: Content) -> None:
    hub.n_spoilt = 1
    with pytest.raises(StoreError, match=r"1 of 5 files are not there as they are here: a\.safetensors"):
        push(hub, content)


def test_a_file_that_changes_meanwhile_is_not_sent(
    hub: WritableHub, content: Content, tmp_path: Path
) -> None:
    (tmp_path / "a.safetensors").write_bytes(b"d" * 90_000)
    with pytest.raises(CorruptArtifactError, match="changed while it was pushed"):
        push(hub, content)
    assert hub.arrived == []


def test_offline_is_told_from_a_cut_network(
    hub: WritableHub, content: Content, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    reset_sessions()
    with pytest.raises(InputError, match="HF_HUB_OFFLINE is set") as caught:
        push(hub, content)
    assert "unset it" in caught.value.remedy and hub.requests == []


def test_a_hub_that_is_gone_may_come_back(hub: WritableHub, content: Content) -> None:
    hub.close()
    with pytest.raises(TransientError, match="could not be reached while looking at it"):
        push(hub, content)


def test_what_was_pushed_is_what_the_hub_hands_out(
    hub: WritableHub, content: Content, tmp_path: Path
) -> None:
    push(hub, content, is_public=True)
    api = HfApi()
    remote = find_remote(api, REPO)
    assert remote is not None and set(remote.files) == {".gitattributes", *LARGE, *SMALL}
    assert remote.files["a.safetensors"].sha256 == content.entries["a.safetensors"].sha256
