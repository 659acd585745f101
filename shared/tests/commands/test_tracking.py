"""A tracker is told of each lane once, and whatever it does, the run has succeeded."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from processes import find_closed_port

from lanekit.commands import tracking
from lanekit.commands.session import export_outcome
from lanekit.commands.tracked import Tracked, describe_lanes
from lanekit.commands.tracking import LANE_KEY, check_tracker, track_outcome
from lanekit.plan.graph import ArtifactRef, StageRun, make_stage_run
from lanekit.results.course import Outcome
from lanekit.results.ranking import Interval, RankedLane, Ranking
from lanekit.results.schema import BenchmarkResult, LaneRecord
from lanekit.sources.locks import SERVICES
from lanekit.spec.quantization import GptqParams
from lanekit.store.folder import FolderStore
from lanekit.store.manifest import make_manifest

IS_WANTED = os.environ.get("LANEKIT_REQUIRE_SERVICES") == "1"
with_mlflow = pytest.mark.skipif(
    find_spec("mlflow") is None and not IS_WANTED,
    reason="mlflow is not installed: ./scripts/dev test does it",
)
SUMMARY = ArtifactRef(key="a" * 64, path="results/summary-aaaaaaaaaaaa")
PACKAGE = ArtifactRef(key="b" * 64, path="submissions/lane01-bbbbbbbbbbbb")
Rank = Callable[..., Outcome]


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path / "store")


@pytest.fixture
def gptq(store: FolderStore) -> StageRun:
    """A lane's only stage, its artifact in the store."""
    params = GptqParams(scheme="W4A16", seed=1, dampening=0.02)
    run = make_stage_run("gptq", params, {}, dict.fromkeys(SERVICES, "e"))
    folder = store.make_scratch(run.name)
    (folder / "config.json").write_text("{}", encoding="utf-8")
    now = datetime.now(timezone.utc)
    store.publish_artifact(run, folder, make_manifest(run, folder, started_at=now, seconds=1.0))
    return run


@pytest.fixture
def rank(gptq: StageRun) -> Rank:
    def make(score: float = 0.53, *, timing: str = "results/speed-1", is_packaged: bool = True) -> Outcome:
        base = LaneRecord(lane="baseline", model="models/base-1", evaluation="results/evaluate-0")
        record = LaneRecord(
            lane="lane01", group="Quantization", stages=[gptq.path], model=gptq.path, size_bytes=12,
            evaluation="results/evaluate-1", timing=timing, stage_seconds={"gptq": 3.5},
            benchmarks={
                "kmmlu_pro": BenchmarkResult(metric="accuracy", version=1, value=0.375),
                "komt_bench": BenchmarkResult(metric="judge", version=1, value=None),
            },
        )  # fmt: skip
        failed = LaneRecord(lane="lane02", model="models/gptq-2", status="failed", reason="out of memory")
        foreign = LaneRecord(lane="lane03", status="foreign", reason="of another base model")
        lanes = [
            RankedLane(rank=None, record=base, score=0.5),
            RankedLane(rank=1, record=record, score=score, score_interval=Interval(low=0.51, high=0.55)),
            *(RankedLane(rank=None, record=lane) for lane in (failed, foreign)),
        ]
        ranking = Ranking(experiment="demo", lanes=lanes, weights_used={}, notes=[])
        return Outcome(ranking, SUMMARY, {"lane01": PACKAGE} if is_packaged else {})

    return make


def test_a_lane_is_told_of_with_what_the_ranking_and_the_store_know(
    rank: Rank, store: FolderStore, gptq: StageRun
) -> None:
    base, lane, failed = describe_lanes(rank(), store)
    assert [base.name, lane.name, failed.name] == ["baseline", "lane01", "lane02"], "a foreign file is none"
    assert lane.parameters["1.gptq.dampening"] == "0.02" and lane.parameters["1.gptq.scheme"] == "W4A16"
    assert lane.parameters["group"] == "Quantization" and lane.parameters["stages"] == gptq.name
    assert lane.metrics == {
        "score": 0.53, "score.low": 0.51, "score.high": 0.55, "rank": 1.0, "size_bytes": 12.0,
        "benchmark.kmmlu_pro": 0.375, "seconds.gptq": 3.5,
    }  # fmt: skip
    assert lane.tags["lanekit.artifact.model"] == str(store.locate(gptq))
    assert lane.tags["lanekit.artifact.package"] == PACKAGE.path, "what is not here is told by its place"
    assert failed.is_failed and failed.tags["lanekit.reason"] == "out of memory" and not lane.is_failed


def test_a_lane_is_known_again_by_what_it_was_made_from(rank: Rank, store: FolderStore) -> None:
    def key(outcome: Outcome) -> str:
        return describe_lanes(outcome, store)[1].key

    assert key(rank()) == key(rank(0.6, is_packaged=False))
    assert key(rank()) != key(rank(timing="results/speed-2"))


def test_nothing_is_done_where_none_is_named(
    rank: Rank, store: FolderStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracking, "log_lanes", lambda *_: pytest.fail("it was called"))
    assert check_tracker("") == [] and track_outcome("", rank(), store) == []


def test_a_missing_package_is_one_warning_with_a_remedy(
    rank: Rank, store: FolderStore, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tracking, "find_spec", lambda _name: None)
    assert track_outcome("sqlite:///x.db", rank(), store) == []
    told = capsys.readouterr().err
    assert told.count("! LANEKIT_MLFLOW_URI") == 1 and "mlflow is not installed" in told
    assert "remedy: run ./scripts/dev setup --mlflow" in told
    assert [finding.level for finding in check_tracker("sqlite:///x.db")] == ["warning"]


def test_a_server_that_does_not_answer_is_told_at_once_without_its_password(
    rank: Rank, store: FolderStore, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tracking, "find_spec", lambda _name: object())
    monkeypatch.setattr(tracking, "log_lanes", lambda *_: pytest.fail("it was called"))
    assert track_outcome(f"http://me:hunter2@127.0.0.1:{find_closed_port()}", rank(), store) == []
    told = capsys.readouterr().err
    assert "does not answer: Connection refused" in told and "start it" in told and "hunter2" not in told


def test_whatever_a_tracker_raises_is_a_warning(
    rank: Rank, store: FolderStore, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(_uri: str, _experiment: str, lanes: list[Tracked]) -> None:
        raise RuntimeError(f"no room for {len(lanes)} lanes in sqlite://me:hunter2@x")

    monkeypatch.setattr(tracking, "find_spec", lambda _name: object())
    monkeypatch.setattr(tracking, "log_lanes", fail)
    assert track_outcome("sqlite:///x.db", rank(), store) == []
    told = capsys.readouterr().err
    assert "not tracked: no room for 3 lanes" in told and "run the same command again" in told
    assert "hunter2" not in told


def test_what_writes_the_results_folder_tells_the_tracker(
    rank: Rank, store: FolderStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[tuple[str, int]] = []
    monkeypatch.setattr(tracking, "find_spec", lambda _name: object())
    monkeypatch.setattr(tracking, "log_lanes", lambda uri, _name, lanes: told.append((uri, len(lanes))))
    monkeypatch.setattr(FolderStore, "fetch_artifact", lambda *_: tmp_path / "ranking")
    (tmp_path / "ranking").mkdir()
    folders = tmp_path / "results", tmp_path / "submissions"
    export_outcome(store, rank(is_packaged=False), *folders)
    assert told == []
    monkeypatch.setenv("LANEKIT_MLFLOW_URI", "sqlite:///x.db")
    lines = export_outcome(store, rank(is_packaged=False), *folders)
    assert told == [("sqlite:///x.db", 3)] and lines[-1] == "tracked: 3 lanes in sqlite:///x.db"


@pytest.fixture(scope="module")
def fresh_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database as mlflow makes it, which takes it seconds."""
    from mlflow.tracking import MlflowClient

    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    MlflowClient(tracking_uri=f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def uri(fresh_database: Path, tmp_path: Path) -> str:
    shutil.copyfile(fresh_database, tmp_path / "mlflow.db")
    return f"sqlite:///{tmp_path / 'mlflow.db'}"


def read_runs(uri: str) -> dict[str, Any]:
    """Return the runs of the experiment by name; fails where two have one name."""
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=uri)
    runs = client.search_runs([client.get_experiment_by_name("demo").experiment_id])
    found = {run.info.run_name: run for run in runs}
    assert len(found) == len(runs)
    return found


@with_mlflow
@pytest.mark.slow
def test_each_lane_is_a_run_and_a_second_time_adds_none(rank: Rank, store: FolderStore, uri: str) -> None:
    assert track_outcome(uri, rank(), store) == [f"tracked: 3 lanes in {uri}"]
    first = read_runs(uri)
    assert set(first) == {"baseline", "lane01", "lane02"}
    lane = first["lane01"]
    assert lane.info.status == "FINISHED" and first["lane02"].info.status == "FAILED"
    assert lane.data.params["1.gptq.scheme"] == "W4A16" and lane.data.metrics["score"] == 0.53
    assert lane.data.tags["lanekit.artifact.package"] == PACKAGE.path and lane.data.tags[LANE_KEY]

    track_outcome(uri, rank(), store)
    assert {name: run.to_dictionary() for name, run in read_runs(uri).items()} == {
        name: run.to_dictionary() for name, run in first.items()
    }, "what is the same is left as it is"

    track_outcome(uri, rank(0.6, is_packaged=False), store)
    again = read_runs(uri)["lane01"]
    assert again.info.run_id == lane.info.run_id and again.data.metrics["score"] == 0.6
    assert "lanekit.artifact.package" not in again.data.tags, "a package of the last ranking is none"


@with_mlflow
@pytest.mark.slow
def test_a_run_that_was_cut_off_is_gone_on_with(
    rank: Rank, store: FolderStore, uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow.tracking import MlflowClient

    def cut(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "log_batch", cut)
        with pytest.raises(KeyboardInterrupt):
            track_outcome(uri, rank(), store)
    assert read_runs(uri)["baseline"].info.status == "RUNNING"
    track_outcome(uri, rank(), store)
    runs = read_runs(uri)
    assert len(runs) == 3 and runs["baseline"].info.status == "FINISHED"
    assert runs["baseline"].data.metrics["score"] == 0.5


@with_mlflow
@pytest.mark.slow
def test_another_measurement_is_another_run(rank: Rank, store: FolderStore, uri: str) -> None:
    from mlflow.tracking import MlflowClient

    track_outcome(uri, rank(), store)
    track_outcome(uri, rank(timing="results/speed-2"), store)
    client = MlflowClient(tracking_uri=uri)
    found = client.search_runs([client.get_experiment_by_name("demo").experiment_id])
    assert sorted(run.info.run_name for run in found) == ["baseline", "lane01", "lane01", "lane02"]


@pytest.fixture
def broken_server() -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            self.send_error(500)

        def do_POST(self) -> None:
            self.send_error(500)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


@with_mlflow
@pytest.mark.slow
@pytest.mark.parametrize("kind", ["server", "database"])
def test_the_real_clients_failures_are_warnings(
    rank: Rank, store: FolderStore, broken_server: str, kind: str, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    (tmp_path / "no.db").write_bytes(b"no database" * 100)
    uri = broken_server if kind == "server" else f"sqlite:///{tmp_path}/no.db"
    assert track_outcome(uri, rank(), store) == []
    told = capsys.readouterr().err
    assert "! LANEKIT_MLFLOW_URI: not tracked: " in told and "remedy: " in told
