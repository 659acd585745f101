"""The set-up on a real MinIO, and what its accounts can and cannot do."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Callable
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path

import pytest
from minio.error import S3Error
from pydantic import SecretStr
from real_services import MinioServer

from controller.setup.__main__ import main
from controller.setup.accounts import name_secret, read_secrets
from controller.setup.policies import ACCOUNTS, list_reads, list_writes, make_policy
from lanekit.errors import InputError, StoreError
from lanekit.host.checkout import find_project_root
from lanekit.plan.graph import ArtifactRef, Plan
from lanekit.plan.planner import plan_lanes
from lanekit.sources.locks import SERVICES
from lanekit.spec.evaluation import EngineParams
from lanekit.spec.experiment_file import load_experiment_lanes
from lanekit.spec.stages import BUCKETS
from lanekit.store.documents import RunDocuments, upload_log
from lanekit.store.local_sources import publish_source
from lanekit.store.manifest import describe_files
from lanekit.store.minio import MinioStore
from lanekit.store.minio_client import RetryPolicy, StoreClient, make_client
from lanekit.store.transfer import Place, download_files, upload_files

QUICK = RetryPolicy(total_seconds=30.0, first_seconds=0.05, longest_seconds=0.5)
SECRETS = {account: f"secret-of-{account}" for account in ACCOUNTS}
LARGE_BYTES = 40 << 20  # several parts


@pytest.fixture
def environment(minio_server: MinioServer, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The environment of the set-up's container."""
    variables = {
        "LANEKIT_MINIO_URL": minio_server.url,
        "MINIO_ROOT_USER": minio_server.root_user,
        "MINIO_ROOT_PASSWORD": minio_server.root_password,
        **{name_secret(account): secret for account, secret in SECRETS.items()},
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return variables


@pytest.fixture
def sign_in(minio_server: MinioServer, environment: dict[str, str]) -> Callable[[str], StoreClient]:
    """Return a function that gives an account's client, after the set-up."""
    assert main([]) == 0
    return lambda account: make_client(minio_server.settings(account, SECRETS[account]), QUICK)


@pytest.fixture(scope="module")
def plan() -> Plan:
    """The plan of all lanes."""
    experiment, lanes = load_experiment_lanes(find_project_root() / "lanes" / "experiment.yaml")
    data = {n: s.model_copy(update={"digest": "d" * 40}) for n, s in experiment.data.items()}
    base = experiment.base_model.model_copy(update={"digest": "d" * 40})
    experiment = experiment.model_copy(update={"data": data, "base_model": base})
    return plan_lanes(experiment, lanes, EngineParams(engine="vllm"), dict.fromkeys(SERVICES, "e"))


def put(client: StoreClient, path: str) -> None:
    """Write one byte as an object, "bucket/name"."""
    bucket, _, name = path.partition("/")
    client.minio.put_object(bucket, name, io.BytesIO(b"1"), 1)


def list_names(client: StoreClient, bucket: str) -> list[str]:
    """Return what stands at a bucket's top."""
    return [str(item.object_name) for item in client.minio.list_objects(bucket)]


def is_refused(action: Callable[[], object]) -> bool:
    """Whether MinIO denies the right."""
    try:
        action()
    except S3Error as error:
        assert error.code == "AccessDenied"
        return True
    return False


def test_every_artifact_of_all_lanes_can_be_written_and_read_by_its_service(plan: Plan) -> None:
    for run in plan.runs.values():
        service = run.type.service
        file = f"{run.path}/model.safetensors"
        assert any(fnmatchcase(file, pattern) for pattern in list_writes(service)), file
        for role, ref in plan.list_inputs(run).items():
            assert ref.bucket in list_reads(service), f"{run.type.name} reads {role} in {ref.bucket}"
    for service, file in {
        "ranker": "results/summary-0123/ranking.json",
        "evaluator": "results/verify-0123/verification.json",
    }.items():
        assert any(fnmatchcase(file, pattern) for pattern in list_writes(service)), file
    assert "submissions" in list_reads("evaluator")
    assert any(fnmatchcase("submissions/lane01-0123/a", p) for p in list_writes("ranker"))


def test_no_policy_manages_or_covers_everything() -> None:
    for account in ACCOUNTS:
        for statement in make_policy(account)["Statement"]:
            assert statement["Effect"] == "Allow"
            assert all(action.startswith("s3:") and "*" not in action for action in statement["Action"])
            assert "arn:aws:s3:::*" not in statement["Resource"]
        assert account in ("controller", "operator") or "s3:DeleteObject" not in str(make_policy(account))


def test_doing_it_again_changes_nothing_and_renews_keys(
    minio_server: MinioServer,
    environment: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main([]) == 0
    assert main([]) == 0
    assert "the object store is ready" in capsys.readouterr().out
    monkeypatch.setenv(name_secret("ranker"), "another-secret")
    assert main([]) == 0
    ref = ArtifactRef(key="0" * 64, path="results/x")
    renewed = make_client(minio_server.settings("ranker", "another-secret"), QUICK)
    assert MinioStore(renewed).find_artifact(ref) is None
    with pytest.raises(StoreError, match="access key 'ranker'"):
        MinioStore(make_client(minio_server.settings("ranker", SECRETS["ranker"]), QUICK)).find_artifact(ref)


def test_logs_expire(minio_server: MinioServer, environment: dict[str, str]) -> None:
    assert main([]) == 0
    config = make_client(minio_server.settings(), QUICK).minio.get_bucket_lifecycle("results")
    assert config is not None
    logs = next(rule for rule in config.rules if rule.rule_id == "logs")
    assert logs.expiration is not None
    assert (logs.expiration.days, logs.rule_filter and logs.rule_filter.prefix) == (30, "logs/")


ALLOWED = {
    "trainer": ["data/corpus-1/a", "checkpoints/sft-1/a", "models/exaone-1/a", "results/logs/sft.log"],
    "quantizer": ["models/gptq_w4a16-1/a", "models/fp8-1/a", "models/fp8_dynamic-1/a"],
    "evaluator": ["results/evaluate-1/a", "results/speed-1/a", "results/verify-1/a", "results/logs/x.log"],
    "ranker": ["results/summary-1/a", "submissions/lane01-1/submit.zip"],
    "controller": ["results/runs/demo-1/outcome.json", "results/summary.md", "submissions/submit_top1.zip"],
    "operator": ["results/runs/demo-1/run.json", "data/source-1/files/rows.jsonl"],
}
DENIED = {
    "trainer": ["results/evaluate-1/a", "submissions/a", "results/runs/demo-1/run.json", "data/source-1/a"],
    "quantizer": ["results/evaluate-1/a", "checkpoints/sft-1/a", "models/exaone-1/a", "data/corpus-1/a"],
    "evaluator": ["models/gptq_w4a16-1/a", "results/summary-1/a", "results/summary.md", "submissions/a"],
    "ranker": ["results/evaluate-1/a", "models/gptq_w4a16-1/a", "results/runs/demo-1/outcome.json"],
    "controller": ["models/gptq_w4a16-1/a", "results/evaluate-1/a", "submissions/lane01-1/submit.zip"],
    "operator": ["models/gptq_w4a16-1/a", "results/evaluate-1/a", "data/corpus-1/a", "results/summary.md"],
}


@pytest.mark.parametrize("account", ACCOUNTS)
def test_accounts_write_their_own_and_nothing_else(
    sign_in: Callable[[str], StoreClient], account: str
) -> None:
    client = sign_in(account)
    for path in ALLOWED[account]:
        put(client, path)
    for path in DENIED[account]:
        assert is_refused(partial(put, client, path)), path
    assert is_refused(lambda: client.minio.make_bucket("another"))
    assert is_refused(lambda: client.minio.delete_bucket_lifecycle("results"))


def test_nobody_deletes_artifacts(minio_server: MinioServer, sign_in: Callable[[str], StoreClient]) -> None:
    root = make_client(minio_server.settings(), QUICK)
    paths = [path for paths in ALLOWED.values() for path in paths]
    for path in paths:
        put(root, path)
    for account in ACCOUNTS:
        client = sign_in(account)
        for path in paths:
            bucket, _, name = path.partition("/")
            own = path.startswith("results/runs/") and account in ("controller", "operator")
            own = own or (account == "controller" and ("summary.md" in path or "submit_top" in path))
            refused = is_refused(partial(client.minio.remove_object, bucket, name))
            assert refused is not own, f"{account} deletes {path}"


def test_workers_read_only_where_their_inputs_are(sign_in: Callable[[str], StoreClient]) -> None:
    for account in SERVICES:
        client = sign_in(account)
        for bucket in BUCKETS:
            refused = is_refused(partial(list_names, client, bucket))
            assert refused is (bucket not in list_reads(account)), f"{account} reads {bucket}"


def test_their_rights_do_for_what_they_do(sign_in: Callable[[str], StoreClient], tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "model.safetensors").write_bytes(bytes(LARGE_BYTES))
    files = describe_files(tmp_path / "in")
    quantizer = Place(sign_in("quantizer"), "models", "gptq_w4a16-2")
    upload_files(quantizer, tmp_path / "in", files)
    upload_files(quantizer, tmp_path / "in", files)
    evaluator = Place(sign_in("evaluator"), "models", "gptq_w4a16-2")
    download_files(evaluator, tmp_path / "out", files)
    with pytest.raises(StoreError, match="access key 'evaluator' on bucket 'models': AccessDenied"):
        upload_files(Place(evaluator.client, "models", "gptq_w4a16-3"), tmp_path / "in", files)
    operator = sign_in("operator")
    digest = files["model.safetensors"].sha256
    publish_source(operator, tmp_path / "in" / "model.safetensors", digest)
    RunDocuments(operator).write("demo-2", "run.json", {})
    documents = RunDocuments(sign_in("controller"))
    assert "demo-2" in documents.list_runs()
    documents.write("demo-2", "summary.md", b"#", "text/markdown")
    documents.copy_to_top("demo-2", ["summary.md"])
    documents.delete("demo-2", "summary.md")
    upload_log(sign_in("ranker"), "rank-1", tmp_path / "in" / "model.safetensors")


def test_root_deletes_one_artifact(
    minio_server: MinioServer, environment: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([]) == 0
    root = make_client(minio_server.settings(), QUICK)
    for path in ("models/m-1/manifest.json", "models/m-1/a", "models/m-12/a"):
        put(root, path)
    assert main(["--delete", "models/m-1"]) == 0
    assert {o.object_name for o in root.minio.list_objects("models", "m-1", recursive=True)} == {"m-12/a"}
    for wrong in ("models/m-1", "models", "models/", "nowhere/a", "results/runs"):
        assert main(["--delete", wrong]) == 2
    assert "remedy" in capsys.readouterr().err


def test_wrong_root_keys_are_said(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MINIO_ROOT_PASSWORD", "wrong-password")
    assert main([]) == 2
    said = capsys.readouterr().err
    assert "refuses access key 'root'" in said
    assert "wrong-password" not in said


def test_missing_variables_are_named(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("MINIO_ROOT_USER")
    assert main([]) == 2
    assert "MINIO_ROOT_USER" in capsys.readouterr().err
    with pytest.raises(InputError, match="RANKER_SECRET_KEY") as caught:
        read_secrets({name: v for name, v in environment.items() if name != "RANKER_SECRET_KEY"})
    assert "make_env.py" in caught.value.remedy


def test_it_waits_for_minio(minio_server: MinioServer, environment: dict[str, str]) -> None:
    command = [sys.executable, "-m", "controller.setup"]
    with minio_server.outage():
        path = ":".join(str(find_project_root() / p) for p in ("shared/src", "services/controller/src"))
        process = subprocess.Popen(
            command, env={**environment, "PYTHONPATH": path}, stdout=subprocess.PIPE, text=True
        )
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(3.0)
    assert "ready" in process.communicate(timeout=60)[0]
    assert process.returncode == 0


def test_secrets_stay_out_of_what_is_printed(minio_server: MinioServer) -> None:
    settings = minio_server.settings("ranker", SECRETS["ranker"]).model_copy(
        update={"redis_url": SecretStr("redis://:hidden@h:1")}
    )
    assert SECRETS["ranker"] not in repr(settings) + repr(make_client(settings))
    assert "hidden" not in repr(settings)
