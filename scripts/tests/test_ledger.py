"""scripts/ledger.py on a small store: the exact package, its local score, errors a person can act on."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import ledger
import pytest
from commands import ROOT, Runner, make_environment

from lanekit.errors import InputError
from lanekit.files.hashing import hash_file
from lanekit.plan.graph import StageRun, make_stage_run
from lanekit.results.ledger import read_ledger
from lanekit.results.ranking import RankedLane, Ranking
from lanekit.results.schema import LaneRecord
from lanekit.spec.params import PackageParams
from lanekit.store.folder import FolderStore
from lanekit.store.manifest import make_manifest

LOCKS = {"ranker": "test"}
LIMITS: dict[str, Any] = {"base_model_name": "base", "base_model_source": "base", "zip_prefix": "",
                          "max_zip_bytes": 1000, "max_unpacked_bytes": 1000}  # fmt: skip


def publish(store: FolderStore, lane: str, model: str, content: str) -> StageRun:
    params = PackageParams(package_name=f"base-{lane}", lane=lane, **LIMITS)
    run = make_stage_run("package", params, {"model": model * 64, "base": "0" * 64}, LOCKS)
    folder = store.make_scratch(lane)
    (folder / "submit.zip").write_text(content, encoding="utf-8")
    now = datetime.now(timezone.utc)
    store.publish_artifact(run, folder, make_manifest(run, folder, started_at=now, seconds=1.0))
    return run


def write_ranking(results: Path, **models: str) -> None:
    lanes = [
        RankedLane(rank=n, record=LaneRecord(lane=lane, model=f"models/m-{model * 12}"), score=0.5 + n / 100,
                   speed_norm=0.2)
        for n, (lane, model) in enumerate(models.items(), start=1)
    ]  # fmt: skip
    results.mkdir(exist_ok=True)
    ranking = Ranking(experiment="test", lanes=lanes, weights_used={}, notes=[])
    (results / "ranking.json").write_text(ranking.model_dump_json(), encoding="utf-8")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with two packages in its store, and the ranking that they are of."""
    monkeypatch.chdir(tmp_path)
    store = FolderStore(tmp_path / ".lanekit" / "store")
    store.prepare()
    publish(store, "lane01_w4", "a", "one")
    publish(store, "lane02_w8", "b", "two")
    write_ranking(tmp_path / "results", lane01_w4="a", lane02_w8="b")
    return tmp_path


@pytest.fixture
def call(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., str]:
    """Run the command in this process and return what it printed."""

    def run(command: str, *options: str) -> str:
        monkeypatch.setenv("COLUMNS", "200")
        monkeypatch.setattr(
            sys, "argv", ["ledger.py", command, *options, "--ledger", str(home / "ledger.csv")]
        )
        assert ledger.main() == 0
        return capsys.readouterr().out

    return run


def test_an_entry_holds_the_exact_package_and_its_local_score(call: Callable[..., str], home: Path) -> None:
    at = "2026-11-28T03:12+09:00"
    text = call("add", "lane01", "--score", "0.6123", "--minutes", "9:48", "--at", at, "--note", "first  try")
    assert "0.6123, local score 0.5100" in text
    (entry,) = read_ledger(home / "ledger.csv")
    (archive,) = (home / ".lanekit/store/submissions").glob("lane01_w4-*/submit.zip")
    assert (entry.lane, entry.package) == ("lane01_w4", hash_file(archive))
    assert (entry.score, entry.minutes, entry.note) == (0.6123, pytest.approx(9.8), "first try")
    assert (entry.experiment, entry.local_score, entry.local_ratio) == ("test", 0.51, 0.8)
    assert entry.at == datetime(2026, 11, 27, 18, 12, tzinfo=timezone.utc)


def test_a_package_of_an_earlier_model_gets_no_local_score(call: Callable[..., str], home: Path) -> None:
    write_ranking(home / "results", lane01_w4="c", lane02_w8="b")
    text = call("add", "lane01_w4", "--score", "0.6")
    assert "no local score: results/ranking.json holds another model of lane01_w4" in text
    assert read_ledger(home / "ledger.csv")[0].local_score is None
    (home / "results" / "ranking.json").unlink()
    assert "no local score" in call("add", "lane02_w8", "--score", "0.6")


def test_of_several_packages_the_zip_says_which(call: Callable[..., str], home: Path) -> None:
    store = FolderStore(home / ".lanekit" / "store")
    publish(store, "lane01_w4", "d", "three")
    with pytest.raises(InputError, match="lane01_w4 has 2 packages") as caught:
        call("add", "lane01", "--score", "0.6")
    assert "--package" in caught.value.remedy
    (home / "mine.zip").write_text("three", encoding="utf-8")
    assert "another model" in call("add", "lane01", "--score", "0.6", "--package", "mine.zip")
    (home / "mine.zip").write_text("one", encoding="utf-8")
    assert "local score 0.5100" in call("add", "lane01", "--score", "0.6", "--package", "mine.zip")
    with pytest.raises(InputError, match="the package of lane01_w4, not of lane02_w8"):
        call("add", "lane02_w8", "--score", "0.6", "--package", "mine.zip")
    (home / "mine.zip").write_text("changed by hand", encoding="utf-8")
    assert "is no package of the store" in call("add", "by_hand", "--score", "0.6", "--package", "mine.zip")


def test_what_the_stack_brought_here_is_found(call: Callable[..., str], home: Path) -> None:
    (home / ".lanekit" / "store").rename(home / ".lanekit" / "stack-cache")
    assert "local score 0.5200" in call("add", "lane02", "--score", "0.6")


def test_the_slow_host_is_shown(call: Callable[..., str]) -> None:
    assert "no entry" in call("show")
    call("add", "lane01", "--score", "0.60", "--minutes", "9.8", "--at", "2026-11-28T01:00Z")
    call("add", "lane01", "--score", "0.50", "--minutes", "13:02", "--at", "2026-11-28T02:00Z")
    call("add", "lane02", "--score", "0.61", "--host", "usual")
    text = call("show")
    assert "slow host" in text and "1 of 3 runs are of the slow host" in text
    found = json.loads(call("show", "--json"))
    assert [entry["state"] for entry in found["entries"]] == ["usual", "slow", "usual"]
    assert found["agreement"]["tau"] == pytest.approx(1) and len(found["agreement"]["points"]) == 2


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (("lane1", "--score", "0.6"), "unknown lane 'lane1' (did you mean 'lane01_w4'?)"),
        (("lane01", "--score", "0.6", "--package", "none.zip"), "none.zip: no such file"),
        (("lane01", "--score", "0.6", "--store", "empty"), "no package in empty, .lanekit/stack-cache"),
        (("\x00", "--score", "0.6"), "holds a line break or a control character"),
    ],
)
def test_mistakes_are_named_with_a_remedy(
    call: Callable[..., str], home: Path, options: tuple[str, ...], expected: str
) -> None:
    with pytest.raises(InputError, match=re.escape(expected)) as caught:
        call("add", *options)
    assert caught.value.remedy and not (home / "ledger.csv").exists()


def test_a_mistake_ends_the_command_without_a_traceback(home: Path) -> None:
    script = [sys.executable, str(ROOT / "scripts" / "ledger.py")]
    environment = make_environment()
    for options, expected in (
        (["add", "lane01", "--score", "61"], "write the score as the server shows it, e.g. 0.6123"),
        (["show", "--ledger", "bad.csv"], "bad.csv:1"),
    ):
        (home / "bad.csv").write_text("x\ny\n", encoding="utf-8")
        done = subprocess.run(
            [*script, *options], env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 2 and "Traceback" not in done.stderr
        assert expected in done.stderr


def test_a_faulty_ledger_is_told_before_a_run_not_after(
    run_script: Runner, experiment: Path, tmp_path: Path
) -> None:
    lanes = shutil.copytree(experiment.parent, tmp_path / "lanes")
    (lanes / "ledger.csv").write_text("lane,score\n", encoding="utf-8")
    options = ("--experiment", str(lanes / "experiment.yaml"), "--only", "lane04", "--plan")
    done = run_script("run_all.py", *options, cwd=tmp_path, expect=2)
    assert "ledger.csv:1: the first line does not name the columns" in done.stderr
    (lanes / "ledger.csv").unlink()
    run_script("run_all.py", *options, cwd=tmp_path)
