"""A small experiment with the tiny model, to be spoilt in one place at a time."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import yaml

from lanekit.commands.preflight import Asked, collect_findings, read_inputs
from lanekit.host.checkout import find_project_root
from lanekit.plan.evaluation import plan_engine
from lanekit.plan.preflight.finding import Finding
from lanekit.plan.preflight.request import Host
from lanekit.spec.calibration import CORPORA

CPU_HOST = Host(has_cuda=False, vllm_builds=())
N_CORPUS_ROWS = 300
SAMPLE_ROWS = 12
ANSWER = {"role": "assistant", "content": "안녕하세요."}
CHOICE = {"options": ["가", "나", "다", "라"], "solution": "1"}
DOCUMENT = {
    "titles": "가",
    "context": "나",
    "answer": "라",
    "prompt": "{context} {question}",
    "task": "single",
}


def make_row(name: str, number: int) -> dict[str, Any]:
    """Return a good row of a data set; no two are alike."""
    question = f"문항 {number}?"
    rows: dict[str, dict[str, Any]] = {
        "manta": {"conversations": [{"role": "user", "content": question}, ANSWER], "complexity": 1.0},
        "general": {"messages": [{"role": "user", "content": f"Question {number}?"}, ANSWER]},
        "ko_longrag": {"id": str(number), "question": question, **DOCUMENT},
        "komt_bench": {"turns": [question, "그리고?"], "reference": None},
    }
    return rows.get(name, {"question": question, **CHOICE})


def write_rows(path: Path, rows: Iterable[dict[str, Any]]) -> Path:
    """Write one JSON object a line."""
    lines = (json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    path.write_text("".join(lines), encoding="utf-8")
    return path


class Bench:
    """A folder with lanes, data and a model; `findings` are those of the whole experiment."""

    def __init__(self, folder: Path) -> None:
        root = find_project_root()
        self.folder, self.lanes, self.model = folder, folder / "lanes", folder / "model"
        shutil.copytree(root / "lanes" / "benchmarks", self.lanes / "benchmarks")
        shutil.copytree(root / "scripts" / "tiny" / "fixture", self.model)
        self.experiment = self.lanes / "experiment.yaml"
        demo = (root / "lanes" / "experiment.demo.yaml").read_text(encoding="utf-8")
        settings = yaml.load(demo, yaml.CSafeLoader)
        del settings["lanes"], settings["limit_calibration_rows"]  # the lanes here are others
        settings["base_model"]["source"] = "../model"
        settings["corpus"] = {"train_rows": 200, "validation_rows": 8, "calibration_rows": 32}
        for name, source in settings["data"].items():
            n_rows = N_CORPUS_ROWS if name in CORPORA else SAMPLE_ROWS
            source["source"] = f"../{name}.jsonl"
            write_rows(folder / f"{name}.jsonl", (make_row(name, number) for number in range(n_rows)))
        self._write(settings)
        self.write_lane("lane01_x", "gptq: {scheme: W8A16}")

    def write_lane(self, name: str, *stages: str, suffix: str = ".yaml") -> Path:
        """Write a lane file of these stages, one a line from line 4 on."""
        path = self.lanes / f"{name}{suffix}"
        lines = "".join(f"  - {stage}\n" for stage in stages)
        path.write_text(f"title: a\ngroup: b\nstages:\n{lines}", encoding="utf-8")
        return path

    def change(self, change: Callable[[dict[str, Any]], object]) -> None:
        """Change the experiment's settings in place."""
        settings = yaml.load(self.experiment.read_text(encoding="utf-8"), yaml.CSafeLoader)
        change(settings)
        self._write(settings)

    def _write(self, settings: dict[str, Any]) -> None:
        self.experiment.write_text(
            yaml.dump(settings, Dumper=yaml.CSafeDumper, sort_keys=False), encoding="utf-8"
        )

    def change_json(self, name: str, **values: Any) -> None:
        """Change a JSON file of the model; a value None takes the name out."""
        path = self.model / name
        content = json.loads(path.read_text(encoding="utf-8")) | values
        kept = {key: value for key, value in content.items() if value is not None}
        path.write_text(json.dumps(kept, indent=2), encoding="utf-8")

    def collect(self, host: Host = CPU_HOST, engine: str | None = None) -> list[Finding]:
        """Return all findings of the experiment."""
        inputs = read_inputs(self.experiment)
        chosen = plan_engine(inputs.experiment, lambda: host.has_cuda, engine)
        option = f"--engine {engine}" if engine else ""
        return collect_findings(inputs, Asked(inputs.choose_lanes([]), chosen, option, host))

    def list_texts(self, host: Host = CPU_HOST, engine: str | None = None) -> list[str]:
        """Return the findings as text, this folder's name left out."""
        return [f"{f.where}: {f.message}".replace(f"{self.folder}/", "") for f in self.collect(host, engine)]
