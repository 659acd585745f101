"""Who may do what in the object store, derived from the stage types. Pure.

A worker writes what its own stages make, and logs; it reads where its stages' inputs are; it deletes
nothing. The controller drives runs and the operator asks for them; nobody but root manages.
"""

from __future__ import annotations

from typing import Any

from lanekit.sources.locks import SERVICES
from lanekit.spec.stages import BUCKETS, STAGE_TYPES, Bucket, Service, StageType

OPERATOR = "operator"
CONTROLLER = "controller"
ACCOUNTS: tuple[str, ...] = (*SERVICES, CONTROLLER, OPERATOR)

LOGS = "results/logs/*"
RUNS = "results/runs/*"
TOP_SUMMARIES = "results/summary.*"
TOP_PACKAGES = "submissions/submit_top*"
SOURCES = "data/source-*"

# Where the inputs of a service's stages are; a test compares this with the plans of all lanes.
READS: dict[Service, tuple[Bucket, ...]] = {
    "trainer": ("data", "checkpoints", "models"),
    "quantizer": ("data", "checkpoints", "models"),
    "evaluator": ("data", "checkpoints", "models", "submissions"),
    "ranker": ("checkpoints", "models", "results"),
}

Statement = dict[str, Any]


class _AnyParameters:
    """Stands for all parameters of a stage: every one is a star."""

    def __getattr__(self, name: str) -> str:
        return "*"


def name_outputs(stage_type: StageType) -> str:
    """Return the pattern, bucket/name*, of the artifacts that a type of stage makes."""
    label = stage_type.label(_AnyParameters())
    head, star, _ = label.partition("*")
    return f"{stage_type.bucket}/{head.rstrip('_')}*" if star else f"{stage_type.bucket}/{label}-*"


def list_writes(account: str) -> list[str]:
    """Return the patterns of what an account may write."""
    if account == CONTROLLER:
        return [RUNS, TOP_SUMMARIES, TOP_PACKAGES, LOGS]
    if account == OPERATOR:
        return [RUNS, SOURCES]
    own = {name_outputs(stage_type) for stage_type in STAGE_TYPES.values() if stage_type.service == account}
    return [*sorted(own), LOGS]


def list_deletes(account: str) -> list[str]:
    """Return the patterns of what an account may delete."""
    return {CONTROLLER: [RUNS, TOP_SUMMARIES, TOP_PACKAGES], OPERATOR: [RUNS]}.get(account, [])


def list_reads(account: str) -> list[Bucket]:
    """Return the buckets that an account may read: of a worker, also those that it writes to."""
    if account in (CONTROLLER, OPERATOR):
        return list(BUCKETS)
    written = {pattern.partition("/")[0] for pattern in list_writes(account)}
    reads = next(buckets for service, buckets in READS.items() if service == account)
    return [bucket for bucket in BUCKETS if bucket in written or bucket in reads]


def make_policy(account: str) -> dict[str, Any]:
    """Return an account's policy as S3 has it."""
    buckets = list_reads(account)
    statements = [
        _allow(["s3:ListBucket", "s3:GetBucketLocation", "s3:ListBucketMultipartUploads"], list(buckets)),
        _allow(["s3:GetObject"], [f"{bucket}/*" for bucket in buckets]),
        _allow(
            ["s3:PutObject", "s3:AbortMultipartUpload", "s3:ListMultipartUploadParts"], list_writes(account)
        ),
    ]
    deletes = list_deletes(account)
    if deletes:
        statements.append(_allow(["s3:DeleteObject"], deletes))
    return {"Version": "2012-10-17", "Statement": statements}


def _allow(actions: list[str], resources: list[str]) -> Statement:
    return {
        "Effect": "Allow",
        "Action": actions,
        "Resource": [f"arn:aws:s3:::{resource}" for resource in resources],
    }
