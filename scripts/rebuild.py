"""Make the package of an unpacked bundle again and compare every file; rebuild.sh of the bundle calls this.

It runs the code of the bundle's own commit. The stages' results stay in the work folder: run again, it goes
on from what is committed there.

Exit codes: 0 every file is the same; 1 one differs (the first is named, with the stage where that begins and
what is different on this machine), or a stage failed; 2 the input is at fault.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from rich.console import Console

from lanekit.commands import cli
from lanekit.commands.preflight import read_inputs
from lanekit.commands.reproduction.bundle import LANES, Bundle, is_handed_in, read_bundle
from lanekit.commands.reproduction.comparison import compare_package, compare_plans, find_first_stage
from lanekit.commands.reproduction.environment import compare_environments, look_at_environment
from lanekit.commands.reproduction.planning import plan_package
from lanekit.commands.reproduction.sources import place_sources
from lanekit.errors import PermanentError
from lanekit.plan.graph import Plan
from lanekit.store.folder import FolderStore
from lanekit.store.manifest import Manifest

STORE = "store"
UNEXPLAINED = (
    "nothing that is recorded: device, libraries and sources are the same; a kernel that adds in another "
    "order each time would do it"
)


def main() -> int:
    """Rebuild and compare; see the docstring for the exit codes."""
    args = parse_arguments()
    bundle = read_bundle(args.bundle)
    inputs = read_inputs(args.bundle / LANES / bundle.experiment_file, has_all_lanes=False)
    (lane,) = inputs.choose_lanes([bundle.lane])
    experiment, notes = place_sources(bundle, inputs.experiment, args.base_model, args.data)
    settings = argparse.Namespace(store=args.work / STORE, engine=None, slots=1)
    session = cli.make_looking_session(settings, experiment)
    plan = plan_package(experiment, lane, session.engine, session.lock_digests, inputs.experiment)
    different = compare_environments(bundle.environment, look_at_environment())
    notes += compare_plans(bundle, plan, session.lock_digests)
    tell(session.console, [f"note: {note}" for note in notes])
    tell(session.console, [f"different here: {line}" for line in different])
    with cli.hold_session(session) as working:
        reason = working.run(plan).explain_lane(lane.name)
    if reason:
        raise PermanentError(reason, remedy=f"see the stages' logs: {session.store.root / 'logs'}")
    manifests = [m for run in plan.runs.values() if (m := session.store.find_artifact(run)) is not None]
    lines, is_same = explain(bundle, manifests, [*different, *notes])
    tell(session.console, [*lines, f"package: {find_package(session.store, plan)}"])
    return 0 if is_same else cli.EXIT_FAILED


def parse_arguments() -> argparse.Namespace:
    """Return the command line's arguments."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--bundle", type=Path, required=True, metavar="FOLDER", help="the unpacked bundle")
    parser.add_argument("--base-model", type=Path, required=True, metavar="FOLDER", help="the base model")
    parser.add_argument("--data", type=Path, metavar="FOLDER", help="the data sets, by the bundle's names")
    parser.add_argument("--work", type=Path, required=True, metavar="FOLDER", help="where the store goes")
    return parser.parse_args()


def explain(bundle: Bundle, manifests: list[Manifest], different: list[str]) -> tuple[list[str], bool]:
    """Return what the comparison says, and whether every file is the same."""
    found = compare_package(bundle, manifests[-1])
    n_files = sum(map(is_handed_in, bundle.package.files))
    if not found:
        return [
            f"the same: all {n_files} files of {bundle.package.name}, the zip among them, by sha256"
        ], True
    lines = [f"different: {len(found)} of {n_files} files of {bundle.package.name}", f"first: {found[0]}"]
    first = find_first_stage(bundle, manifests)
    if first is None:
        lines.append("it begins in the packaging itself: every stage before it gave the same files")
    else:
        record, manifest, difference = first
        lines.append(f"it begins at the stage {record.stage} ({record.name}): {difference}")
        versions = compare_versions(record.versions, dict(manifest.versions))
        lines += [f"that stage ran with {line}" for line in versions]
    why = different or [UNEXPLAINED]
    return [*lines, *(f"what may be why: {line}" for line in why)], False


def compare_versions(recorded: dict[str, str], here: dict[str, str]) -> list[str]:
    """Return the libraries of a stage's own process that were of other versions."""
    names = [name for name in sorted({*recorded, *here}) if recorded.get(name) != here.get(name)]
    return [
        f"{name} {here.get(name, 'not there')}, in the bundle {recorded.get(name, 'not there')}"
        for name in names
    ]


def find_package(store: FolderStore, plan: Plan) -> Path:
    """Return the folder of the package that was made."""
    *_, package = plan.runs.values()
    return store.locate(package)


def tell(console: Console, lines: list[str]) -> None:
    """Print lines as they are."""
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)


if __name__ == "__main__":
    cli.run_main(main)
