"""Set up the object store: buckets, accounts, policies, the life of logs. Runs once, and again safely.

Reads LANEKIT_MINIO_URL, MINIO_ROOT_USER, MINIO_ROOT_PASSWORD and <ACCOUNT>_SECRET_KEY of every account.

Examples
  docker compose up setup
  docker compose run --rm setup python3 -m controller.setup --delete models/gptq_w4a16-0123456789ab
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Mapping

import structlog
from minio.commonconfig import ENABLED, Filter
from minio.deleteobjects import DeleteObject
from minio.lifecycleconfig import (
    AbortIncompleteMultipartUpload,
    Expiration,
    LifecycleConfig,
    Rule,
)
from pydantic import SecretStr

from controller.setup.accounts import make_admin, read_secrets, set_up_accounts
from lanekit.errors import InputError, LanekitError, StoreError
from lanekit.host.stack_settings import StackSettings, load_stack_settings
from lanekit.spec.stages import BUCKETS
from lanekit.store.minio_client import StoreClient, make_client

LOGS_DAYS = 30
UNFINISHED_DAYS = 2

Report = Callable[[str], None]


def load_root_settings(environment: Mapping[str, str]) -> StackSettings:
    """Return settings with root's keys.

    Raises:
        InputError: a variable is missing.
    """
    names = ("MINIO_ROOT_USER", "MINIO_ROOT_PASSWORD")
    missing = [name for name in names if not environment.get(name)]
    if missing:
        raise InputError(f"missing: {', '.join(missing)}", remedy="python scripts/make_env.py")
    return load_stack_settings(
        redis_url="redis://unused",
        minio_access_key=environment[names[0]],
        minio_secret_key=SecretStr(environment[names[1]]),
    )


def set_up_buckets(client: StoreClient, report: Report) -> None:
    """Make the buckets that are not there.

    Raises:
        StoreError, TransientError: see minio_client.
    """
    for bucket in BUCKETS:
        if client.call(f"looking for bucket '{bucket}'", client.minio.bucket_exists, bucket):
            report(f"bucket {bucket}: there")
        else:
            client.call(f"making bucket '{bucket}'", client.minio.make_bucket, bucket)
            report(f"bucket {bucket}: made")


def set_up_lifecycle(client: StoreClient, report: Report) -> None:
    """Let logs expire, and drop parts of uploads that were never finished where the server does so by rule.

    Raises:
        StoreError, TransientError: see minio_client.
    """
    logs = Rule(
        ENABLED, rule_id="logs", rule_filter=Filter(prefix="logs/"), expiration=Expiration(days=LOGS_DAYS)
    )
    unfinished = Rule(
        ENABLED,
        rule_id="unfinished-uploads",
        rule_filter=Filter(prefix=""),
        abort_incomplete_multipart_upload=AbortIncompleteMultipartUpload(
            days_after_initiation=UNFINISHED_DAYS
        ),
    )
    client.call(
        "setting the life of logs", client.minio.set_bucket_lifecycle, "results", LifecycleConfig([logs])
    )
    report(f"results/logs/: deleted after {LOGS_DAYS} days")
    try:
        for bucket in BUCKETS:
            rules = [logs, unfinished] if bucket == "results" else [unfinished]
            client.call(
                f"setting the life of unfinished uploads in '{bucket}'",
                client.minio.set_bucket_lifecycle, bucket, LifecycleConfig(rules),
            )  # fmt: skip
        report(f"unfinished uploads: dropped after {UNFINISHED_DAYS} days")
    except StoreError:
        report("unfinished uploads: this MinIO has no rule for them; it drops them by itself after a day")


def delete_artifact(client: StoreClient, path: str, report: Report) -> None:
    """Delete one artifact, "bucket/name": the manifest first, so that nobody takes the rest for whole.

    Raises:
        InputError: there is nothing, or the path is not one artifact's.
    """
    bucket, _, name = path.strip("/").partition("/")
    if bucket not in BUCKETS or not name or "/" in name or (bucket, name) in {("results", "runs")}:
        raise InputError(
            f"'{path}' is no artifact", remedy="give BUCKET/NAME; buckets: " + ", ".join(BUCKETS)
        )

    def list_objects() -> list[str]:
        found = client.minio.list_objects(bucket, prefix=f"{name}/", recursive=True)
        return [str(item.object_name) for item in found]

    names = client.call(f"listing {path}", list_objects)
    if not names:
        raise InputError(f"{path}: there is nothing", remedy="see the names in MinIO's console")
    for marker in (f"{name}/manifest.json", f"{name}/source.json"):
        client.call(f"deleting {bucket}/{marker}", client.minio.remove_object, bucket, marker)

    def delete() -> list[object]:
        return list(client.minio.remove_objects(bucket, [DeleteObject(name) for name in names]))

    errors = client.call(f"deleting {path}", delete)
    if errors:
        raise StoreError(f"deleting {path}: {errors[0]}", remedy="run it again")
    report(f"{path}: {len(names)} objects deleted; the next run makes it anew")


def main(arguments: list[str] | None = None) -> int:
    """Set up, or delete one artifact; return 0, or 2 with a message."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--delete", metavar="BUCKET/NAME", help="delete one artifact and set up nothing")
    args = parser.parse_args(arguments)
    structlog.configure(logger_factory=lambda *_: structlog.PrintLogger(sys.stderr))
    try:
        settings = load_root_settings(os.environ)
        client = make_client(settings)
        if args.delete:
            delete_artifact(client, args.delete, print)
            return 0
        secrets = read_secrets(os.environ)
        set_up_buckets(client, print)
        set_up_accounts(client, make_admin(settings), secrets, print)
        set_up_lifecycle(client, print)
        print("the object store is ready")
    except LanekitError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
