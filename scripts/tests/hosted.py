"""Redis and MinIO as the stack sets them up, without containers; every process's reports are by hand."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import redis
from commands import ROOT, make_environment
from real_services import MinioServer, RedisServer, require_binary, running
from snapshots import make_worker

from lanekit.host.checkout import find_project_root
from lanekit.host.devices import list_devices, name_hardware
from lanekit.jobs.keys import RedisKeys
from lanekit.jobs.messages import REPORT_TTL_SECONDS, ControllerReport
from lanekit.plan.graph import StageRun, make_stage_run
from lanekit.plan.run_document import RunSpec, parse_run
from lanekit.results.outcome import LaneOutcome, RankedPackage, RunOutcome
from lanekit.results.ranking import RankedLane, Ranking
from lanekit.results.schema import LaneRecord
from lanekit.sources.locks import SERVICES, load_lock_digests
from lanekit.spec.params import PackageParams, RankParams
from lanekit.spec.stages import WORKERS
from lanekit.store.cache import ArtifactCache
from lanekit.store.documents import RunDocuments
from lanekit.store.manifest import make_manifest
from lanekit.store.minio import MinioStore
from lanekit.store.minio_client import StoreClient, make_client

ACCOUNTS = (*SERVICES, "controller", "operator")
BEST, BROKEN = "lane01_gptq_w4a16", "lane04_fp8_dynamic"


@dataclass
class Hosted:
    """The two servers, root's store on them, and the `.env` that the commands read."""

    redis_server: RedisServer
    minio_server: MinioServer
    env_file: Path
    cache: ArtifactCache

    @property
    def redis(self) -> redis.Redis:
        """A client of Redis."""
        return self.redis_server.client()

    @property
    def client(self) -> StoreClient:
        """Root's client of MinIO."""
        return make_client(self.minio_server.settings())

    @property
    def documents(self) -> RunDocuments:
        """The runs' documents."""
        return RunDocuments(self.client)

    def command(self, script: str, *options: str) -> list[str]:
        """Return a command of scripts/ against this stack."""
        return [sys.executable, str(ROOT / "scripts" / script), "--env-file", str(self.env_file), *options]

    def run(self, script: str, *options: str, cwd: Path, expect: int = 0) -> subprocess.CompletedProcess[str]:
        """Run one of scripts/ against this stack and return what it printed."""
        done = subprocess.run(
            self.command(script, *options), cwd=cwd, env=make_environment(),
            capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        assert done.returncode == expect, f"{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stderr
        return done

    def clear(self) -> None:
        """Forget every run, every report and every uploaded source."""
        self.redis.flushall()
        for item in self.client.minio.list_objects("data", prefix="source-", recursive=True):
            self.client.minio.remove_object("data", str(item.object_name))
        for run_id in self.documents.list_runs():
            for name in self.documents.list_names(run_id):
                self.documents.delete(run_id, name)

    def report(self, **changes: dict[str, Any]) -> None:
        """Let the controller and one worker of each kind report; `changes` by kind, None for none."""
        self.redis.set(RedisKeys.CONTROLLER, ControllerReport(host="h", at=0.0).model_dump_json(), ex=600)
        lock_digests = load_lock_digests(find_project_root())
        hardware = name_hardware(list_devices())
        for kind, service in WORKERS.items():
            given = changes.get(kind, {})
            if given is None:
                continue
            worker = make_worker(kind, device=hardware, lock_digest=lock_digests[service])
            worker = worker.model_copy(update=given)
            self.redis.set(
                RedisKeys.worker(worker.name), worker.model_dump_json(), ex=REPORT_TTL_SECONDS * 30
            )

    def read_run(self, run_id: str) -> RunSpec:
        """Return a run as it was written."""
        return parse_run(self.documents.read(run_id, "run.json") or b"", run_id)

    def end_run(self, spec: RunSpec, tmp_path: Path, *, is_complete: bool = True) -> RunOutcome:
        """Commit a ranking and a package made by hand, then the outcome."""
        records = [LaneRecord(lane="baseline"), LaneRecord(lane=BEST, size_bytes=1000)]
        if not is_complete:
            records.append(
                LaneRecord(lane=BROKEN, status="failed", reason="stage fp8: out of memory\n  remedy: less",
                           log_tail=["line one", "CUDA out of memory"])
            )  # fmt: skip
        ranking = Ranking(
            experiment="demo-tiny", weights_used={}, notes=[],
            lanes=[RankedLane(rank=1 if record.lane == BEST else None, record=record,
                              score=0.6 if record.lane == BEST else None) for record in records],
        )  # fmt: skip
        params = RankParams(
            records=(), weights={"kmmlu_pro": 1.0}, quality_weight=0.5, experiment="demo-tiny"
        )
        rank = make_stage_run("rank", params, {}, spec.lock_digests)
        files = {"ranking.json": ranking.model_dump_json(), "summary.md": "| lane |\n", "summary.csv": "x\n",
                 "baseline.json": "{}", f"lanes/{BEST}/metrics.json": '{"lane": "x"}'}  # fmt: skip
        self.commit(rank, tmp_path / "rank", files)
        package = make_stage_run(
            "package",
            PackageParams(package_name="p", lane=BEST, base_model_name="b", base_model_source="s",
                          max_zip_bytes=10, max_unpacked_bytes=10),
            {"model": "0" * 64}, spec.lock_digests,
        )  # fmt: skip
        self.commit(package, tmp_path / "package", {"submit.zip": "z" * 500_000, "package/config.json": "{}"})
        ended = RunOutcome(
            run_id=spec.run_id, phase="complete",
            reason="" if is_complete else "1 lane(s) failed",
            summary=rank.ref,
            packages=(RankedPackage(key=package.key, path=package.path, lane=BEST, position=1),),
            records=tuple(LaneOutcome(lane=lane.record.lane, status=lane.record.status, rank=lane.rank,
                                      reason=lane.record.reason, score=lane.score) for lane in ranking.lanes),
        )  # fmt: skip
        self.documents.write(spec.run_id, "outcome.json", json.loads(ended.model_dump_json()))
        return ended

    def commit(self, run: StageRun, folder: Path, files: dict[str, str]) -> None:
        """Commit an artifact of these files."""
        for name, content in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(content, encoding="utf-8")
        manifest = make_manifest(run, folder, started_at="2026-01-01T00:00:00Z", seconds=1.0)
        MinioStore(self.client, self.cache).publish_artifact(run, folder, manifest)


@contextmanager
def run_hosted(folder: Path) -> Iterator[Hosted]:
    """Start both servers, set MinIO up as the stack does, and write the `.env`."""
    redis_binary = require_binary(
        "redis-server", os.environ.get("LANEKIT_REDIS_SERVER_BINARY"), "redis-server"
    )
    minio_binary = require_binary("minio", os.environ.get("LANEKIT_MINIO_BINARY"), "minio", "~/go/bin/minio")
    for name in ("redis", "minio"):
        (folder / name).mkdir()
    with (
        running(RedisServer(redis_binary, folder / "redis")) as redis_server,
        running(MinioServer(minio_binary, folder / "minio")) as minio_server,
    ):
        keys = {f"{account.upper()}_SECRET_KEY": secrets.token_hex(12) for account in ACCOUNTS}
        subprocess.run(
            [sys.executable, "-m", "controller.setup"], check=True, capture_output=True, timeout=120,
            env={**os.environ, **keys, "LANEKIT_MINIO_URL": minio_server.url,
                 "PYTHONPATH": str(ROOT / "services" / "controller" / "src"),
                 "MINIO_ROOT_USER": minio_server.root_user,
                 "MINIO_ROOT_PASSWORD": minio_server.root_password},
        )  # fmt: skip
        lines = {"REDIS_PASSWORD": redis_server.password, "REDIS_PORT": redis_server.port,
                 "MINIO_PORT": minio_server.port, **keys}  # fmt: skip
        env_file = folder / ".env"
        env_file.write_text("".join(f"{name}={value}\n" for name, value in lines.items()), encoding="utf-8")
        yield Hosted(redis_server, minio_server, env_file, ArtifactCache(folder / "cache", 1 << 30))
