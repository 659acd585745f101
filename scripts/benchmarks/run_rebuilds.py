"""Make lanes of the tiny model, bundle them, and rebuild each in an empty folder on the same machine: does
every file come out the same there?

Each lane has a store of its own, so that they run side by side. It wants a clean checkout (a bundle is of a
commit) and takes the environment that runs it. Leaves rebuilds.json and rebuilds.md in the folder.

Examples
  python scripts/benchmarks/run_rebuilds.py --folder /tmp/rebuilds
  python scripts/benchmarks/run_rebuilds.py --folder /tmp/rebuilds --lanes lane01,lane12 --engine transformers
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import yaml

from benchmarks import measure
from benchmarks.real_size.report import read_commit
from lanekit.commands.setup.libraries import LIBRARIES
from lanekit.host.checkout import find_project_root
from lanekit.host.devices import list_devices, name_hardware
from lanekit.host.probe import find_versions, query_gpus

ROOT = find_project_root()
BASE_MODEL = ROOT / "scripts" / "tiny" / "fixture"
LANES = "lane01,lane06,lane08,lane11,lane12"
NAMED = 6  # lines of what a rebuild ended with
SMALL_SPEED = {
    "batch_sizes": [8], "prompt_tokens": 16, "decode_tokens": 8, "prefill_tokens": 0, "free_items": 0,
    "benchmark_items": 0, "min_repeats": 1, "min_repeat_s": 0, "budget_s": 0, "score_form": "decode_b8",
}  # fmt: skip


@dataclass(frozen=True)
class Rebuild:
    """How a lane's rebuild ended: 0 every file is the same, None not at its end; and its last lines."""

    lane: str
    exit_code: int | None
    made_in_s: float | None
    rebuilt_in_s: float | None
    said: tuple[str, ...]


def write_experiment(folder: Path) -> Path:
    """Write the demo's experiment with few items, and its data; evaluation is not the point."""
    settings = yaml.safe_load((ROOT / "lanes" / "experiment.demo.yaml").read_text(encoding="utf-8"))
    run(
        [sys.executable, str(ROOT / "scripts" / "make_tiny_data.py"), "--output", str(folder / "data")],
        folder,
    )
    settings["base_model"]["source"] = str(BASE_MODEL)
    for name in settings["data"]:
        settings["data"][name]["source"] = f"../data/{name}.jsonl"
    settings["evaluation"]["limit_items"] = 4
    settings["speed"] = SMALL_SPEED
    lanes = folder / "lanes"
    lanes.mkdir(parents=True, exist_ok=True)
    for path in [*(ROOT / "lanes").glob("lane*.yaml"), ROOT / "lanes" / "licences.yaml"]:
        shutil.copyfile(path, lanes / path.name)
    shutil.copytree(ROOT / "lanes" / "benchmarks", lanes / "benchmarks", dirs_exist_ok=True)
    (lanes / "experiment.yaml").write_text(yaml.safe_dump(settings, allow_unicode=True), encoding="utf-8")
    return lanes / "experiment.yaml"


def write_interpreter(folder: Path) -> Path:
    """Write a stand-in for a virtual environment: this interpreter, with the packages that it sees."""
    python = folder / "venv" / "bin" / "python"
    python.parent.mkdir(parents=True, exist_ok=True)
    seen = os.environ.get("PYTHONPATH", "")
    python.write_text(
        f'#!/bin/sh\nPYTHONPATH="$PYTHONPATH:{seen}" exec {sys.executable} "$@"\n', encoding="utf-8"
    )
    python.chmod(0o755)
    return python.parents[1]


def run(
    command: list[str], folder: Path, environment: Mapping[str, str] | None = None, *, check: bool = True
) -> subprocess.CompletedProcess[str]:
    """Run a command in a folder; its output ends up in the error where it fails and must not."""
    done = subprocess.run(
        command, cwd=folder, env=environment, text=True, check=False,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    if check and done.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout[-3000:]}")
    return done


def rebuild_lane(lane: str, folder: Path, experiment: Path, venv: Path, engine: list[str]) -> Rebuild:
    """Run a lane, bundle it, and rebuild it from the bundle."""
    folder.mkdir(parents=True, exist_ok=True)
    begun = time.perf_counter()
    files = ["--experiment", str(experiment), "--store", str(folder / "store")]
    run([sys.executable, str(ROOT / "scripts" / "run_all.py"), *files, *engine, "--only", lane], folder)
    made = time.perf_counter()
    bundle = folder / "bundle.zip"
    run([sys.executable, str(ROOT / "scripts" / "bundle.py"), lane, *files, "--output", str(bundle)], folder)
    run([sys.executable, "-m", "zipfile", "-e", str(bundle), str(folder / "again")], folder)
    command = ["bash", str(folder / "again" / "rebuild.sh"), "--base-model", str(BASE_MODEL)]
    command += ["--data", str(experiment.parents[1] / "data")]
    done = run(command, folder, {**os.environ, "VENV": str(venv)}, check=False)
    lines = [line.rstrip() for line in done.stdout.splitlines() if line.strip()]
    said = tuple(line.replace(str(folder), "…") for line in lines[-NAMED:])
    ended = time.perf_counter()
    return Rebuild(lane, done.returncode, round(made - begun, 1), round(ended - made, 1), said)


def render(result: Mapping[str, Any]) -> str:
    """Return the result as a page."""
    gpus = "; ".join(f"{gpu['name']}, driver {gpu['driver']}" for gpu in result["gpus"]) or "no GPU"
    versions = ", ".join(f"{name} {version}" for name, version in result["versions"].items())
    lines = [
        f"# Lanes rebuilt from their bundles on {result['device']}, {result['date']}",
        "",
        "Each lane of the tiny model was made, bundled and rebuilt in an empty folder on the same machine. "
        f"{gpus}; {versions}. Made by `{result['made_by']}` at commit `{result['commit']}`.",
        "",
        "| lane | every file the same | rebuilt in s | what the rebuild said last |",
        "| :--- | :--- | ---: | :--- |",
    ]
    for one in result["rebuilds"]:
        known = {0: "yes", 1: "**no**", None: "not known"}
        same = known.get(one["exit_code"], f"**failed** ({one['exit_code']})")
        said = one["said"][-2:] if one["exit_code"] == 0 else one["said"]
        seconds = "" if one["rebuilt_in_s"] is None else f"{one['rebuilt_in_s']:.0f}"
        lines.append(f"| `{one['lane']}` | {same} | {seconds} | {'<br>'.join(said)} |")
    lines += ["", *result.get("notes", ())]
    return "\n".join([*lines, ""]).replace("\n\n\n", "\n\n").rstrip("\n") + "\n"


def main() -> None:
    """Rebuild all, and write the result."""
    parser = measure.make_parser(__doc__)
    parser.add_argument(
        "--folder", type=Path, required=True, help="an empty one: stores, bundles, the result"
    )
    parser.add_argument("--lanes", default=LANES, help="with commas between (default: %(default)s)")
    parser.add_argument(
        "--engine", choices=("vllm", "transformers"), default="transformers", help="evaluates"
    )
    parser.add_argument("--at-once", type=int, default=2, metavar="N", help="lanes (default: %(default)s)")
    parser.add_argument("--commit", default=read_commit(), help="stands in the result (default: git's)")
    args = parser.parse_args()
    folder = args.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    experiment, venv = write_experiment(folder), write_interpreter(folder)
    with ThreadPoolExecutor(args.at_once) as many:
        rebuilds = list(
            many.map(
                lambda lane: rebuild_lane(lane, folder / lane, experiment, venv, ["--engine", args.engine]),
                args.lanes.split(","),
            )
        )
    result = {
        "made_by": "scripts/benchmarks/run_rebuilds.py",
        "date": datetime.now(timezone.utc).date().isoformat(),
        "device": name_hardware(list_devices()),
        "gpus": [{"name": gpu.name, "driver": gpu.driver, "cuda": gpu.cuda} for gpu in query_gpus()],
        "versions": find_versions(LIBRARIES),
        "commit": args.commit,
        "rebuilds": [asdict(one) for one in rebuilds],
    }
    (folder / "rebuilds.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    (folder / "rebuilds.md").write_text(render(result), encoding="utf-8")
    print(render(result))


if __name__ == "__main__":
    main()
