"""The composed stack's files: what they promise, read without an engine where that is possible."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import stat
import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import pytest
import yaml
from commands import ROOT

from lanekit.spec import stages

MAIN, CPU, WORKERS = "docker-compose.yml", "docker-compose.cpu.yml", "docker-compose.workers.yml"
SERVICES = ("trainer", "quantizer", "evaluator", "ranker", "controller")
GPU_SERVICES = {"trainer", "quantizer", "evaluator"}
PROCESSES = (*SERVICES, "judge")  # a service's image, the judge's being the evaluator's
JUDGE_SECRETS = {"LANEKIT_JUDGE_API_KEY", "LANEKIT_JUDGE_URL"}
ONE_SHOTS = {"prepare-volumes", "setup"}
STORES = {"redis", "minio"}
SECRETS = (
    "REDIS_PASSWORD", "MINIO_ROOT_USER", "MINIO_ROOT_PASSWORD", "TRAINER_SECRET_KEY", "QUANTIZER_SECRET_KEY",
    "EVALUATOR_SECRET_KEY", "RANKER_SECRET_KEY", "CONTROLLER_SECRET_KEY", "OPERATOR_SECRET_KEY",
)  # fmt: skip
PINNED_BASES = {
    "trainer": "pytorch/pytorch:2.9.1-cuda12.8-cudnn9-runtime",
    "quantizer": "pytorch/pytorch:2.9.1-cuda12.8-cudnn9-runtime",
    "evaluator": "vllm/vllm-openai:v0.14.1",
    "ranker": "python:3.11.14-slim-bookworm",
    "controller": "python:3.11.14-slim-bookworm",
}
REMOTE = {"LANEKIT_REDIS_URL": "rediss://:word@queue:6379/0", "LANEKIT_MINIO_URL": "https://store:9000"}


class ComposeLoader(yaml.SafeLoader):
    """YAML with Compose's `!reset`, which removes what a file below has set."""


ComposeLoader.add_constructor("!reset", lambda loader, node: "removed")


def load_compose(name: str) -> dict[str, Any]:
    return yaml.load((ROOT / name).read_text(encoding="utf-8"), Loader=ComposeLoader)


def load_services(name: str = MAIN) -> dict[str, Any]:
    return load_compose(name)["services"]


def read_dockerfile(service: str) -> str:
    return (ROOT / "services" / service / "Dockerfile").read_text(encoding="utf-8")


def find_default(text: str) -> str:
    """Return what stands after `:-` in the one variable of a setting."""
    match = re.search(r"\$\{\w+:-([^}]*)\}", text)
    assert match, text
    return match[1]


# --- the compose files


def test_the_main_file_has_the_services_and_two_networks() -> None:
    compose = load_compose(MAIN)
    assert set(compose["services"]) == {*PROCESSES, *ONE_SHOTS, *STORES}
    assert set(compose["networks"]) == {"queue", "storage"}
    assert compose["services"]["redis"]["networks"] == ["queue"]
    assert compose["services"]["minio"]["networks"] == ["storage"]
    for name in PROCESSES:
        assert compose["services"][name]["networks"] == ["queue", "storage"]


def test_only_the_stores_publish_ports_and_only_on_the_bind_address() -> None:
    for name, service in load_services().items():
        ports = service.get("ports", [])
        assert bool(ports) == (name in STORES), name
        for port in ports:
            assert re.fullmatch(r"\$\{BIND_ADDRESS:-127\.0\.0\.1\}:\$\{[A-Z_]+_PORT:-\d+\}:\d+", port)
    for service in load_services(WORKERS).values():
        assert "ports" not in service


@pytest.mark.parametrize("name", [MAIN, WORKERS])
def test_every_secret_is_required_from_the_environment(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    for match in re.finditer(r"\$\{(\w*(?:PASSWORD|SECRET_KEY|ROOT_USER))([^}]*)\}", text):
        assert match[2] == ":?run: python scripts/make_env.py", match[0]
    for service in load_services(name).values():
        for variable, value in service.get("environment", {}).items():
            if re.search(r"PASSWORD|SECRET|AUTH|ROOT_USER", variable):
                assert re.fullmatch(r"\$\{\w+:\?[^}]+\}", value), variable


def test_each_service_holds_its_own_account_and_only_the_trainer_the_hub_token() -> None:
    services = load_services()
    for name in SERVICES:
        environment = services[name]["environment"]
        assert environment["LANEKIT_MINIO_ACCESS_KEY"] == name
        assert environment["LANEKIT_MINIO_SECRET_KEY"].startswith(f"${{{name.upper()}_SECRET_KEY:?")
        assert ("HF_TOKEN" in environment) == (name == "trainer")
        assert "MINIO_ROOT_PASSWORD" not in environment
    assert set(SECRETS) - {"REDIS_PASSWORD"} <= set(services["setup"]["environment"])


@pytest.mark.parametrize("name", [MAIN, WORKERS])
def test_the_judges_key_is_in_the_judges_container_alone(name: str) -> None:
    holding = {n for n, s in load_services(name).items() if JUDGE_SECRETS & set(s.get("environment", {}))}
    assert holding == ({"judge"} if name == MAIN else set())
    if name == MAIN:
        assert set(load_services()["judge"]["environment"]) >= JUDGE_SECRETS


def test_the_judge_is_the_evaluators_image_and_account_without_a_gpu() -> None:
    services = load_services()
    judge, evaluator = services["judge"], services["evaluator"]
    assert judge["image"] == evaluator["image"] and "build" not in judge
    assert "deploy" not in judge and "shm_size" not in judge
    assert "profiles" not in judge, "it is part of the stack"
    for variable in ("ACCESS_KEY", "SECRET_KEY"):
        name = f"LANEKIT_MINIO_{variable}"
        assert judge["environment"][name] == evaluator["environment"][name]
    # vLLM's image asks for every GPU; a host whose default runtime is NVIDIA's would give them.
    assert judge["environment"]["NVIDIA_VISIBLE_DEVICES"] == "void"
    assert "NVIDIA_DRIVER_CAPABILITIES" not in judge["environment"]


@pytest.mark.parametrize(("worker", "service"), stages.WORKERS.items())
def test_every_worker_is_a_service_that_serves_its_queue(worker: str, service: str) -> None:
    found = load_services()
    assert found[worker]["image"] == found[service]["image"]
    default = re.search(r"^CMD (\[.*\])$", read_dockerfile(service), re.M)
    command = found[worker].get("command") or (json.loads(default[1]) if default else [])
    assert command == ["python3", "-m", "lanekit.worker", "--service", worker]


def test_redis_gets_its_password_in_no_argument_and_keeps_every_job() -> None:
    redis = load_services()["redis"]
    script = redis["command"][-1]
    assert "requirepass $$REDISCLI_AUTH" in script  # the shell's variable, not Compose's
    assert "${REDIS_PASSWORD" not in str(redis["command"])
    for line in ("appendonly yes", "appendfsync everysec", "maxmemory-policy noeviction"):
        assert line in script


@pytest.mark.parametrize("name", [MAIN, WORKERS])
def test_every_service_is_locked_down(name: str) -> None:
    for service_name, service in load_services(name).items():
        as_root = service_name == "prepare-volumes"
        assert service["user"] == ("0:0" if as_root else "10001:10001"), service_name
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service.get("cap_add", []) == (["CHOWN"] if as_root else [])
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert service["logging"]["options"] == {"max-size": "10m", "max-file": "5"}
        assert "privileged" not in service
        assert "container_name" not in service  # --scale


@pytest.mark.parametrize("name", [MAIN, WORKERS])
def test_every_lasting_service_restarts_and_says_whether_it_is_well(name: str) -> None:
    for service_name, service in load_services(name).items():
        if service_name in ONE_SHOTS:
            assert service.get("restart", "no") == "no"
        else:
            assert service["restart"] == "unless-stopped", service_name
            assert service["healthcheck"]["test"][0] == "CMD-SHELL"
        if service_name in PROCESSES:
            assert service["stop_grace_period"] == "60s"
            assert "/tmp/lanekit-alive" in service["healthcheck"]["test"][1]
            assert "python" not in service["healthcheck"]["test"][1]


def test_services_wait_for_healthy_stores_and_a_finished_set_up() -> None:
    services = load_services()
    for name in PROCESSES:
        assert services[name]["depends_on"] == {
            "redis": {"condition": "service_healthy"},
            "minio": {"condition": "service_healthy"},
            "setup": {"condition": "service_completed_successfully"},
        }
    for name in STORES:
        assert (
            services[name]["depends_on"]["prepare-volumes"]["condition"] == "service_completed_successfully"
        )


def test_the_gpu_is_reserved_in_the_main_file_and_reset_in_the_cpu_file() -> None:
    for name in (MAIN, WORKERS):
        reserving = {n for n, s in load_services(name).items() if "deploy" in s}
        assert reserving == GPU_SERVICES
        for service in GPU_SERVICES:
            devices = load_services(name)[service]["deploy"]["resources"]["reservations"]["devices"]
            assert devices == [{"driver": "nvidia", "count": "all", "capabilities": ["gpu"]}]
    assert load_services(CPU) == {name: {"deploy": "removed"} for name in GPU_SERVICES}


def test_remote_workers_differ_from_the_main_ones_in_their_addresses_alone() -> None:
    remote, local = load_services(WORKERS), load_services()
    assert set(remote) == GPU_SERVICES
    for name in remote:
        ours, theirs = dict(local[name]), dict(remote[name])
        for key in ("depends_on", "networks"):
            assert key not in theirs
            ours.pop(key)
        assert theirs.pop("volumes") == [
            *ours.pop("volumes"),
            "${LANEKIT_CA:-/dev/null}:/etc/lanekit/ca.pem:ro",
        ]
        theirs_environment, ours_environment = theirs.pop("environment"), ours.pop("environment")
        differing = {
            variable
            for variable in theirs_environment | ours_environment
            if theirs_environment.get(variable) != ours_environment.get(variable)
        }
        assert differing == {"LANEKIT_REDIS_URL", "LANEKIT_MINIO_URL", "LANEKIT_CA"}
        assert theirs == ours


def test_images_are_pinned() -> None:
    services = load_services()
    for name in STORES:
        tag = find_default(services[name]["image"]).partition(":")[2]
        assert re.search(r"\d", tag) and tag != "latest"
    for name in SERVICES:
        assert (
            services[name]["image"]
            == f"${{LANEKIT_IMAGE_PREFIX:-exaone-lanes}}-{name}:${{LANEKIT_TAG:-latest}}"
        )
        assert services[name]["build"]["args"] == {"BASE_IMAGE": f"${{{name.upper()}_BASE_IMAGE:-}}"}
    for name in ONE_SHOTS:
        assert services[name]["image"] == services["controller"]["image"]


# --- with Compose itself


@pytest.fixture(scope="module")
def compose_environment() -> dict[str, str]:
    """The environment in which `docker compose` runs; skips where there is none."""
    environment = {k: v for k, v in os.environ.items() if k not in {*SECRETS, *REMOTE}}
    version = ["docker", "compose", "version"]
    if not shutil.which("docker") or subprocess.run(version, env=environment, capture_output=True).returncode:
        pytest.skip("no docker compose here")
    return environment


def run_config(
    files: list[str], environment: dict[str, str], **settings: str
) -> subprocess.CompletedProcess[str]:
    command = ["docker", "compose", "--env-file", os.devnull]
    for file in files:
        command += ["-f", file]
    return subprocess.run(
        [*command, "config"], cwd=ROOT, env={**environment, **settings}, capture_output=True, text=True
    )


def make_settings() -> dict[str, str]:
    return {**dict.fromkeys(SECRETS, "word"), **REMOTE}


@pytest.mark.parametrize(
    ("files", "gpu"),
    [([MAIN], True), ([MAIN, CPU], False), ([WORKERS], True), ([WORKERS, CPU], False)],
    ids=["main", "main+cpu", "workers", "workers+cpu"],
)
def test_compose_accepts_the_files(files: list[str], gpu: bool, compose_environment: dict[str, str]) -> None:
    done = run_config(files, compose_environment, **make_settings())
    assert done.returncode == 0, done.stderr
    services = yaml.safe_load(done.stdout)["services"]
    for name in GPU_SERVICES:
        assert ("deploy" in services[name]) == gpu
    for service in services.values():
        for port in service.get("ports", []):
            assert port["host_ip"] == "127.0.0.1"


@pytest.mark.parametrize("missing", SECRETS)
def test_a_missing_secret_is_named_with_its_remedy(missing: str, compose_environment: dict[str, str]) -> None:
    settings = make_settings()
    del settings[missing]
    done = run_config([MAIN], compose_environment, **settings)
    assert done.returncode != 0
    assert f"{missing} is missing a value: run: python scripts/make_env.py" in done.stderr


# --- Dockerfiles


@pytest.mark.parametrize("service", SERVICES)
def test_a_dockerfile_keeps_the_rules(service: str) -> None:
    text = read_dockerfile(service)
    assert "syntax=" not in text  # it would have to be fetched from a registry
    assert f"FROM ${{BASE_IMAGE:-{PINNED_BASES[service]}}} AS base\n" in text
    lock, code = text.index("requirements.lock services/"), text.index("COPY --chmod=755 shared/src")
    assert lock < text.index("uv pip install") < code
    for part in (
        "--no-deps", "--require-hashes", "USER 10001:10001", "STOPSIGNAL SIGTERM", "ENTRYPOINT []",
        f"PYTHONPATH=/app/shared/src:/app/services/{service}/src",
    ):  # fmt: skip
        assert part in text, part
    assert len(re.findall(r"^COPY ", text, flags=re.M)) == 3


def test_the_uv_of_the_images_is_the_uv_of_the_locks() -> None:
    versions = {re.search(r"UV_VERSION=(\S+)", read_dockerfile(service))[1] for service in SERVICES}  # type: ignore[index]
    assert versions == {re.search(r"^UV_VERSION=(\S+)", (ROOT / "scripts/dev").read_text(), re.M)[1]}  # type: ignore[index]


def test_torch_of_the_lock_is_torch_of_the_base() -> None:
    version = PINNED_BASES["trainer"].partition(":")[2].partition("-")[0]
    for service in sorted(GPU_SERVICES):
        assert f"\ntorch=={version} " in "\n" + (ROOT / f"services/{service}/requirements.lock").read_text()


# --- imports against locks

# Imports that no lock covers: the module, and why that is right.
BESIDE_THE_LOCK = {
    ("evaluator", "vllm"): "the base image brings it",
    ("controller", "numpy"): "it looks at weights, as stages alone do",
    ("controller", "pyarrow"): "it reads data sets, as stages and the preflight of the commands do",
    **{(service, "mlflow"): "it tells a tracker, as commands do that have the extra" for service in SERVICES},
    ("ranker", "jinja2"): "it tries chat templates, as the preflight of the commands alone does",
}
OWN_PACKAGES = {"lanekit", *SERVICES}


def find_imports(folder: Path) -> set[str]:
    """Return the top-level modules that a folder's files import, wherever in the file."""
    modules = set()
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                modules |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                modules.add(node.module.partition(".")[0])
    return modules - set(sys.stdlib_module_names) - OWN_PACKAGES


def normalize(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.mark.parametrize("service", SERVICES)
def test_the_lock_covers_what_the_service_imports(service: str) -> None:
    lock = (ROOT / "services" / service / "requirements.lock").read_text(encoding="utf-8")
    locked = {normalize(name) for name in re.findall(r"^([A-Za-z0-9][\w.-]*)==", lock, flags=re.M)}
    distributions = packages_distributions()
    modules = find_imports(ROOT / "shared/src/lanekit") | find_imports(ROOT / "services" / service / "src")
    uncovered = {
        module
        for module in modules
        if (service, module) not in BESIDE_THE_LOCK
        and not {normalize(name) for name in distributions.get(module, [module])} & locked
    }
    assert not uncovered, f"add them to services/{service}/requirements.in, then: ./scripts/dev lock"


# --- .env


def run_make_env(*options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "scripts/make_env.py"), *options]
    return subprocess.run(command, capture_output=True, text=True)


def read_env(path: Path) -> dict[str, str]:
    lines = [
        line for line in path.read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")
    ]
    return dict(line.split("=", 1) for line in lines)


def test_the_example_names_every_secret_and_holds_none() -> None:
    example = read_env(ROOT / ".env.example")
    for name in SECRETS:
        assert example[name] == ""
    text = "".join((ROOT / name).read_text(encoding="utf-8") for name in (MAIN, WORKERS))
    named = set(re.findall(r"^#?([A-Z_]+)=", (ROOT / ".env.example").read_text(encoding="utf-8"), flags=re.M))
    assert set(re.findall(r"\$\{([A-Z_]+)", text)) == named


def test_make_env_writes_private_distinct_secrets_and_keeps_a_file(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    assert run_make_env("--output", str(path)).returncode == 0
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    first = read_env(path)
    secrets = [first[name] for name in SECRETS if name != "MINIO_ROOT_USER"]
    assert len(set(secrets)) == len(secrets)
    assert all(re.fullmatch("[0-9a-f]{32}", value) for value in secrets)
    assert first["HF_TOKEN"] == ""

    refused = run_make_env("--output", str(path))
    assert refused.returncode == 2
    assert "it is kept" in refused.stderr
    assert "--force" in refused.stderr
    assert read_env(path) == first

    assert run_make_env("--output", str(path), "--force").returncode == 0
    assert read_env(path)["REDIS_PASSWORD"] != first["REDIS_PASSWORD"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
