"""The preflight of the commands: gathers what the checks need, tells the warnings, stops at the faults."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from rich.console import Console

from lanekit.commands.data_look import look_at_data
from lanekit.commands.setup.libraries import (
    LIBRARIES,
    LOCKS_FOLDER,
    VLLM_BUILDS,
    choose_lock,
    compare_pin,
    read_lock,
)
from lanekit.errors import InputError, TransientError
from lanekit.files.hashing import list_source
from lanekit.files.small_files import SmallFiles
from lanekit.files.strict_yaml import FileProblem, InputProblems, YamlDocument, read_yaml
from lanekit.host.checkout import find_project_root
from lanekit.host.devices import detect_cuda
from lanekit.host.gpu_query import run_query
from lanekit.host.probe import find_versions, query_capability, read_library_text
from lanekit.plan.preflight.checks import find_faults
from lanekit.plan.preflight.data import check_data
from lanekit.plan.preflight.environment import check_environment
from lanekit.plan.preflight.finding import Finding, PreflightError, from_error, make_findings, raise_faults
from lanekit.plan.preflight.request import Host, Request
from lanekit.plan.preflight.serving import check_kernels
from lanekit.sources.model_files import look_at_model
from lanekit.sources.resolve import is_wanted
from lanekit.sources.revisions import COMMIT, REVISIONS_NAME, Revisions, load_revisions
from lanekit.spec.calibration import CORPORA, find_spare_sources
from lanekit.spec.evaluation import EngineParams
from lanekit.spec.experiment_file import Experiment, is_local, read_experiment_lanes
from lanekit.spec.lane_file import Lane, find_passed_over, select_lanes
from lanekit.spec.params import Source
from lanekit.spec.selection import keep_selected

AUTO_FILES = "transformers/models/auto/{}_auto.py"


@dataclass
class Inputs:
    """What a command read.

    Attributes:
        lanes: the lanes that can be read, also those that the experiment does not run.
        document: the experiment file, for the places of its values.
        revisions: the pins beside it.
        problems: what is wrong with the lane files that cannot be read.
        passed_over: lane files that are not read for their names' sake.
    """

    experiment: Experiment
    lanes: list[Lane]
    document: YamlDocument
    revisions: Revisions
    problems: list[FileProblem] = field(default_factory=list)
    passed_over: list[Finding] = field(default_factory=list)

    def choose_lanes(
        self, names: list[str], max_lanes: int | None = None, *, every: bool = False
    ) -> list[Lane]:
        """Return the lanes that are wanted; all that can be read where a file is at fault.

        The one that is wanted may be among those at fault, and all of them are told at once.

        Args:
            names: any of the lanes; where there is none, those that the experiment runs.
            every: where there is none, every lane.

        Raises:
            InputError: names beside `every`, or an unknown one; tells of the files that are passed over, too.
        """
        if names and every:
            raise InputError(
                "--all-lanes runs every lane, and lanes are named as well", remedy="leave one of them out"
            )
        if self.problems:
            return self.lanes
        try:
            known = self.lanes if names or every else keep_selected(self.lanes, self.experiment.lanes)
            return select_lanes(known, names, max_lanes)
        except InputError as error:
            notes = "".join(f"\n{finding.where}: {finding.message}" for finding in self.passed_over)
            remedy = "; ".join([error.remedy, *(finding.remedy for finding in self.passed_over)])
            raise InputError(error.message + notes, remedy=remedy) from error


def read_inputs(
    path: Path,
    override: Callable[[Experiment], Experiment] | None = None,
    revisions: Revisions | None = None,
    *,
    has_all_lanes: bool = True,
) -> Inputs:
    """Read an experiment, its lanes and its pins.

    Args:
        has_all_lanes: whether the lanes that the experiment names must be there; a bundle carries one.

    Raises:
        PreflightError: the experiment file is at fault; every problem of it and of the lane files.
        InputError: there are no lane files, or an option is at fault.
    """
    try:
        experiment, lanes, problems = read_experiment_lanes(path, has_all_lanes=has_all_lanes)
    except InputProblems as error:
        raise PreflightError(make_findings(error.problems)) from error
    if override:
        experiment = override(experiment)
    if revisions is None:
        revisions = load_revisions(path.parent / REVISIONS_NAME)
    return Inputs(experiment, lanes, read_yaml(path), revisions, problems, list_passed_over(path.parent))


def list_passed_over(folder: Path) -> list[Finding]:
    """Return a warning for each lane file that is not read for its name's sake."""
    return [
        Finding(
            str(path),
            "this lane file is not read: its name is not of the form lane<number>_<words>.yaml",
            f"rename it, e.g. to {_propose_name(path)}",
            "warning",
        )
        for path in find_passed_over(folder)
    ]


def _propose_name(path: Path) -> str:
    words = re.sub(r"[^a-z0-9_]+", "_", path.name.lower().split(".")[0])
    return f"{words if words.startswith('lane') else 'lane13_' + words}.yaml"


@dataclass(frozen=True)
class Asked:
    """What a command is about to do.

    Attributes:
        lanes: the chains of stages that it runs.
        engine: the engine that evaluates; None where nothing is evaluated.
        engine_option: the option that named the engine; empty where the experiment file does.
        host: where the stages run.
        model: the model that goes in, where it is not the experiment's base model.
        is_base: whether that model stands for the base model.
        has_teacher: whether a model of its own teaches.
        reads_corpus: whether the corpus is prepared whatever the stages are.
        parts: the sources that are read; see `sources.resolve.resolve_sources`.
    """

    lanes: Sequence[Lane] = ()
    engine: EngineParams | None = None
    engine_option: str = ""
    host: Host | None = None
    model: Source | None = None
    is_base: bool = False
    has_teacher: bool = False
    reads_corpus: bool = False
    parts: tuple[str, ...] = ("base_model", "data")


def check_inputs(inputs: Inputs, asked: Asked) -> None:
    """Check everything that is known before the first stage; tell the warnings.

    Raises:
        PreflightError: with all faults.
    """
    findings = collect_findings(inputs, asked)
    tell_warnings(findings)
    raise_faults(findings)


def collect_findings(inputs: Inputs, asked: Asked) -> list[Finding]:
    """Return every finding about what a command is about to do."""
    experiment = inputs.experiment
    findings = [*make_findings(inputs.problems), *inputs.passed_over]
    spare = find_spare_sources(stage.params for lane in asked.lanes for stage in lane.stages)
    wanted = [name for name in experiment.data if is_wanted(name, asked.parts) and name not in spare]
    sources = {name: experiment.data[name] for name in wanted}
    request = Request(
        experiment, inputs.document, tuple(asked.lanes), engine=asked.engine,
        engine_option=asked.engine_option, host=asked.host, has_teacher=asked.has_teacher,
        reads_corpus=asked.reads_corpus,
    )  # fmt: skip
    absent = {name: _find_absent(request.locate("data", name), source) for name, source in sources.items()}
    findings += [finding for found in absent.values() for finding in found]
    there = {name: source for name, source in sources.items() if not absent[name]}
    read = [
        name for name in there if (name in request.corpora if name in CORPORA else request.needs_benchmarks)
    ]
    request = replace(request, data=look_at_data(there, read, experiment.corpus))
    findings += check_data(request)
    if asked.model is not None:
        looked = _look(asked.model.source, asked.model, inputs.revisions, findings)
        findings += find_faults(replace(request, model=looked, is_base=asked.is_base))
        request = replace(request, lanes=(), engine=None, reads_corpus=request.needs_corpus)
    if "base_model" in asked.parts:
        where = request.locate("base_model", "source")
        looked = _look(where, experiment.base_model, inputs.revisions, findings)
        findings += find_faults(replace(request, model=looked))
    return list(dict.fromkeys(findings))


def check_host(inputs: Inputs, asked: Asked) -> None:
    """Check the engine, the devices and their kernels alone, for a host that is known later than all else.

    Raises:
        PreflightError: with all faults.
    """
    request = Request(
        inputs.experiment, inputs.document, tuple(asked.lanes), engine=asked.engine,
        engine_option=asked.engine_option, host=asked.host,
    )  # fmt: skip
    findings = [*check_environment(request), *check_kernels(request)]
    tell_warnings(findings)
    raise_faults(findings)


def _find_absent(where: str, source: Source) -> list[Finding]:
    if not is_local(source.source):
        return []
    try:
        list_source(Path(source.source).expanduser())
    except InputError as error:
        return [from_error(where, error)]
    return []


def _look(where: str, source: Source, revisions: Revisions, findings: list[Finding]) -> SmallFiles | None:
    """Look at a model's small files; what stands in the way is added to the findings."""
    try:
        return look_at_model(source, revisions)
    except InputError as error:
        findings.append(from_error(where, error))
    except TransientError as error:
        if _is_pinned(source, revisions):  # else its commit is asked for next, which tells the same
            message = f"the model's files were not looked at: {error.message}"
            findings.append(Finding(where, message, error.remedy, "warning"))
    return None


def _is_pinned(source: Source, revisions: Revisions) -> bool:
    pinned = revisions.find("model", source.source, source.revision)
    return bool(pinned or COMMIT.match(source.revision))


def look_at_host(root: Path | None = None) -> Host:
    """Return what this machine and its libraries are, for stages that run here."""
    found = find_versions([*LIBRARIES, *VLLM_BUILDS])
    locked = read_lock((root or find_project_root()) / LOCKS_FOLDER / choose_lock(found))
    pins = {name: compare_pin(name, found.get(name, ""), locked.get(name), "") for name in LIBRARIES}
    has_cuda = detect_cuda()
    return Host(
        has_cuda=has_cuda,
        gpu=next(iter(run_query(["name"]).splitlines()), "") if has_cuda else "",
        vllm_builds=tuple(name for name in VLLM_BUILDS if name in found),
        missing=tuple(name for name in LIBRARIES if name not in found),
        differing=tuple(
            f"{name} {pin.found}" for name, pin in pins.items() if pin.level == "fault" and name in found
        ),
        model_types=read_library_text("transformers", AUTO_FILES.format("configuration")),
        tokenizers=read_library_text("transformers", AUTO_FILES.format("tokenization")),
        capability=query_capability() if has_cuda else None,
    )


def tell_warnings(findings: Iterable[Finding]) -> None:
    """Print the warnings to the error output, and the notices in one line each."""
    console = Console(stderr=True)
    for finding in findings:
        if finding.level == "warning":
            console.print(f"! {finding}", style="yellow", markup=False, highlight=False, soft_wrap=True)
        elif finding.level == "notice":
            shown = f"i {finding.where}: {finding.message}"
            console.print(shown, style="dim", markup=False, highlight=False, soft_wrap=True)
