"""scripts/bundle.py and its rebuild.sh: a lane of a finished run, made again in an empty folder, byte for
byte."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import bundle
import pytest
from commands import ROOT, EmbeddedRun, make_environment

from lanekit.errors import InputError

LANE = "lane04_fp8_dynamic"
FIXTURE = ROOT / "scripts" / "tiny" / "fixture"
SERVICES = ("trainer", "quantizer", "evaluator", "ranker", "controller")


def git(root: Path, *arguments: str) -> str:
    command = ["git", "-c", "user.name=x", "-c", "user.email=x@example.com", *arguments]
    return subprocess.run(command, cwd=root, check=True, capture_output=True, text=True).stdout


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """This working tree as a clean commit of its own: a test must not depend on what is committed."""
    root = tmp_path_factory.mktemp("checkout")
    for name in git(ROOT, "ls-files", "-z", "--cached", "--others", "--exclude-standard").split("\0"):
        if name and (ROOT / name).is_file():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, root / name)
    git(root, "init", "-q")
    git(root, "add", "-A")
    git(root, "commit", "-qm", "the working tree")
    return root


@pytest.fixture
def call(
    experiment: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., str]:
    """Run bundle.py in this process, whatever is committed here, and return what it printed."""

    def run(*options: str) -> str:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(bundle, "refuse_changes", lambda _root, _carried: None)
        monkeypatch.setattr(sys, "argv", ["bundle.py", *options, "--experiment", str(experiment)])
        assert bundle.main() == 0
        return capsys.readouterr().out

    return run


@pytest.mark.parametrize(
    ("options", "expected", "remedy"),
    [
        (("lane4",), "unknown lane 'lane4'", "known lanes"),
        (("lane04", "--output", "none/b.zip"), "none: no such folder", "--output"),
        (("lane04",), "lane04_fp8_dynamic: not in the store", "run_all.py --only lane04_fp8_dynamic"),
    ],
)
def test_mistakes_are_named_with_a_remedy(
    call: Callable[..., str], options: tuple[str, ...], expected: str, remedy: str
) -> None:
    with pytest.raises(InputError) as caught:
        call(*options)
    assert expected in caught.value.message and remedy in caught.value.remedy


@pytest.mark.parametrize(
    ("options", "expected"),
    [((), "the base model's folder is not named"), (("--data",), "--data names no folder"),
     (("--bas", "x"), "unknown argument '--bas'")],
)  # fmt: skip
def test_rebuild_tells_what_it_wants(options: tuple[str, ...], expected: str) -> None:
    script = ROOT / "shared/src/lanekit/commands/reproduction" / "rebuild.sh"
    done = subprocess.run(["bash", str(script), *options], capture_output=True, text=True, check=False)
    assert done.returncode == 2 and expected in done.stderr and "usage:" in done.stderr


def test_paths_of_this_machine_are_told_with_their_lines(tmp_path: Path) -> None:
    path = tmp_path / "experiment.yaml"
    data = "data:\n  a: {source: ./a.jsonl}\n  b: {source: '~/b'}\n  c: {source: org/c}\n"
    path.write_text(f"base_model: {{name: x, source: /home/me/x}}\n# /not/this\n{data}")
    (told,) = bundle.describe_doubts({}, path)
    assert "/home/me/x (line 1), ~/b (line 5)" in told and "./a" not in told and "org/c" not in told
    path.write_text("base_model: {source: ./x}\n")
    assert bundle.describe_doubts({}, path) == []


@pytest.mark.slow
def test_a_lane_is_made_again_byte_for_byte_and_a_changed_file_is_named(
    embedded_run: EmbeddedRun, experiment: Path, checkout: Path, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    for bucket in ("models", "data", "submissions"):
        source = embedded_run.folder / ".lanekit" / "store" / bucket
        shutil.copytree(source, store / bucket, copy_function=os.link)
    path = [
        checkout / "shared/src",
        checkout / "scripts",
        *(checkout / f"services/{s}/src" for s in SERVICES),
    ]
    environment = make_environment() | {"PYTHONPATH": os.pathsep.join(map(str, path)), "HF_HUB_OFFLINE": "1"}

    def write_bundle(name: str, expect: int = 0) -> str:
        command = [sys.executable, str(checkout / "scripts" / "bundle.py"), LANE, "--output", name]
        options = ["--experiment", str(experiment), "--store", str(store)]
        done = subprocess.run(
            [*command, *options], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == expect, done.stdout + done.stderr
        return done.stdout + done.stderr

    assert f"commit {git(checkout, 'rev-parse', 'HEAD')[:12]}" in write_bundle("one.zip")
    write_bundle("two.zip")
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()
    with zipfile.ZipFile(tmp_path / "one.zip") as archive:
        names = archive.namelist()
        with tarfile.open(fileobj=io.BytesIO(archive.read("source.tar"))) as tar:
            names += tar.getnames()
        archive.extractall(tmp_path / "empty")
    assert not [name for name in names if name.endswith((".safetensors", ".bin", ".pt"))], "no weights"
    (checkout / "shared" / "src" / "lanekit" / "errors.py").open("a").write("\n")
    assert "1 file(s) are not as in the commit: shared/src/lanekit/errors.py" in write_bundle(
        "no.zip", expect=2
    )

    here = tmp_path / "empty"

    def rebuild_package(expect: int) -> str:
        given = {k: v for k, v in environment.items() if k != "PYTHONPATH"} | {"VENV": sys.prefix}
        command = ["bash", str(here / "rebuild.sh"), "--base-model", str(FIXTURE)]
        done = subprocess.run(
            command, cwd=here, env=given, capture_output=True, text=True, check=False, timeout=600
        )
        assert done.returncode == expect, done.stdout + done.stderr
        return done.stdout

    assert "the same: all 10 files of lane04_fp8_dynamic-" in rebuild_package(0)
    content = json.loads((here / "bundle.json").read_text(encoding="utf-8"))
    content["stages"][-1]["files"]["package/model.safetensors"]["sha256"] = "0" * 64
    content["stages"][-2]["files"]["model.safetensors"]["sha256"] = "0" * 64
    content["environment"] |= {"device": "another device"}
    content["environment"]["packages"]["torch"] = "0.0.1"
    (here / "bundle.json").write_text(json.dumps(content), encoding="utf-8")
    text = rebuild_package(1)
    assert "different: 1 of 10 files" in text and "first: package/model.safetensors: sha256 " in text
    assert "it begins at the stage fp8 (fp8_dynamic-" in text
    assert "what may be why: device: another device in the bundle" in text
    assert "what may be why: torch: 0.0.1 in the bundle" in text
