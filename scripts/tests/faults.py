"""Faults for a running stack: each is injected, ended, and told apart by how long recovery took."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import redis
from composed import WORKERS, Stack, run_command, wait_until

OUTAGE_S = 30.0
# A fault meant for the middle of a stage wants one that lasts: the others end before it strikes.
LASTING_STAGES = ("sft", "distill", "post_sft", "gptq", "evaluate", "measure_speed")
CUT_S = 20.0
CUT_AFTER_BYTES = 1_500_000
RECOVERY_S = 300.0  # where two processes share the tests; 1 to 67 s on an idle machine


@dataclass
class FaultRow:
    """One line of the table; `since` is when the fault began, in seconds since the epoch.

    Stages that began again are counted to the last fault before them.
    """

    fault: str
    hit: str
    since: float
    recovered_s: float
    begun_again: int = 0
    recomputed: int = 0


@dataclass
class Scene:
    """The stack with a run on it."""

    stack: Stack
    run_id: str

    def connect(self) -> redis.Redis:
        """Return a connection to the stack's Redis."""
        return redis.Redis(
            port=int(self.stack.ports["REDIS_PORT"]), password=self.stack.read_secret("REDIS_PASSWORD"),
            decode_responses=True, socket_timeout=5,
        )  # fmt: skip

    def read_reports(self) -> dict[str, dict[str, Any]]:
        """Return the reports of the jobs that are held now, by job id."""
        try:
            client = self.connect()
            found = {name: client.get(name) for name in client.keys("lanekit:report:*")}
        except redis.RedisError:
            return {}
        return {str(name).split(":", 2)[2]: json.loads(text) for name, text in found.items() if text}

    def find_held(self, service: str, state: str = "running") -> str:
        """Return the job that a service's worker has in hand in this state, or an empty string."""
        for job_id, report in self.read_reports().items():
            if report["worker"].startswith(service) and report["state"] == state:
                return job_id
        return ""

    def await_stage(self, *services: str) -> str:
        """Return the job whose stage runs now in one of these services, by default those with a device."""
        names = services or WORKERS[:3]

        def find_lasting() -> str:
            held = (self.find_held(name) for name in names)
            return next((job_id for job_id in held if job_id.rsplit("-", 1)[0] in LASTING_STAGES), "")

        found: str = wait_until(find_lasting, f"{names} run one of {LASTING_STAGES}", 300, 0.2)
        return found

    def has_event(self, service: str, event: str, since: float, **fields: str) -> bool:
        """Whether a service logged an event after a moment."""
        return any(
            e.get("event") == event and read_time(e) > since and all(e.get(k) == v for k, v in fields.items())
            for e in self.stack.read_events(service)
        )


def read_time(event: dict[str, Any]) -> float:
    """Return an event's time in seconds since the epoch."""
    return datetime.fromisoformat(str(event["timestamp"]).replace("Z", "+00:00")).timestamp()


def measure(check: Callable[[], Any], what: str, since: float) -> float:
    """Return the seconds until a check holds."""
    wait_until(check, what, RECOVERY_S + OUTAGE_S)
    return time.time() - since


def kill_worker(scene: Scene, service: str) -> FaultRow:
    """Kill -9 a worker in the middle of a stage: its job must be queued again, behind those that wait."""
    job_id = scene.await_stage(service)
    since = time.time()
    scene.stack.kill(service)
    seconds = measure(
        lambda: scene.has_event("controller", "job_enqueued", since, job_id=job_id),
        f"{job_id} queued again", since,
    )  # fmt: skip
    return FaultRow(f"kill -9 {service}", job_id.rsplit("-", 1)[0], since, seconds)


def kill_controller(scene: Scene) -> FaultRow:
    """Kill -9 the controller."""
    scene.await_stage()
    since = time.time()
    scene.stack.kill("controller")
    seconds = measure(
        lambda: scene.has_event("controller", "controller_started", since), "the controller is back", since
    )
    return FaultRow("kill -9 controller", "", since, seconds)


def count_workers(scene: Scene) -> int:
    """Return how many workers report themselves."""
    try:
        return len(scene.connect().keys("lanekit:worker:*"))
    except redis.RedisError:
        return 0


def restart_redis(scene: Scene) -> FaultRow:
    """Restart Redis under a running stage."""
    job_id = scene.await_stage()
    since = time.time()
    scene.stack.compose("restart", "--timeout", "5", "redis")
    seconds = measure(lambda: count_workers(scene) == len(WORKERS), "every worker reports again", since)
    return FaultRow("Redis restarted", job_id.rsplit("-", 1)[0], since, seconds)


def flush_redis(scene: Scene) -> FaultRow:
    """Flush Redis under a running stage: everything must come back from the store."""
    job_id = scene.await_stage()
    since = time.time()
    scene.connect().flushall()
    seconds = measure(
        lambda: count_workers(scene) == len(WORKERS)
        and scene.connect().exists(f"lanekit:snapshot:{scene.run_id}"),
        "workers and the run's snapshot are back", since,
    )  # fmt: skip
    return FaultRow("Redis flushed", job_id.rsplit("-", 1)[0], since, seconds)


def stop_minio(scene: Scene) -> FaultRow:
    """Stop MinIO for half a minute: work in hand must be committed afterwards."""
    job_id = scene.await_stage()
    key = job_id.rsplit("-", 1)[1]
    since = time.time()
    scene.stack.compose("stop", "--timeout", "5", "minio")
    time.sleep(OUTAGE_S)
    scene.stack.compose("start", "minio")
    seconds = measure(
        lambda: any(
            e.get("event") == "stage_committed" and read_time(e) > since and e.get("key") == key
            for e in scene.stack.read_events(*WORKERS)
        ),
        f"{job_id} committed", since,
    )  # fmt: skip
    return FaultRow(f"MinIO stopped for {OUTAGE_S:.0f} s", job_id.rsplit("-", 1)[0], since, seconds)


def cut_upload(scene: Scene, service: str) -> FaultRow:
    """Let a worker's next upload pass some bytes to MinIO, then drop every packet for a while."""
    pid = scene.stack.inspect(service, "{{.State.Pid}}")
    chain = ["nsenter", "-t", pid, "-n", "iptables", "-w"]
    ways = ["OUTPUT", "-p", "tcp", "--dport", "9000"]
    allow = [*ways, "-m", "quota", "--quota", str(CUT_AFTER_BYTES), "-j", "ACCEPT"]
    scene.await_stage(service)
    run_command([*chain, "-A", *allow])
    run_command([*chain, "-A", *ways, "-j", "DROP"])
    try:
        job_id = wait_until(lambda: count_dropped(chain) and scene.find_held(service, "publishing"),
                            f"an upload of {service} is cut", 300, 0.2)  # fmt: skip
        since = time.time()
        time.sleep(CUT_S)
    finally:
        run_command([*chain, "-F", "OUTPUT"])
    key = job_id.rsplit("-", 1)[1]
    seconds = measure(
        lambda: scene.has_event(service, "stage_committed", since, key=key), f"{job_id} committed", since
    )
    return FaultRow(f"network cut mid-upload for {CUT_S:.0f} s", job_id.rsplit("-", 1)[0], since, seconds)


def count_dropped(chain: list[str]) -> int:
    """Return the packets that the DROP rule has seen."""
    done = subprocess.run(
        [*chain, "-L", "OUTPUT", "-v", "-x", "-n"], capture_output=True, text=True, check=True, timeout=30
    )
    return sum(int(line.split()[0]) for line in done.stdout.splitlines() if " DROP " in line)
