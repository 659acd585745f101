"""Rank what stands in the results folder and package the best lanes.

Reads results/baseline.json and every results/<lane>/metrics.json, as run_all.py and 04_eval_vllm.py write
them; writes summary.csv, summary.md and submissions/top1..3 with their zips. A package is unzipped, loaded
and asked for a generation before it counts.

  python scripts/05_rank_and_package.py
"""

from __future__ import annotations

from pathlib import Path

from lanekit.commands import cli
from lanekit.commands.outcome_table import show_outcome
from lanekit.commands.session import export_outcome
from lanekit.host.settings import load_host_settings
from lanekit.plan.run_document import describe_ranking
from lanekit.results.course import direct_ranking
from lanekit.results.folder import read_records
from lanekit.spec.experiment_file import load_experiment


def main() -> int:
    """Rank and package; the exit code is 1 if a package was refused or nothing could be ranked."""
    parser = cli.make_parser(__doc__)
    parser.add_argument(
        "--submissions", type=Path, default=load_host_settings().submissions,
        help="folder of the packages (default: %(default)s)",
    )  # fmt: skip
    args = parser.parse_args()
    experiment = load_experiment(args.experiment)
    records = read_records(args.results)
    cli.check_engine(args, experiment)
    with cli.open_session(args, experiment) as session:
        director = direct_ranking(
            records, describe_ranking(experiment), session.engine, session.lock_digests, session.store
        )
        outcome = session.follow(director)
        export_outcome(session.store, outcome, args.results, args.submissions)
        show_outcome(session.console, outcome)
    return 0 if outcome.is_complete else cli.EXIT_FAILED


if __name__ == "__main__":
    cli.run_main(main)
