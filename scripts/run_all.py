"""Run the whole main job: lanes, baseline, evaluation, ranking, top packages.

Stages that several lanes share run once. What is committed to the store is never computed again: stop
this command at any moment, even with kill -9, and run it again. A lane that fails stands in the table
with its reason; the others go on. Beside its score stands how far each lane's next-token distributions lie
from the base's (KL; settings under `screen:` of the experiment file, `screen: null` leaves it out); a lane
whose screen fails is ranked all the same.

  python scripts/run_all.py --experiment lanes/experiment.demo.yaml
  python scripts/run_all.py --experiment lanes/experiment.demo.yaml --all-lanes   # also those it leaves out
  python scripts/run_all.py --only lane01,lane04_fp8_dynamic
  python scripts/run_all.py --max-lanes 3 --plan
  python scripts/run_all.py --only lane01,lane12 --replicates 3   # finalists, over 3 draws each
"""

from __future__ import annotations

import argparse

from lanekit.commands import cli
from lanekit.commands.outcome_table import show_outcome
from lanekit.commands.preflight import Asked, read_inputs, tell_warnings
from lanekit.commands.replicates import add_replicates_option, choose_replicates, describe_replicates
from lanekit.commands.session import export_outcome
from lanekit.commands.tracking import check_tracker
from lanekit.host.settings import load_host_settings
from lanekit.plan.planner import plan_lanes
from lanekit.plan.run_document import describe_run
from lanekit.results.course import direct_run
from lanekit.results.folder import check_results
from lanekit.results.ledger import LEDGER_NAME, read_ledger
from lanekit.results.packages import check_submissions
from lanekit.spec.lane_file import parse_names
from ranker.report.ledger_section import refresh_tables


def parse_arguments() -> argparse.Namespace:
    """Return the command line's options."""
    parser = cli.make_parser(__doc__)
    parser.add_argument("--only", help="lanes to run, by name or number, with commas between")
    parser.add_argument(
        "--all-lanes", action="store_true",
        help="every lane file, also those that `lanes` of the experiment leaves out",
    )  # fmt: skip
    parser.add_argument("--max-lanes", type=int, metavar="N", help="run the first N lanes alone")
    add_replicates_option(parser)
    parser.add_argument("--plan", action="store_true", help="print the plan and stop")
    parser.add_argument(
        "--submissions", type=cli.read_folder, default=load_host_settings().submissions,
        help="folder of the packages (default: %(default)s)",
    )  # fmt: skip
    return parser.parse_args()


def main() -> int:
    """Run the job; the exit code is 1 if a lane failed, a package was refused or nothing was ranked."""
    args = parse_arguments()
    only = parse_names(args.only)
    inputs = read_inputs(args.experiment)
    lanes = choose_replicates(
        inputs.choose_lanes(only, args.max_lanes, every=args.all_lanes),
        args.replicates, is_named=bool(only), how="--only lane01,lane04",
    )  # fmt: skip
    experiment = cli.prepare_inputs(args, inputs, Asked(lanes, cli.choose_engine(args, inputs.experiment)))
    tell_warnings(check_tracker(load_host_settings().mlflow_uri))
    check_results(args.results, [name for lane in lanes for name in lane.names])
    read_ledger(args.experiment.parent / LEDGER_NAME)  # its faults are told before the work, not after
    check_submissions(args.submissions, experiment.packaging.top_k)
    looking = cli.make_looking_session(args, experiment)
    plan = plan_lanes(experiment, lanes, looking.engine, looking.lock_digests, looking.hardware)
    spec = describe_run(experiment, plan, looking.engine, looking.lock_digests, looking.hardware)
    looking.console.print(
        f"run {spec.run_id}: {cli.describe_plan(plan, looking)}", soft_wrap=True, highlight=False
    )
    for line in describe_replicates(lanes):
        looking.console.print(f"  {line}", highlight=False, markup=False, soft_wrap=True)
    if args.plan:
        for run in plan.runs.values():
            looking.console.print(f"  {run.path}", highlight=False, markup=False, soft_wrap=True)
        return 0
    with cli.hold_session(looking) as session:
        outcome = session.follow(direct_run(spec, plan, session.store))
        exported = export_outcome(session.store, outcome, args.results, args.submissions)
        exported += refresh_tables(args.results, args.experiment.parent / LEDGER_NAME)
        show_outcome(session.console, outcome)
        for line in exported:
            session.console.print(line, highlight=False, markup=False, soft_wrap=True)
    return 0 if outcome.is_complete else cli.EXIT_FAILED


if __name__ == "__main__":
    cli.run_main(main)
