"""The demo's twelve lanes under any experiment: what is counted of them stays when a lane joins."""

from __future__ import annotations

from pathlib import Path

from lanekit.host.checkout import find_project_root
from lanekit.spec.experiment_file import Experiment, load_experiment, load_experiment_lanes
from lanekit.spec.lane_file import Lane, select_lanes

DEMO = "experiment.demo.yaml"


def load_twelve(path: Path) -> tuple[Experiment, list[Lane]]:
    """Load an experiment with the lanes that the demo names."""
    experiment, lanes = load_experiment_lanes(path)
    demo = load_experiment(find_project_root() / "lanes" / DEMO)
    return experiment, select_lanes(lanes, list(demo.lanes or ()))
