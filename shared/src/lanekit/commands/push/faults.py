"""What a hub's refusals of a push mean, and what to do about each. The token is never shown."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from lanekit.errors import InputError, LanekitError, PermanentError, TransientError
from lanekit.host.failures import hide_secrets
from lanekit.sources.hub import check_token, find_status, list_causes, shorten_error

TOKENS = "https://huggingface.co/settings/tokens"
GO_ON = "run the same command again: what arrived is not sent twice"
_UNAUTHORIZED, _FORBIDDEN, _CONFLICT, _STALE, _TOO_MANY, _SERVER_FAULT = 401, 403, 409, 412, 429, 500


def require_token() -> None:
    """Look for a token, in the environment or where the hub's own login keeps it.

    Raises:
        InputError: there is none, or it is none.
    """
    from huggingface_hub import get_token

    check_token()
    if not get_token():
        raise InputError(
            "no token for the hub is set",
            remedy=f"make one with write access on {TOKENS}, then set HF_TOKEN, or run: hf auth login",
        )


@contextmanager
def explain_refusals(repo: str, doing: str) -> Iterator[None]:
    """Turn what a hub library raises into an error with a remedy.

    Raises:
        InputError: the hub refuses it: the token, its rights, the name.
        TransientError: it may pass; what was sent stays there.
        PermanentError: the library cannot go on for a reason of its own.
    """
    try:
        yield
    except LanekitError:
        raise
    except Exception as error:  # the boundary of a library that raises many kinds
        if isinstance(error, OSError) and not _is_of_network(error):
            raise  # the disk's
        raise explain_refusal(error, repo, doing) from error


def _is_of_network(error: BaseException) -> bool:
    return any(map(_is_answer, list_causes(error)))


def _is_answer(error: BaseException) -> bool:
    """Whether an error is what the hub, or the way to it, said."""
    import requests

    return isinstance(error, (requests.RequestException, ConnectionError, TimeoutError))


def explain_refusal(error: BaseException, repo: str, doing: str) -> LanekitError:
    """Return the error to raise for one of the hub library's."""
    from huggingface_hub.errors import HFValidationError, OfflineModeIsEnabled

    causes, status = list_causes(error), find_status(error)
    said = hide_token(shorten_error(next(filter(_is_answer, causes), error)))
    if any(isinstance(cause, OfflineModeIsEnabled) for cause in causes):
        return InputError(f"{repo}: HF_HUB_OFFLINE is set", remedy="unset it to push")
    if any(isinstance(cause, HFValidationError) for cause in causes):
        return InputError(f"{repo}: {said}", remedy="name OWNER/NAME")
    if status == _UNAUTHORIZED:
        return InputError(
            f"{repo}: the hub refused the token while {doing}",
            remedy=f"see on {TOKENS} whether it is still valid, and set HF_TOKEN to one with write access",
        )
    if status == _FORBIDDEN:
        return InputError(
            f"{repo}: the token in use may not do this ({doing}): {said}",
            remedy=f"on {TOKENS} give it write access to '{repo.partition('/')[0]}', or name a repository "
            "of its own account; where the hub speaks of storage, free some there",
        )
    if status in (_CONFLICT, _STALE):
        return TransientError(f"{repo}: it changed meanwhile: {said}", remedy=GO_ON)
    if 0 < status < _SERVER_FAULT and status != _TOO_MANY:
        return InputError(
            f"{repo}: the hub answered {status} while {doing}: {said}",
            remedy="correct what it names; see whether the repository's page opens",
        )
    if not status and not _is_of_network(error):
        return PermanentError(f"{repo}: {doing} failed: {said}", remedy=f"mend what it names, then {GO_ON}")
    return TransientError(f"{repo}: the hub could not be reached while {doing}: {said}", remedy=GO_ON)


def hide_token(text: str) -> str:
    """Return a text without the token in use, wherever that is kept."""
    from huggingface_hub import get_token

    token = get_token()
    return hide_secrets(text.replace(token, "***") if token else text)
