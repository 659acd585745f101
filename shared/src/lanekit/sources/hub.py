"""What the hub's refusals mean, and what to do about each."""

from __future__ import annotations

from typing import Literal

from lanekit.errors import InputError, LanekitError, TransientError

HubKind = Literal["model", "dataset"]

_UNAUTHORIZED = 401
_TOO_MANY = 429
_SERVER_FAULT = 500
_MAX_DETAIL = 200
# What the HTTP libraries call an address that is none.
_ADDRESS_FAULTS = {
    "MissingSchema",
    "InvalidSchema",
    "InvalidURL",
    "LocationParseError",
    "UnsupportedProtocol",
}


def check_token() -> None:
    """Look at the hub's token, which a header must be able to hold.

    Raises:
        InputError: it holds what no token has; the token is not shown.
    """
    from huggingface_hub import get_token

    token = get_token() or ""
    odd = sorted({character for character in token if not "!" <= character <= "~"})
    if odd:
        raise InputError(
            "HF_TOKEN (or the token that the hub's login stored) holds characters that no token has: "
            + ", ".join(f"U+{ord(character):04X}" for character in odd),
            remedy="copy it anew from https://huggingface.co/settings/tokens, without quotes or spaces",
        )


def name_page(repo: str, kind: HubKind) -> str:
    """Return the address of the page on which a person accepts the terms."""
    return f"https://huggingface.co/{'datasets/' if kind == 'dataset' else ''}{repo}"


def explain_hub_error(error: BaseException, repo: str, kind: HubKind, revision: str) -> LanekitError:
    """Return the error to raise for one that a hub library raised.

    The cause is sought along the chain of causes: libraries wrap what the hub answered. Anything that is not
    an answer of the hub about the set, the revision or the token counts as a cut network.
    """
    from huggingface_hub import get_token
    from huggingface_hub.errors import (
        GatedRepoError,
        HFValidationError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        check_token()
    except InputError as odd:
        return odd
    chain = list_causes(error)
    page, has_token = name_page(repo, kind), bool(get_token())
    for cause in chain:
        if isinstance(cause, GatedRepoError):
            if not has_token:
                return InputError(
                    f"{repo}: this {kind} is gated, and no token is set",
                    remedy=f"open {page}, accept the terms there, then set HF_TOKEN to that account's token",
                )
            return InputError(
                f"{repo}: this {kind} is gated, and the account of the token in use has no access",
                remedy=f"open {page} with that account and accept the terms; a fine-grained token must also "
                "allow reading gated repositories",
            )
        if isinstance(cause, RevisionNotFoundError):
            return InputError(
                f"{repo}: no such revision '{revision}'",
                remedy=f"the commits are listed on {page}/commits/main; correct 'revision' in the experiment "
                "file, or run scripts/01_prepare_data.py --update-revisions",
            )
        if isinstance(cause, RepositoryNotFoundError):
            hint = "or the token in use has no right to see it" if has_token else "or it needs HF_TOKEN"
            return InputError(
                f"{repo}: no such {kind} on the hub, {hint}",
                remedy=f"see whether {page} opens; correct the name in the experiment file, or give a local "
                "path (it starts with / or ./)",
            )
        if isinstance(cause, HFValidationError):
            return InputError(
                f"{repo}: not a hub id: {shorten_error(cause)}",
                remedy="a hub id has the form OWNER/NAME; a local path starts with / or ./",
            )
        if type(cause).__name__ in _ADDRESS_FAULTS:
            return InputError(
                f"{repo}: the hub's address is none: {shorten_error(cause)}",
                remedy="correct HF_ENDPOINT (https://…), or unset it",
            )
        if isinstance(cause, OfflineModeIsEnabled):
            return InputError(
                f"{repo}: HF_HUB_OFFLINE is set, and this {kind} is not in the hub cache",
                remedy="unset HF_HUB_OFFLINE, or give a local path in the experiment file",
            )
    status = find_status(error)
    if status == _UNAUTHORIZED:
        return InputError(
            f"{repo}: the hub refused the token", remedy="set HF_TOKEN to a token that is valid, or unset it"
        )
    if 0 < status < _SERVER_FAULT and status != _TOO_MANY:
        return InputError(
            f"{repo}: the hub answered {status} for revision '{revision}': {shorten_error(error)}",
            remedy=f"see whether {page} opens",
        )
    return TransientError(
        f"{repo}: the hub could not be asked for revision '{revision}': {shorten_error(error)}",
        remedy="check the network and run again, or give a local path (it starts with / or ./) in the "
        "experiment file",
    )


def find_status(error: BaseException) -> int:
    """Return the HTTP status that the hub answered with; 0 where it did not answer."""
    from huggingface_hub.errors import HfHubHTTPError

    causes = (cause for cause in list_causes(error) if isinstance(cause, HfHubHTTPError))
    return next((cause.response.status_code for cause in causes if cause.response is not None), 0)


def list_causes(error: BaseException) -> list[BaseException]:
    """Return an error and what it was raised from, to the first."""
    chain: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and cause not in chain:
        chain.append(cause)
        cause = cause.__cause__ or cause.__context__
    return chain


def shorten_error(error: BaseException) -> str:
    """Return an error's words on one line, without what would make it long."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= _MAX_DETAIL else text[: _MAX_DETAIL - 1] + "…"
