"""What stands against handing a model on: its card, its licence, its name. All of it at once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from lanekit.commands.push.content import Content
from lanekit.errors import InputError
from lanekit.files.hub_card import (
    EXAONE_NAME,
    EXAONE_PREFIX,
    is_exaone_licence,
    is_licence,
    list_licences,
    read_metadata,
)
from lanekit.files.safetensors_header import check_model_folder
from lanekit.plan.preflight.finding import Finding, PreflightError, from_error
from lanekit.store.card import CARD_NAME

AGAIN = (
    "put the licence's text as LICENSE into the base model's folder, then run the lane and package it again"
)


class PushError(PreflightError):
    """The content may not be handed on as it is; nothing was sent."""

    heading = "{} things stand against handing it on"
    closing = "mend each of them, then push again; nothing was sent"


def check_content(content: Content, repo: str) -> None:
    """Check what is about to be handed on to a repository `OWNER/NAME`.

    Raises:
        PushError: with everything that stands against it.
    """
    faults = [*_check_name(repo), *_check_model(content), *_check_papers(content, repo)]
    if faults:
        raise PushError(faults)


def _check_name(repo: str) -> Iterator[Finding]:
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(repo)
    except HFValidationError as error:
        yield Finding(repo, f"not a hub id: {error}", "name OWNER/NAME")
        return
    if "/" not in repo:
        yield Finding(repo, "the owner is not named", f"name OWNER/{repo}: your user or organization first")


def _check_model(content: Content) -> Iterator[Finding]:
    try:
        check_model_folder(content.folder)
    except InputError as error:
        yield from_error(content.what, error)


def _check_papers(content: Content, repo: str) -> Iterator[Finding]:
    licences = [name for name in list_licences(content.places) if is_licence(name)]
    if not licences:
        yield Finding(content.what, "it has no licence file, and a derivative must carry its licence", AGAIN)
    texts = [content.places[name].read_text(encoding="utf-8", errors="replace") for name in licences]
    is_exaone = is_exaone_licence(texts)
    if is_exaone and not repo.rpartition("/")[2].startswith(EXAONE_PREFIX):
        owner, _, name = repo.rpartition("/")
        yield Finding(
            repo,
            f"its licence asks that a derivative's name begins with {EXAONE_PREFIX}",
            f"name {owner or 'OWNER'}/{EXAONE_PREFIX}-{name}",
        )
    if CARD_NAME not in content.places:
        yield Finding(content.what, f"it has no card ({CARD_NAME})", "package the lane again")
        return
    metadata = read_metadata(content.places[CARD_NAME].read_text(encoding="utf-8", errors="replace"))
    if licences:
        yield from _check_metadata(content, metadata or {}, is_exaone)


def _check_metadata(content: Content, metadata: dict[str, Any], is_exaone: bool) -> Iterator[Finding]:
    where = f"{content.what}, {CARD_NAME}"
    remedy = "package the lane again: its card is written with the licence"
    if not metadata.get("license"):
        yield Finding(where, "its metadata name no licence", remedy)
        return
    name, link = str(metadata.get("license_name", "")), str(metadata.get("license_link", ""))
    if is_exaone and not name.lower().startswith(EXAONE_NAME):
        said = f"the licence file is EXAONE's (1.2 - NC), and its metadata say license_name: {name or 'none'}"
        yield Finding(where, said, remedy)
    if link and "://" not in link and link not in content.places:
        yield Finding(where, f"its metadata link to {link}, which is not there", remedy)
