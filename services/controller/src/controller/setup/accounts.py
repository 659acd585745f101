"""Accounts and their policies in MinIO; needs root's keys. Doing it again changes nothing but the keys."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from minio import MinioAdmin
from minio.credentials.providers import StaticProvider
from minio.error import MinioAdminException

from controller.setup.policies import ACCOUNTS, make_policy
from lanekit.errors import InputError, StoreError, TransientError
from lanekit.host.stack_settings import StackSettings
from lanekit.store.minio_client import (
    HTTP_SERVER_ERROR,
    REFUSED,
    REGION,
    StoreClient,
    make_pool,
    parse_endpoint,
)

LEAST_SECRET_CHARACTERS = 8  # MinIO's own rule


def name_secret(account: str) -> str:
    """Return the environment variable that holds an account's secret key."""
    return f"{account.upper()}_SECRET_KEY"


def read_secrets(environment: Mapping[str, str]) -> dict[str, str]:
    """Return every account's secret key.

    Raises:
        InputError: some are missing or too short; names the variables.
    """
    secrets = {account: environment.get(name_secret(account), "") for account in ACCOUNTS}
    wrong = [name_secret(a) for a, secret in secrets.items() if len(secret) < LEAST_SECRET_CHARACTERS]
    if wrong:
        raise InputError(
            f"missing, or shorter than {LEAST_SECRET_CHARACTERS} characters: {', '.join(wrong)}",
            remedy="python scripts/make_env.py makes a .env with all of them",
        )
    return secrets


def make_admin(settings: StackSettings) -> MinioAdmin:
    """Return a client that manages accounts."""
    endpoint, secure = parse_endpoint(settings)
    return MinioAdmin(
        endpoint=endpoint,
        credentials=StaticProvider(settings.minio_access_key, settings.minio_secret_key.get_secret_value()),
        region=REGION,
        secure=secure,
        http_client=make_pool(settings),
    )


def set_up_accounts(
    client: StoreClient, admin: MinioAdmin, secrets: Mapping[str, str], report: Callable[[str], None]
) -> None:
    """Make every account with its present secret key, and its policy.

    Raises:
        StoreError: root's keys are wrong, or MinIO refuses.
        TransientError: MinIO does not answer.
    """

    def set_up(account: str, secret: str) -> None:
        with _explain_admin_errors(f"setting up account '{account}'", client.access_key):
            admin.user_add(account, secret)
            admin.policy_add(account, policy=make_policy(account))
            admin.policy_set(account, user=account)

    for account, secret in secrets.items():
        client.call(f"setting up account '{account}'", set_up, account, secret)
        report(f"account {account}: key set, policy attached")


@contextmanager
def _explain_admin_errors(doing: str, access_key: str) -> Iterator[None]:
    try:
        yield
    except MinioAdminException as error:
        status, body = int(error._code), error._body
        if status >= HTTP_SERVER_ERROR:
            raise TransientError(
                f"{doing}: MinIO is not able to answer now ({status})", remedy="docker compose logs minio"
            ) from error
        if any(code in body for code in REFUSED):
            raise StoreError(
                f"{doing}: MinIO refuses '{access_key}' as its root account",
                remedy="MINIO_ROOT_USER and MINIO_ROOT_PASSWORD in .env must be those that MinIO was "
                "started with: docker compose up -d minio, then docker compose up setup",
            ) from error
        raise StoreError(
            f"{doing}: MinIO answers {status}: {body}", remedy="docker compose logs minio"
        ) from error
