"""The plan of one lane's package: the chain of its model, then the package, and nothing that evaluates.
Pure."""

from __future__ import annotations

from collections.abc import Mapping

from lanekit.plan.graph import LanePlan, Plan
from lanekit.plan.planner import plan_lanes
from lanekit.plan.run_document import describe_ranking
from lanekit.results.course import make_package_run
from lanekit.spec.evaluation import EngineParams
from lanekit.spec.experiment_file import Experiment
from lanekit.spec.lane_file import Lane


def plan_package(
    experiment: Experiment,
    lane: Lane,
    engine: EngineParams,
    lock_digests: Mapping[str, str],
    written: Experiment | None = None,
) -> Plan:
    """Plan a lane's package over an experiment whose sources carry digests; the package is the last run.

    Args:
        written: the experiment as its file has it, where a local copy stands in for the base model on the
            hub: the package's card names the model, not the copy.
    """
    whole = plan_lanes(experiment, [lane], engine, lock_digests)
    model = whole.lanes[lane.name].model_key
    base = next(key for key, run in whole.runs.items() if run.type.name == "fetch_model")
    needed = whole.collect_needed(model) | {base}
    plan = Plan({key: run for key, run in whole.runs.items() if key in needed})
    ranking = describe_ranking(written or experiment)
    own = lane.engine.reduce(engine)
    package = make_package_run(lane.name, whole.runs[model], whole.runs[base], ranking, lock_digests, own)
    plan.runs[package.key] = package
    title = f"package {lane.name}"
    plan.lanes[lane.name] = LanePlan(lane.name, title, "Package", (*plan.runs,), package.key)
    return plan
