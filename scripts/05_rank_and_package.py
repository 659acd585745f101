"""Rank what stands in the results folder and package the best lanes.

Reads results/baseline.json and every results/<lane>/metrics.json, as run_all.py and 04_eval_vllm.py write
them; writes summary.csv, summary.md and submissions/top1..3 with their zips. A package is unzipped, loaded
and asked for a generation before it counts.

A record of another base model, another suite or another version of its lane file gets no rank and no package,
and neither does one whose numbers cannot be, or are not those of the store: the reason stands in the table.
Replicates (results/<lane>-r2 and so on) count in their lane's mean; the package is the first replicate's.

  python scripts/05_rank_and_package.py
"""

from __future__ import annotations

from lanekit.commands import cli
from lanekit.commands.outcome_table import show_outcome
from lanekit.commands.preflight import Asked, read_inputs, tell_warnings
from lanekit.commands.session import export_outcome
from lanekit.commands.tracking import check_tracker
from lanekit.host.settings import load_host_settings
from lanekit.plan.evaluation import plan_evaluation
from lanekit.plan.run_document import describe_ranking
from lanekit.results.course import direct_ranking
from lanekit.results.folder import check_results, read_records
from lanekit.results.identity import check_experiment
from lanekit.results.ledger import LEDGER_NAME, read_ledger
from lanekit.results.packages import check_submissions
from lanekit.results.provenance import refuse_altered
from ranker.report.ledger_section import refresh_tables


def main() -> int:
    """Rank and package; the exit code is 1 if a package was refused or nothing could be ranked."""
    parser = cli.make_parser(__doc__)
    parser.add_argument(
        "--submissions", type=cli.read_folder, default=load_host_settings().submissions,
        help="folder of the packages (default: %(default)s)",
    )  # fmt: skip
    args = parser.parse_args()
    inputs = read_inputs(args.experiment)
    engine = cli.choose_engine(args, inputs.experiment)
    experiment = cli.prepare_inputs(args, inputs, Asked(engine=engine, parts=("base_model",)))
    records = read_records(args.results)
    tell_warnings(check_tracker(load_host_settings().mlflow_uri))
    check_results(args.results)
    read_ledger(args.experiment.parent / LEDGER_NAME)  # its faults are told before the work, not after
    check_submissions(args.submissions, experiment.packaging.top_k)
    with cli.open_session(args, experiment) as session:
        evaluation = plan_evaluation(experiment, session.engine)
        records = check_experiment(
            records, experiment.base_model.digest, evaluation, inputs.lanes, str(args.experiment)
        )
        records = refuse_altered(records, session.store)
        director = direct_ranking(
            records, describe_ranking(experiment), session.engine, session.lock_digests, session.store
        )
        outcome = session.follow(director)
        exported = export_outcome(session.store, outcome, args.results, args.submissions)
        exported += refresh_tables(args.results, args.experiment.parent / LEDGER_NAME)
        show_outcome(session.console, outcome)
        for line in exported:
            session.console.print(line, highlight=False, markup=False, soft_wrap=True)
    return 0 if outcome.is_complete else cli.EXIT_FAILED


if __name__ == "__main__":
    cli.run_main(main)
