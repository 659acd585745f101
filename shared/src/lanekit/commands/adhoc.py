"""Single stages on any model, as scripts 02 to 04 run them: same stages, same store, same keys."""

from __future__ import annotations

import argparse
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from lanekit.commands.session import Session
from lanekit.errors import InputError, PermanentError, did_you_mean, explain_os_errors
from lanekit.files.hashing import list_files
from lanekit.files.validation import describe_error
from lanekit.plan.graph import Plan
from lanekit.plan.planner import Planner
from lanekit.sources.resolve import resolve_source
from lanekit.sources.typed import find_source
from lanekit.spec.experiment_file import Experiment
from lanekit.spec.lane_file import Lane, LaneStage
from lanekit.spec.params import Parameters, Source
from lanekit.spec.stages import STAGE_TYPES
from lanekit.store.manifest import MANIFEST_NAME


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that name the model that goes in, the folder that comes out, and parameters."""
    parser.add_argument(
        "--input-model", metavar="MODEL", help="model folder or hub id (default: the experiment's base model)"
    )
    parser.add_argument(
        "--output", type=Path, help="copy the result there (default: it stays in the store alone)"
    )
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", dest="overrides",
        help="another value for a parameter of the stage; repeatable",
    )  # fmt: skip


def add_source_option(parser: argparse.ArgumentParser) -> None:
    """Add the option that puts other data in the place of the experiment's."""
    parser.add_argument(
        "--source", action="append", default=[], metavar="SET=PATH", dest="sources",
        help="use this JSONL or Parquet file, folder or hub id for a data set, e.g. "
        "manta=./train.parquet; repeatable",
    )  # fmt: skip


def replace_sources(experiment: Experiment, sources: list[str]) -> Experiment:
    """Return the experiment with the data of `--source SET=PATH` options.

    Raises:
        InputError: an option is malformed or names an unknown set.
    """
    data = dict(experiment.data)
    for option in sources:
        name, sign, value = option.partition("=")
        if not sign or not value:
            raise InputError(
                f"--source {option}: not of the form SET=PATH",
                remedy="give a data set's name and a path, e.g. manta=./train.parquet",
            )
        if name not in data:
            raise InputError(
                f"--source {option}: unknown data set '{name}'{did_you_mean(name, data)}",
                remedy="known sets: " + ", ".join(data),
            )
        data[name] = data[name].model_copy(update={"source": find_source(value), "rows": None})
    return experiment.model_copy(update={"data": data})


def resolve_model(source: str) -> Source:
    """Return a model given on the command line, with its digest.

    Raises:
        InputError: it is a path at which nothing stands, or the hub has no such model.
    """
    return resolve_source(Source(source=find_source(source)), "model")


def name_model(source: str) -> str:
    """Return a short name for a model given on the command line: of a-z, 0-9, dots, _ and -."""
    name = re.sub(r"[^a-z0-9._]+", "-", Path(find_source(source)).name.lower()).strip("-._")
    return name or "model"


def add_input_model(planner: Planner, source: str | None) -> str:
    """Add the fetching of a model given on the command line, or of the base model; return its key."""
    if source is None:
        return planner.add_base()
    return planner.add_model(name_model(source), resolve_model(source))


def read_value(option: str, text: str) -> Any:
    """Return the value of a `--set NAME=VALUE` option, written as in a YAML file.

    Raises:
        InputError: it is no YAML.
    """
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, LookupError, AttributeError, OverflowError, RecursionError) as error:
        # from ValueError on: PyYAML's own slips, e.g. on a month 13 or a forced tag
        detail = " ".join(str(getattr(error, "problem", None) or error).split())
        raise InputError(
            f"--set {option}: not readable: {detail}",
            remedy="write the value as in a YAML file; text with : { [ * & ! or # stands in quotes",
        ) from error


def make_params(stage: str, defaults: Mapping[str, Any], options: list[str], **fixed: Any) -> Parameters:
    """Return a stage's parameters: the experiment's, then the command's, then its `--set` options.

    Raises:
        InputError: an unknown name or a bad value.
    """
    values = {**defaults, **{name: value for name, value in fixed.items() if value is not None}}
    for option in options:
        name, sign, text = option.partition("=")
        if not sign:
            raise InputError(
                f"--set {option}: not of the form NAME=VALUE", remedy="give both, e.g. --set steps=500"
            )
        values[name.replace("-", "_")] = read_value(option, text)
    model = STAGE_TYPES[stage].params
    try:
        return model.model_validate(values)
    except ValidationError as error:
        found = "; ".join(describe_error(model, detail) for detail in error.errors())
        raise InputError(f"{stage}: {found}", remedy="correct the option, or the experiment file") from error


def make_lane(name: str, command: str, stages: Sequence[tuple[str, Parameters]]) -> Lane:
    """Return a command's stages as a lane, for the preflight; `command` stands where a lane file would."""
    return Lane(
        name,
        name,
        "",
        tuple(LaneStage(STAGE_TYPES[stage], params, Path(command), 0) for stage, params in stages),
    )


def find_model(source: str | None) -> Source | None:
    """Return a model given on the command line as a source without its digest; None where none is given."""
    return None if source is None else Source(source=find_source(source))


def run_to_model(session: Session, plan: Plan, lane: str, output: Path | None) -> Path:
    """Run a plan with one lane and return the folder of its model, copied to `output` where given.

    Raises:
        InputError: `output` is not empty.
        LanekitError: a stage failed.
    """
    if output is not None and output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise InputError(f"{output}: not an empty folder", remedy="choose another --output, or empty it")
    state = session.run(plan)
    reason = state.explain_lane(lane)
    if reason:
        raise PermanentError(reason, remedy="mend that, then run the same command again")
    folder = session.store.fetch_artifact(plan.runs[plan.lanes[lane].model_key])
    if output is None:
        return folder
    with explain_os_errors(f"writing {output}"):
        output.mkdir(parents=True, exist_ok=True)
        for path in list_files(folder):
            if path.name != MANIFEST_NAME:
                target = output / path.relative_to(folder)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, target)
    return output
