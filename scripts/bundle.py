"""Write the bundle from which a lane's package is made again: code, lane, sources, environment, rebuild.sh.

Where a contest asks its winners for code that rebuilds what they handed in. The zip holds the lane file, the
experiment and the pinned revisions; the commit and its source; every lock; the data sources with digests and
licences (lanes/licences.yaml); the corpus rows that the stages read; the machine and its packages; and the
sha256 of every file of every stage. It holds no weights, and is the same bytes twice.

The lane's stages must be in the store (scripts/run_all.py; of a stack, scripts/fetch.py RUN --store FOLDER).
A lane that was not among the best is packaged first. Files that are in no commit are refused, but for those
that the bundle carries itself: what is bundled is a commit.

  python scripts/bundle.py lane12_fp8_static
  python scripts/bundle.py lane04 --experiment lanes/experiment.demo.yaml --output ./lane04.zip
  unzip lane04.zip -d again && bash again/rebuild.sh --base-model ./EXAONE-4.0-1.2B --data ./data

Exit codes: 0; 1 the package could not be made; 2 the input is at fault.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from lanekit.commands import cli
from lanekit.commands.preflight import Inputs, read_inputs
from lanekit.commands.reproduction.bundle import Bundle, SourceRecord, describe_stage, is_handed_in
from lanekit.commands.reproduction.contents import (
    LICENCES_NAME,
    UNKNOWN_LICENCE,
    describe_sources,
    find_own_paths,
    lay_out,
    list_lane_files,
)
from lanekit.commands.reproduction.environment import look_at_environment
from lanekit.commands.reproduction.planning import plan_package
from lanekit.commands.reproduction.source_tree import find_commit, refuse_changes
from lanekit.commands.session import Session
from lanekit.errors import InputError, PermanentError, explain_os_errors
from lanekit.files.strict_yaml import InputProblems
from lanekit.host.checkout import find_project_root
from lanekit.plan.graph import Plan
from lanekit.results.ledger import LEDGER_NAME
from lanekit.sources.resolve import resolve_sources
from lanekit.sources.revisions import REVISIONS_NAME
from lanekit.spec.lane_file import Lane
from lanekit.store.base import is_committed
from lanekit.store.manifest import Manifest
from ranker.package.zipping import write_zip


def main() -> int:
    """Write one lane's bundle; see the docstring for the exit codes."""
    parser = cli.make_parser(__doc__)
    parser.add_argument("lane", metavar="LANE", help="the lane, by name or number")
    parser.add_argument("--output", type=Path, metavar="ZIP", help="the bundle (default: bundle-<lane>.zip)")
    args = parser.parse_args()
    root, path = find_project_root(), args.experiment
    inputs = read_inputs(path)
    lane = choose_lane(inputs, args.lane)
    output = args.output or Path(f"bundle-{lane.name}.zip")
    if not output.parent.is_dir():
        raise InputError(f"{output.parent}: no such folder", remedy="make it, or pass another --output")
    carried = [
        *list_lane_files(inputs, path, lane.name),
        *(path.parent / n for n in (REVISIONS_NAME, LEDGER_NAME)),
    ]
    commit = find_commit(root)
    refuse_changes(root, [*carried, output])
    experiment = resolve_sources(inputs.experiment, revisions=inputs.revisions, lanes=[lane])
    session = cli.make_looking_session(args, experiment)
    plan = plan_package(experiment, lane, session.engine, session.lock_digests)
    manifests = commit_package(session, plan, lane)
    bundle = Bundle(
        lane=lane.name,
        experiment=experiment.name,
        experiment_file=path.name,
        commit=commit,
        lock_digests=dict(session.lock_digests),
        sources=describe_sources(inputs.experiment, experiment, plan, path.parent),
        stages=tuple(describe_stage(run, m) for run, m in zip(plan.runs.values(), manifests, strict=True)),
        environment=look_at_environment(),
    )
    with (
        explain_os_errors(f"writing {output}"),
        tempfile.TemporaryDirectory(prefix=".bundle-", dir=output.parent) as scratch,
    ):
        folder = Path(scratch) / "bundle"
        folder.mkdir()
        lay_out(folder, bundle, inputs, path, plan, session.store, root)
        size_bytes = write_zip(folder, Path(scratch) / "bundle.zip")
        (Path(scratch) / "bundle.zip").replace(output)
    handed = [name for name in bundle.package.files if is_handed_in(name)]
    lines = [
        f"{output}: {size_bytes / 1e6:.2f} MB, commit {commit[:12]}, {len(bundle.stages)} stages, "
        f"{len(handed)} files of the package",
        *describe_doubts(bundle.sources, path),
    ]
    for line in lines:
        session.console.print(line, markup=False, highlight=False, soft_wrap=True)
    return 0


def choose_lane(inputs: Inputs, name: str) -> Lane:
    """Return the lane that is asked for.

    Raises:
        InputError: there is none, or a lane file is at fault.
    """
    if inputs.problems:
        raise InputProblems(inputs.problems)
    lanes = inputs.choose_lanes([name])
    if len(lanes) != 1:
        named = ", ".join(lane.name for lane in lanes)
        raise InputError(
            f"'{name}' is {len(lanes)} lanes: {named}", remedy="write one of these names in full"
        )
    return lanes[0]


def commit_package(session: Session, plan: Plan, lane: Lane) -> list[Manifest]:
    """Return the manifests of a plan's runs, in its order; the package is made where it is not there.

    Raises:
        InputError: a stage is not in the store.
        PermanentError: the package cannot be made.
    """
    *stages, package = plan.runs.values()
    missing = [run.name for run in stages if not is_committed(session.store, run)]
    if missing:
        raise InputError(
            f"{lane.name}: not in the store {session.store.root}: {', '.join(missing)}",
            remedy=f"python scripts/run_all.py --only {lane.name}, with this --experiment and --store; or "
            "check out the commit whose code and locks made what is there",
        )
    if not is_committed(session.store, package):
        with cli.hold_session(session) as working:
            reason = working.run(plan).explain_lane(lane.name)
        if reason:
            raise PermanentError(reason, remedy="see the package's log (logs/ in the store)")
    found = [session.store.find_artifact(run) for run in plan.runs.values()]
    return [manifest for manifest in found if manifest is not None]


def describe_doubts(sources: dict[str, SourceRecord], experiment: Path) -> list[str]:
    """Return what whoever hands the bundle on should know."""
    doubts = []
    unknown = [
        f"{role} ({s.name})" for role, s in sources.items() if s.licence == UNKNOWN_LICENCE and s.needed
    ]
    if unknown:
        place = experiment.parent / LICENCES_NAME
        doubts.append(f"no licence is recorded of {', '.join(unknown)}: write it into {place}")
    written = find_own_paths(experiment)
    if written:
        told = ", ".join(f"{path} (line {line})" for line, path in written)
        doubts.append(
            f"{experiment} goes into the bundle with paths of this machine: {told}; where they are nobody "
            "else's business, write them relative to the file, with ./ or ../"
        )
    return doubts


if __name__ == "__main__":
    cli.run_main(main)
