"""Measure how fast a model folder goes into MinIO and back, against plain transfers of the same client.

All ways take turns in one run, and the order changes from round to round; before each the disk is synced.
Hashing and checking are part of ours; the plain ways check nothing. Prints a markdown table.

Examples
  python scripts/benchmarks/bench_transfer.py --minio ~/go/bin/minio            # a MinIO of its own
  MINIO_ROOT_USER=... MINIO_ROOT_PASSWORD=... \\
  python scripts/benchmarks/bench_transfer.py --url http://127.0.0.1:9000 --mc ~/go/bin/mc --rounds 7
"""

from __future__ import annotations

import argparse
import os
import secrets
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import urllib3
from pydantic import SecretStr

from benchmarks import measure
from lanekit.host.stack_settings import StackSettings
from lanekit.store.manifest import FileEntry, describe_files
from lanekit.store.minio_client import StoreClient, make_client
from lanekit.store.transfer import SHAPE, Place, download_files, upload_files

BUCKET = "bench-transfer"
SHARES = "0.48,0.32,0.2"
SMALL_FILES = 12
SMALL_BYTES = 200_000
READY_SECONDS = 30


@dataclass
class Bench:
    """What a round works on."""

    client: StoreClient
    source: Path
    work: Path
    files: dict[str, FileEntry]
    mc: str | None
    timings: measure.Timings = field(
        # This process alone: a MinIO of our own is a child, and no part of the client's cost.
        default_factory=lambda: measure.Timings(read_cpu=time.process_time)
    )

    @property
    def place(self) -> Place:
        """Where the folder goes."""
        return Place(self.client, BUCKET, "model")

    def put_ours(self) -> None:
        """Send as the store does."""
        upload_files(self.place, self.source, self.files)

    def get_ours(self) -> None:
        """Fetch as the store does."""
        download_files(self.place, self.work / "got", self.files)

    def put_plain(self) -> None:
        """Send with fput_object, files and parts in parallel."""

        def send(name: str) -> None:
            self.client.minio.fput_object(
                BUCKET, self.place.name(name), str(self.source / name),
                part_size=SHAPE.part_bytes, num_parallel_uploads=SHAPE.parts_ahead,
            )  # fmt: skip

        with ThreadPoolExecutor(SHAPE.files_at_once) as pool:
            list(pool.map(send, self.files))

    def get_plain(self) -> None:
        """Fetch with fget_object, files in parallel."""

        def fetch(name: str) -> None:
            self.client.minio.fget_object(BUCKET, self.place.name(name), str(self.work / "got" / name))

        with ThreadPoolExecutor(SHAPE.files_at_once) as pool:
            list(pool.map(fetch, self.files))

    def put_mc(self) -> None:
        """Send with MinIO's own client."""
        self._run_mc(f"{self.source}/", f"bench/{BUCKET}/model/")

    def get_mc(self) -> None:
        """Fetch with MinIO's own client."""
        self._run_mc(f"bench/{BUCKET}/model/", f"{self.work / 'got'}/")

    def copy_on_disk(self) -> None:
        """Copy the folder."""
        shutil.copytree(self.source, self.work / "got")

    def hash_alone(self) -> None:
        """Hash the folder once, as a manifest is made."""
        describe_files(self.source)

    def _run_mc(self, source: str, target: str) -> None:
        environment = {
            **os.environ,
            "MC_HOST_bench": self._name_host(),
            "MC_CONFIG_DIR": str(self.work / "mc"),
        }
        command = [str(self.mc), "cp", "--recursive", "--quiet", source, target]
        subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)

    def _name_host(self) -> str:
        scheme, _, address = self.client.url.partition("://")
        return f"{scheme}://{self.client.access_key}:{os.environ['MINIO_ROOT_PASSWORD']}@{address}"


def empty_bucket(bench: Bench) -> None:
    """Delete what was sent, and let the disk come to rest."""
    minio = bench.client.minio
    for item in list(minio.list_objects(BUCKET, recursive=True)):
        minio.remove_object(BUCKET, str(item.object_name))
    os.sync()


def clear_folder(bench: Bench) -> None:
    """Delete what was fetched, and let the disk come to rest."""
    shutil.rmtree(bench.work / "got", ignore_errors=True)
    os.sync()


def run_round(bench: Bench, number: int) -> None:
    """Measure every way once."""
    puts = {"put: ours": bench.put_ours, "put: plain": bench.put_plain}
    gets = {"get: ours": bench.get_ours, "get: plain": bench.get_plain}
    if bench.mc:
        puts["put: mc cp"] = bench.put_mc
        gets["get: mc cp"] = bench.get_mc
    gets["copy on the disk"] = bench.copy_on_disk
    bench.timings.run_round(number, puts, lambda: empty_bucket(bench))
    bench.timings.run_round(number, gets, lambda: clear_folder(bench))
    hashing = {"sha256 alone, one thread": bench.hash_alone}
    bench.timings.run_round(number, hashing, lambda: clear_folder(bench))


def render_ways(bench: Bench) -> str:
    """Return the measurements as a table; a ratio is the median of the rounds' own ratios."""
    size_gb = sum(entry.size_bytes for entry in bench.files.values()) / 1e9
    rows = []
    for way, seconds in bench.timings.seconds.items():
        plain = bench.timings.seconds.get(f"{way.partition(':')[0]}: plain")
        ratio = f"{statistics.median(measure.list_ratios(seconds, plain)):.2f}" if plain else ""
        cpu = "" if "mc" in way else f"{statistics.median(bench.timings.cpu_seconds[way]):.2f}"
        rate = f"{size_gb / statistics.median(seconds):.2f}"
        rows.append((way, *measure.show_spread(seconds, ".2f"), rate, cpu, ratio))
    return measure.render_table(("way", "median s", "min to max s", "GB/s", "client CPU s", "to plain"), rows)


def render_conditions(bench: Bench, rounds: int, server: str) -> str:
    """Return what was measured where."""
    large = ", ".join(f"{e.size_bytes / 1e9:.2f}" for e in bench.files.values() if e.size_bytes > SMALL_BYTES)
    return (
        f"{measure.describe_machine('minio', 'urllib3')}; server {server}; {large} GB and {SMALL_FILES} "
        f"small files, {rounds} rounds; parts of {SHAPE.part_bytes >> 20} MiB, {SHAPE.files_at_once} files "
        f"at once, {SHAPE.parts_ahead} parts ahead."
    )


def make_folder(folder: Path, size_gb: float, shares: list[float]) -> None:
    """Write a model-like folder of random bytes."""
    folder.mkdir(parents=True)
    for number, share in enumerate(shares, start=1):
        left = int(size_gb * 1e9 * share)
        with (folder / f"model-{number:05}-of-{len(shares):05}.safetensors").open("wb") as stream:
            while left:
                left -= stream.write(os.urandom(min(left, 1 << 26)))
    for number in range(SMALL_FILES):
        (folder / f"small-{number}.json").write_bytes(os.urandom(SMALL_BYTES))


@contextmanager
def run_minio(binary: str, folder: Path) -> Iterator[str]:
    """Run a MinIO of our own; gives its URL. Sets MINIO_ROOT_USER and MINIO_ROOT_PASSWORD."""
    os.environ["MINIO_ROOT_USER"], os.environ["MINIO_ROOT_PASSWORD"] = "bench", secrets.token_hex(16)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    command = [
        binary,
        "server",
        "--quiet",
        "--address",
        address,
        "--console-address",
        "127.0.0.1:0",
        str(folder),
    ]
    with (folder.parent / "minio.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + READY_SECONDS
        while not is_ready(f"http://{address}"):
            if process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit((folder.parent / "minio.log").read_text())
            time.sleep(0.1)
        yield f"http://{address}"
    finally:
        process.terminate()
        process.wait()


def is_ready(url: str) -> bool:
    """Whether MinIO answers."""
    try:
        return urllib3.request("GET", f"{url}/minio/health/ready", timeout=1.0, retries=False).status == 200
    except urllib3.exceptions.HTTPError:
        return False


def run_bench(args: argparse.Namespace, url: str, work: Path, server: str) -> None:
    """Make the folder, measure, print."""
    settings = StackSettings(
        redis_url=SecretStr("redis://unused"),
        minio_url=url,
        minio_access_key=os.environ["MINIO_ROOT_USER"],
        minio_secret_key=SecretStr(os.environ["MINIO_ROOT_PASSWORD"]),
    )
    client = make_client(settings)
    make_folder(work / "source", args.size_gb, [float(share) for share in args.shares.split(",")])
    bench = Bench(client, work / "source", work, describe_files(work / "source"), args.mc)
    if not client.minio.bucket_exists(BUCKET):
        client.minio.make_bucket(BUCKET)
    try:
        for number in range(args.rounds):
            print(f"round {number + 1} of {args.rounds}", file=sys.stderr)
            run_round(bench, number)
    finally:
        empty_bucket(bench)
        client.minio.remove_bucket(BUCKET)
    print(render_ways(bench))
    print(f"\n{render_conditions(bench, args.rounds, server)}")


def main() -> None:
    """Read the command line and measure."""
    parser = measure.make_parser(__doc__)
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--minio", metavar="BINARY", help="start this MinIO on a folder of its own")
    where.add_argument(
        "--url", help="a MinIO that runs; MINIO_ROOT_USER and MINIO_ROOT_PASSWORD are its keys"
    )
    parser.add_argument("--mc", metavar="BINARY", help="measure `mc cp --recursive` too")
    parser.add_argument("--size-gb", type=float, default=2.5)
    parser.add_argument("--shares", default=SHARES, help="of the size, by large file (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="where to work; takes four times the size")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=args.folder) as name:
        work = Path(name)
        if args.url:
            run_bench(args, args.url, work, args.url)
        else:
            done = subprocess.run([args.minio, "--version"], capture_output=True, text=True, check=True)
            with run_minio(args.minio, work / "minio") as url:
                run_bench(args, url, work, done.stdout.splitlines()[0])


if __name__ == "__main__":
    main()
