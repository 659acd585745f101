"""The embedded main job: lanes in, ranking and packages out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from lanekit.commands.tracking import track_outcome
from lanekit.commands.view import RunView
from lanekit.execute.driver import run_plan
from lanekit.execute.stage import StageCaller
from lanekit.host.settings import load_host_settings
from lanekit.plan.graph import Plan
from lanekit.plan.state import RunState
from lanekit.results.course import Director, Outcome
from lanekit.results.folder import export_ranking
from lanekit.results.packages import export_packages
from lanekit.spec.evaluation import EngineParams
from lanekit.spec.experiment_file import Experiment
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


def export_outcome(store: FolderStore, outcome: Outcome, results: Path, submissions: Path) -> list[str]:
    """Copy the tables to the results folder, the packages and their zips to the submissions folder.

    Where nothing was ranked, or nothing packaged, what an earlier run left there stays. The tracker is told
    of the lanes, where one is set.

    Returns:
        A line for each thing: where it is, or that it is an earlier run's.
    """
    is_ranked = any(lane.rank is not None for lane in outcome.ranking.lanes)
    tables = export_ranking(store.fetch_artifact(outcome.summary), results, is_ranked=is_ranked)
    lines = [f"tables: {tables}/"]
    if tables != results:
        lines.append(f"nothing was ranked: {results}/ is as the last ranking left it")
    if outcome.packages:
        export_packages([store.fetch_artifact(p) for p in outcome.packages.values()], submissions)
        lines.append(f"packages: {submissions}/")
    else:
        lines.append(f"nothing was packaged: {submissions}/ is as it was")
    return lines + track_outcome(load_host_settings().mlflow_uri, outcome, store)
