"""lanekit and the ranker never import torch: a worker's parent must be able to fork, and to start fast."""

from __future__ import annotations

import pkgutil
import subprocess
import sys

import pytest

import lanekit
from lanekit.errors import InputError, did_you_mean

HEAVY = ("torch", "transformers", "vllm", "llmcompressor", "peft", "trl", "datasets")
IMPORT_ALL = """
import importlib, pkgutil, sys
package = importlib.import_module({package!r})
names = [m.name for m in pkgutil.walk_packages(package.__path__, {package!r} + ".")]
for name in names:
    importlib.import_module(name)
print(len(names), [name for name in {heavy!r} if name in sys.modules])
"""


@pytest.mark.parametrize("package", ["lanekit", "ranker"])
@pytest.mark.slow
def test_importing_every_module_leaves_heavy_libraries_out(package: str) -> None:
    code = IMPORT_ALL.format(package=package, heavy=HEAVY)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    count, _, loaded = done.stdout.strip().partition(" ")
    assert loaded == "[]"
    assert int(count) >= 5


def test_the_check_above_sees_every_module_of_lanekit() -> None:
    names = {module.name for module in pkgutil.walk_packages(lanekit.__path__, "lanekit.")}
    assert {"lanekit.execute.child", "lanekit.commands.setup.check", "lanekit.host.memory"} <= names


def test_lanekit_is_packages_and_few_modules_beside_them() -> None:
    modules = {module.name for module in pkgutil.iter_modules(lanekit.__path__) if not module.ispkg}
    assert modules == {"errors", "progress"}


@pytest.mark.parametrize(
    ("word", "allowed", "hint"),
    [
        ("W4A61", ["W4A16", "W8A16"], " (did you mean 'W4A16'?)"),
        ("fp8_dynamic", ["FP8", "FP8_DYNAMIC"], " (did you mean 'FP8_DYNAMIC'?)"),
        ("gtpq", ["gptq", "sft"], " (did you mean 'gptq'?)"),
        ("banana", ["gptq", "sft"], ""),
        ("", ["gptq"], ""),
        ("x", [], ""),
    ],
)
def test_did_you_mean(word: str, allowed: list[str], hint: str) -> None:
    assert did_you_mean(word, allowed) == hint


def test_an_error_prints_its_remedy_below() -> None:
    error = InputError("the store is full", remedy="free space")
    assert str(error) == "the store is full\n  remedy: free space"
    assert str(InputError("plain")) == "plain"
    assert not error.transient
