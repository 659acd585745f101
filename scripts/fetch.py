"""Bring the results of an ended run of the Docker Compose stack to this host, as run_all.py leaves them.

Tables and metrics go to results/, the best packages and their zips to submissions/. Every file is compared
with its manifest's sha256; an interrupted fetch goes on where it stopped. With --store every artifact of
the run comes too, into a folder store from which `run_all.py --store FOLDER` goes on.

  python scripts/fetch.py                        # where there is one run
  python scripts/fetch.py RUN --results results --submissions submissions
  python scripts/fetch.py RUN --store .lanekit/store
"""

from __future__ import annotations

from lanekit.commands import cli
from lanekit.commands.session import export_outcome
from lanekit.commands.stack.cli import add_run_argument, choose_run, make_stack_parser, open_stack
from lanekit.commands.stack.fetch import build_outcome, find_wanted, list_all_refs, mirror_artifacts
from lanekit.commands.stack.health import StackError, check_minio
from lanekit.commands.stack.status import read_phase
from lanekit.errors import InputError
from lanekit.execute.driver import hold_store
from lanekit.files.pruning import DAY_S, Bound
from lanekit.host.checkout import find_project_root
from lanekit.host.settings import STACK_CACHE, load_host_settings
from lanekit.host.stack_settings import load_operator_settings
from lanekit.results.folder import check_results
from lanekit.results.ledger import LEDGER_NAME, read_ledger
from lanekit.results.packages import check_submissions
from lanekit.store.folder import FolderStore
from lanekit.store.prune import prune_cache
from ranker.report.ledger_section import refresh_tables

CACHE_BOUND = Bound(size_bytes=30_000_000_000, age_s=30 * DAY_S)


def main() -> int:
    """Fetch the run; the exit code is 2 where it has not ended."""
    settings = load_host_settings()
    parser = make_stack_parser(__doc__)
    add_run_argument(parser)
    parser.add_argument(
        "--results",
        type=cli.read_folder,
        default=settings.results,
        help="folder of the tables (default: %(default)s)",
    )
    parser.add_argument(
        "--submissions",
        type=cli.read_folder,
        default=settings.submissions,
        help="folder of the packages (default: %(default)s)",
    )
    parser.add_argument(
        "--store",
        type=cli.read_folder,
        help="mirror every artifact into this store "
        f"(default: the ranking and the packages, into {STACK_CACHE})",
    )
    args = parser.parse_args()
    problem = check_minio(load_operator_settings(args.env_file))  # Redis is not needed
    if problem:
        raise StackError([problem])
    stack = open_stack(args.env_file, workers=None)
    run_id = choose_run(stack.documents.list_runs(), args.run)
    ended = stack.read_outcome(run_id)
    if ended is None:
        raise InputError(
            f"run {run_id} has not ended: {read_phase(stack, run_id)}",
            remedy=f"python scripts/status.py {run_id} --watch",
        )
    check_results(args.results, [record.lane for record in ended.records])
    check_submissions(args.submissions, len(ended.packages))
    ledger = find_project_root() / "lanes" / LEDGER_NAME
    read_ledger(ledger)  # its faults are told before the work, not after
    console = cli.make_console()
    outcome = build_outcome(stack, ended)
    wanted = find_wanted(stack, [outcome.summary, *outcome.packages.values()], must_exist=True)
    if args.store:
        spec = stack.read_run(run_id)
        wanted += find_wanted(stack, list_all_refs(spec, outcome), must_exist=False)
    store = FolderStore(args.store or STACK_CACHE)
    with hold_store(store):
        fetched_bytes = mirror_artifacts(stack, wanted, store, console)
        exported = export_outcome(store, outcome, args.results, args.submissions)
        exported += refresh_tables(args.results, ledger)
        if args.store is None:
            removed = prune_cache(STACK_CACHE, [item.ref for item in wanted], CACHE_BOUND)
            exported += [f"removed from {STACK_CACHE}, not used for long: {place}" for place in removed]
    fetched = f"fetched {fetched_bytes / 1e6:.1f} MB" if fetched_bytes else "everything is here already"
    console.print(
        f"run {run_id} ({ended.phase}): {fetched}, every file's sha256 checked",
        highlight=False,
        soft_wrap=True,
    )
    for line in (*exported, f"artifacts: {store.root}"):
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    return 0


if __name__ == "__main__":
    cli.run_main(main)
