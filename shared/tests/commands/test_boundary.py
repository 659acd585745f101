"""A command's boundary: no traceback, no secret, no empty remedy, whatever the terminal can show."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lanekit.errors import InputError, LanekitError
from lanekit.execute.child import describe_failure
from lanekit.execute.environment import make_child_environment
from lanekit.host.failures import explain_unexpected, hide_secrets

pytestmark = pytest.mark.slow  # processes of their own

COMMAND = """
import sys
from lanekit.commands.cli import run_main
def main():
    {body}
run_main(main)
"""


def run(body: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    code = COMMAND.format(body=body)
    return subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **environment}, capture_output=True, check=False,
        timeout=60,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("body", "code", "words"),
    [
        ("{}['x']", 1, "KeyError: 'x'"),
        ("open('/nowhere/x')", 1, "/nowhere/x: No such file or directory"),
        ("import nothing_of_that_name", 2, "nothing_of_that_name is not installed"),
        ("b'\\xff'.decode()", 2, "text in another encoding than expected"),
        ("raise MemoryError", 1, "the memory ran out"),
        ("raise ValueError('no redis://:hunter2word@h:1')", 1, "no redis://***@h:1"),
        ("raise ValueError('token tok-12345678')", 1, "token ***"),
    ],
)
def test_what_no_check_foresaw_is_a_message(body: str, code: int, words: str) -> None:
    done = run(body, HF_TOKEN="tok-12345678")
    text = done.stderr.decode()
    assert done.returncode == code and "Traceback" not in text
    assert words in text and "remedy: " in text
    assert "hunter2" not in text and "tok-1234" not in text
    if "report this as a bug" in text:
        kept = Path(text.rsplit("its traceback: ", 1)[1].strip())
        assert "Traceback" in kept.read_text(encoding="utf-8")
        assert "hunter2" not in kept.read_text(encoding="utf-8")
        kept.unlink()


@pytest.mark.parametrize(
    "environment",
    [
        {"PYTHONIOENCODING": "ascii"},
        {"PYTHONIOENCODING": "euc-kr"},
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        {"TERM": "dumb"},
    ],
)
def test_what_a_terminal_cannot_show_is_replaced(environment: dict[str, str]) -> None:
    error = f"InputError({'고양이 – ✗'!a}, remedy={'→'!a})"
    done = run(f"import lanekit.errors as e; print({'한국어 – ✓'!a}); raise e.{error}", **environment)
    assert done.returncode == 2 and b"Traceback" not in done.stderr
    assert done.stdout.strip() and b"error: " in done.stderr and b"remedy: " in done.stderr


def test_a_reader_that_has_gone_is_no_error() -> None:
    code = COMMAND.format(body="[print('x' * 1000) for _ in range(1000)]")
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert child.stdout and child.stderr
    child.stdout.close()
    assert child.stderr.read() == b""
    assert child.wait(60) == 141


def test_closed_streams_are_no_error() -> None:
    code = COMMAND.format(body="print('x')")
    done = subprocess.run(
        ["/bin/sh", "-c", '"$0" -c "$1" >&- 2>&-', sys.executable, code], check=False, timeout=60
    )
    assert done.returncode == 0


def test_a_stages_failure_names_its_place_and_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "tok-12345678")

    def fail() -> None:
        raise ValueError("bad tok-12345678")

    try:
        fail()
    except ValueError as error:
        event = describe_failure(error)
    assert event["message"].startswith("ValueError: bad ***") and event["remedy"] == ""
    assert describe_failure(InputError("x", remedy="y"))["remedy"] == "y"
    assert "ulimit" in describe_failure(OSError(24, "Too many open files"))["remedy"]


@pytest.mark.parametrize(
    "error",
    [OSError("words alone"), OSError(2, "no", "/x"), OSError(9999, "odd"), UnicodeError("x"), KeyError(),
     ModuleNotFoundError("No module named 'x'", name="x"), MemoryError(), RecursionError("deep")],
)  # fmt: skip
def test_every_explanation_has_a_remedy(error: Exception) -> None:
    found = explain_unexpected(error)
    assert isinstance(found, LanekitError) and found.message.strip() and found.remedy


def test_short_values_and_other_variables_are_left_in_a_text() -> None:
    text = "abc in /home/me"
    assert hide_secrets(text, {"MY_TOKEN": "abc", "HOME": "/home/me"}) == text
    assert hide_secrets("k=0123456789", {"X_SECRET_KEY": "0123456789"}) == "k=***"


def test_a_stages_process_speaks_utf8_whatever_the_locale(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    environment = make_child_environment() | {"LC_ALL": "C"}
    done = subprocess.run(
        [sys.executable, "-c", "print('한국어')"], env=environment, capture_output=True, check=True
    )
    assert done.stdout.decode().strip() == "한국어"
