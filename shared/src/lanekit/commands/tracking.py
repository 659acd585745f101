"""An MLflow server, or its database, as a second place to look at: each lane a run. Off unless it is named.

The commands that write the results folder call this, for there the ranking is at hand whoever drove the run,
here or in the composed stack; a stage would log again, or not at all, where its artifact is reused. The
tracker is a copy: nothing reads it, and what it refuses is a warning.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from typing import TYPE_CHECKING

from lanekit.commands.preflight import tell_warnings
from lanekit.commands.tracked import Tracked, describe_lanes
from lanekit.host.failures import hide_secrets
from lanekit.host.probe import try_connect
from lanekit.plan.preflight.finding import Finding
from lanekit.results.course import Outcome
from lanekit.store.folder import FolderStore

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

VARIABLE = "LANEKIT_MLFLOW_URI"
LANE_KEY = "lanekit.lane_key"
INSTALL = "run ./scripts/dev setup --mlflow, or unset the variable"
AGAIN = "mend what it names, and run the same command again: nothing that is committed is made anew"
SERVER_SCHEMES = ("http://", "https://")
MOST_PARAMETERS = 100  # in one request
MAX_WORDS_CHARACTERS = 300
# A person waits at the end of a run, and mlflow would try for minutes and tell its makers of the use.
CLIENT_SETTINGS = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "GIT_PYTHON_REFRESH": "quiet",
}


def check_tracker(uri: str) -> list[Finding]:
    """Return what will keep lanes from being tracked, as far as it shows at once; none where it is off."""
    if not uri:
        return []
    if find_spec("mlflow") is None:
        return [_warn("it is set, and mlflow is not installed: nothing will be tracked", INSTALL)]
    obstacle = try_connect(uri) if uri.startswith(SERVER_SCHEMES) else ""
    if obstacle:
        said = f"the server {show_address(uri)} does not answer: {obstacle}"
        return [_warn(said, "start it, correct the address, or unset the variable")]
    return []


def track_outcome(uri: str, outcome: Outcome, store: FolderStore) -> list[str]:
    """Log each lane of a ranking, and return the line that says where; what fails is one warning.

    A lane's run is found again by what it was made from, so that a run that goes on, or is ranked again,
    changes it and adds none.
    """
    if not uri:
        return []
    findings = check_tracker(uri)
    if not findings:
        try:
            lanes = describe_lanes(outcome, store)
            log_lanes(uri, outcome.ranking.experiment, lanes)
        except Exception as error:  # whatever a library, a server or a database says: the run has succeeded
            findings = [_warn(f"not tracked: {_shorten(error)}", AGAIN)]
        else:
            return [f"tracked: {len(lanes)} lanes in {show_address(uri)}"]
    tell_warnings(findings)
    return []


def log_lanes(uri: str, experiment: str, lanes: list[Tracked]) -> None:
    """Log lanes to the experiment of a name, which is made where it is not there.

    Raises:
        Exception: of whatever kind mlflow raises.
    """
    for name, value in CLIENT_SETTINGS.items():
        os.environ.setdefault(name, value)
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=uri)
    found = client.get_experiment_by_name(experiment)
    experiment_id = found.experiment_id if found else client.create_experiment(experiment)
    for lane in lanes:
        _log_lane(client, experiment_id, lane)


def _log_lane(client: MlflowClient, experiment_id: str, lane: Tracked) -> None:
    """Log one lane; of a run that is there, what is new or has changed."""
    from mlflow.entities import Metric, Param, RunTag
    from mlflow.utils.time import get_current_time_millis

    runs = client.search_runs([experiment_id], f"tags.`{LANE_KEY}` = '{lane.key}'", max_results=1)
    run = runs[0] if runs else client.create_run(experiment_id, tags={LANE_KEY: lane.key}, run_name=lane.name)
    run_id, now = run.info.run_id, get_current_time_millis()
    params = [Param(name, value) for name, value in lane.parameters.items() if name not in run.data.params]
    metrics = [
        Metric(name, value, now, 0)
        for name, value in lane.metrics.items()
        if run.data.metrics.get(name) != value
    ]
    tags = [RunTag(name, value) for name, value in lane.tags.items() if run.data.tags.get(name) != value]
    for name in _find_gone(run.data.tags, lane):
        client.delete_tag(run_id, name)
    for begin in range(0, len(params), MOST_PARAMETERS):
        client.log_batch(run_id, params=params[begin : begin + MOST_PARAMETERS])
    if metrics or tags:
        client.log_batch(run_id, metrics=metrics, tags=tags)
    status = "FAILED" if lane.is_failed else "FINISHED"
    if run.info.status != status:
        client.set_terminated(run_id, status)


def _find_gone(tags: Mapping[str, str], lane: Tracked) -> Iterator[str]:
    """Give the names of our tags that hold no more, as a package's of an earlier ranking."""
    for name in tags:
        if name.startswith("lanekit.") and name != LANE_KEY and name not in lane.tags:
            yield name


def show_address(uri: str) -> str:
    """Return an address as it may be shown."""
    return hide_secrets(uri)


def _warn(message: str, remedy: str) -> Finding:
    return Finding(VARIABLE, message, remedy, "warning")


def _shorten(error: BaseException) -> str:
    text = hide_secrets(" ".join(str(error).split())) or type(error).__name__
    return text if len(text) <= MAX_WORDS_CHARACTERS else text[: MAX_WORDS_CHARACTERS - 1] + "…"
