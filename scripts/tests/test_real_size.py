"""The run at the real size: who may be on a GPU with whom, whose memory is whose, the committed results."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from contextlib import ExitStack
from pathlib import Path

import pytest
from commands import ROOT
from worker_bench import wait_for

from benchmarks.real_size.driving import (
    KEY_VARIABLE,
    SMALL_BYTES,
    GpuBoard,
    MemorySampler,
    find_owner,
    read_facts,
)
from benchmarks.real_size.report import render_markdown
from benchmarks.record_gpu_tests import read_tests
from benchmarks.run_rebuilds import render as render_rebuilds
from lanekit.errors import InputError

RESULTS = ROOT / "scripts" / "benchmarks" / "results"
LARGE = 20_000_000_000


def test_engines_have_a_gpu_each_and_small_stages_stand_beside_them() -> None:
    board = GpuBoard(["0", "1"], share_bytes=60_000_000_000)
    with ExitStack() as held:
        assert held.enter_context(board.hold("a", 0, alone=True)) == "0"
        assert held.enter_context(board.hold("b", 0, alone=True)) == "1"
        small = [held.enter_context(board.hold(name, SMALL_BYTES, alone=False)) for name in "cd"]
        assert small == ["0", "1"]
        assert not board._takes("0", SMALL_BYTES, alone=False)
    assert board.others == {"a": 1, "b": 1, "c": 1, "d": 1}


def test_large_stages_share_a_gpu_up_to_a_sum_and_keep_engines_off() -> None:
    board = GpuBoard(["0"], share_bytes=60_000_000_000)
    with board.hold("a", LARGE, alone=False), board.hold("b", LARGE, alone=False):
        assert board._takes("0", LARGE, alone=False)
        assert not board._takes("0", 2 * LARGE, alone=False)
        assert not board._takes("0", 0, alone=True)
    assert board.others == {"a": 1, "b": 1}


def test_one_that_waits_gets_the_gpu_when_it_is_free() -> None:
    board = GpuBoard(["0"], share_bytes=0)
    got = threading.Event()

    def wait() -> None:
        with board.hold("b", 0, alone=True):
            got.set()

    with board.hold("a", LARGE, alone=False):
        thread = threading.Thread(target=wait)
        thread.start()
        assert not got.wait(0.2)
    assert got.wait(5)
    thread.join()


def test_engines_that_stay_count_for_the_stage_that_has_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.real_size.driving.find_owner", {1: "engines", 2: "gptq"}.__getitem__)
    sampler = MemorySampler()
    sampler.follow("engines", "evaluate")
    sampler._note(1, 50)
    sampler._note(2, 7)
    sampler.forget("speed")
    sampler.follow("engines", "speed")
    sampler._note(1, 60)
    sampler.close()
    assert sampler.peaks == {"evaluate": 50, "gptq": 7, "speed": 60}


def test_no_more_stages_share_a_gpu_than_are_allowed() -> None:
    board = GpuBoard(["0"], share_bytes=60_000_000_000, share_stages=2)
    with board.hold("a", SMALL_BYTES, alone=False), board.hold("b", SMALL_BYTES, alone=False):
        assert not board._takes("0", SMALL_BYTES, alone=False)


def test_gpus_join_and_leave_while_stages_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.real_size.driving.LOOK_SECONDS", 0.05)
    file = tmp_path / "gpus"
    board = GpuBoard(["0"], share_bytes=0, gpus_file=file)
    with board.hold("a", 0, alone=True) as first:
        threading.Timer(0.2, file.write_text, ["0,3"]).start()
        with board.hold("b", 0, alone=True) as second:
            assert (first, second) == ("0", "3")
    file.write_text("3\n")
    with board.hold("c", 0, alone=True) as third:
        assert third == "3"


def test_a_process_is_its_sessions_stage() -> None:
    script = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'input()'], env={})"
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, start_new_session=True,
        env={**os.environ, KEY_VARIABLE: "abc"},
    )  # fmt: skip
    try:
        # Its environment can be read some moments after it has begun.
        wait_for(lambda: find_owner(process.pid) == "abc", "its stage is not found")
    finally:
        process.kill()
        process.wait()
    assert find_owner(os.getpid()) == ""


def test_the_last_note_of_a_stage_counts(tmp_path: Path) -> None:
    fact = {
        "key": "k", "name": "n", "stage": "gptq", "gpu": "0", "seconds": 1.0, "wall_seconds": 2.0,
        "peak_device_bytes": 3, "peak_allocated_bytes": 2, "peak_rss_bytes": 4,
    }  # fmt: skip
    path = tmp_path / "stages.jsonl"
    path.write_text("".join(json.dumps({**fact, "seconds": s}) + "\n" for s in (1.0, 5.0)))
    assert [found.seconds for found in read_facts(path)] == [5.0]
    assert read_facts(tmp_path / "none") == []


def test_there_are_committed_results() -> None:
    assert list(RESULTS.glob("real_size*.json"))


@pytest.mark.parametrize("path", sorted(RESULTS.glob("real_size*.json")), ids=lambda path: path.stem)
def test_a_committed_page_is_what_its_data_say(path: Path) -> None:
    result = json.loads(path.read_text(encoding="utf-8"))
    assert render_markdown(result) == path.with_suffix(".md").read_text(encoding="utf-8")
    assert result["commit"] and result["driver"] and result["versions"]["vllm"] == "0.14.1"


XML = """<testsuites><testsuite name="pytest" errors="0" failures="0" skipped="1" tests="3" time="4.5"
timestamp="2026-11-28T10:10:55+00:00"><testcase name="t[W4A16]"><properties>
<property name="equal_tokens" value="0.9954"/></properties></testcase><testcase name="u"/></testsuite>
</testsuites>"""


def test_the_gpu_tests_are_recorded_with_what_they_measured(tmp_path: Path) -> None:
    (tmp_path / "gpu.xml").write_text(XML)
    (tmp_path / "gpu.log").write_text("a\n===== 2 passed, 1 skipped in 4.50s =====\n[rank0] bye\n")
    found = read_tests(tmp_path / "gpu.xml", tmp_path / "gpu.log")
    assert found["closing_line"] == "2 passed, 1 skipped in 4.50s" and found["date"] == "2026-11-28"
    assert (found["tests"], found["failures"], found["skipped"]) == (3, 0, 1)
    assert found["recorded"] == {"t[W4A16]": {"equal_tokens": "0.9954"}}


def test_gpu_tests_that_did_not_end_are_not_recorded(tmp_path: Path) -> None:
    (tmp_path / "gpu.xml").write_text(XML)
    (tmp_path / "gpu.log").write_text("t PASSED\n")
    with pytest.raises(InputError, match="no closing line") as caught:
        read_tests(tmp_path / "gpu.xml", tmp_path / "gpu.log")
    assert caught.value.remedy


@pytest.mark.parametrize("path", sorted(RESULTS.glob("rebuilds_*.json")), ids=lambda path: path.stem)
def test_a_committed_page_of_rebuilds_is_what_its_data_say(path: Path) -> None:
    result = json.loads(path.read_text(encoding="utf-8"))
    assert render_rebuilds(result) == path.with_suffix(".md").read_text(encoding="utf-8")
    assert result["commit"] and result["gpus"]
