"""The embedded main job: lanes in, ranking and packages out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from lanekit.commands.view import RunView
from lanekit.execute.driver import run_plan
from lanekit.execute.stage import StageCaller
from lanekit.plan.graph import Plan
from lanekit.plan.state import RunState
from lanekit.results.course import Director, Outcome
from lanekit.results.folder import clear_packages, export_package, export_ranking
from lanekit.spec.experiment_file import Experiment
from lanekit.spec.params import EngineParams
from lanekit.store.folder import FolderStore


@dataclass
class Session:
    """What one command needs to run plans here; `hardware` names the device speeds are measured on."""

    experiment: Experiment
    store: FolderStore
    call: StageCaller
    engine: EngineParams
    lock_digests: Mapping[str, str]
    console: Console
    slots: int = 1
    hardware: str = ""

    def run(self, plan: Plan) -> RunState:
        """Run a plan under the live view."""
        with RunView(plan, self.console) as view:
            return run_plan(plan, self.store, self.call, view, self.slots)

    def follow(self, director: Director) -> Outcome:
        """Run each plan of a director in turn; see results.course."""
        plan = next(director)
        while True:
            try:
                plan = director.send(self.run(plan))
            except StopIteration as end:
                outcome: Outcome = end.value
                return outcome


def export_outcome(store: FolderStore, outcome: Outcome, results: Path, submissions: Path) -> None:
    """Copy the tables to the results folder, the packages and their zips to the submissions folder."""
    export_ranking(store.fetch_artifact(outcome.summary), results)
    clear_packages(submissions)
    for position, package in enumerate(outcome.packages.values(), start=1):
        export_package(store.fetch_artifact(package), submissions, position)
