"""Fetch the data sets, check them, split the corpus, guard it against benchmark text, store the result.

Sources come from the experiment file: hub ids, or local JSONL and Parquet files in the same schemas.

  corpus      Conversations are drawn with the experiment's seed, duplicates left out, and split into train
              and validation. The calibration set is drawn from train: equal shares of the length bins and of
              low, middle and high complexity, no two rows alike.
  guard       Every row is compared with every benchmark item. A row that holds one is refused, unless
              --contamination (or the experiment file) says drop or label.
  benchmarks  Each set is checked row by row, and against the number of rows that was published.

Gated sets (KMMLU-Pro, KMMLU-Redux) want their terms accepted on their hub page, and HF_TOKEN set. The commits
that the hub gave are written to revisions.yaml beside the experiment file; later runs keep to them.

  python scripts/01_prepare_data.py --experiment lanes/experiment.demo.yaml
  python scripts/01_prepare_data.py --source kmmlu_pro=./kmmlu_pro.parquet --source manta=./manta.jsonl
  python scripts/01_prepare_data.py --contamination drop
  python scripts/01_prepare_data.py --update-revisions
"""

from __future__ import annotations

import json
from typing import Any, get_args

from rich.console import Console
from rich.table import Table

from lanekit.commands import adhoc, cli
from lanekit.commands.preflight import Asked, read_inputs
from lanekit.plan.graph import LanePlan
from lanekit.plan.planner import Planner
from lanekit.sources.revisions import REVISIONS_NAME, load_revisions
from lanekit.spec.experiment_file import Experiment, load_experiment
from lanekit.spec.params import OnContamination

SHORT_DIGEST = 12
PARTS = ("train", "validation", "calibration")


def main() -> int:
    """Prepare the data and say what was made."""
    parser = cli.make_parser(__doc__)
    adhoc.add_source_option(parser)
    parser.add_argument(
        "--contamination", choices=get_args(OnContamination),
        help="what to do with corpus rows that hold benchmark text (default: the experiment's): refuse "
        "stops, drop leaves them out and draws others, label keeps them and marks the lanes that use them",
    )  # fmt: skip
    parser.add_argument(
        "--update-revisions", action="store_true",
        help=f"ask the hub anew what its branches stand for, and pin that in {REVISIONS_NAME}",
    )  # fmt: skip
    args = parser.parse_args()

    def override(experiment: Experiment) -> Experiment:
        experiment = adhoc.replace_sources(experiment, args.sources)
        if args.contamination is None:
            return experiment
        corpus = experiment.corpus.model_copy(update={"contamination": args.contamination})
        return experiment.model_copy(update={"corpus": corpus})

    revisions = load_revisions(args.experiment.parent / REVISIONS_NAME, renew=args.update_revisions)
    inputs = read_inputs(args.experiment, override, revisions)
    experiment = cli.prepare_inputs(args, inputs, Asked(reads_corpus=True))
    with cli.open_session(args, experiment) as session:
        planner = Planner(experiment, session.engine, session.lock_digests)
        keys = {"corpus": planner.add_corpus(), "benchmarks": planner.add_suite()}
        for name, key in keys.items():
            planner.plan.lanes[name] = LanePlan(name, name, "Data", (), key)
        state = session.run(planner.plan)
        reports, paths = {}, {}
        # The benchmarks first: where they fail, the corpus waits for them.
        for name in reversed(keys):
            reason = state.explain_lane(name)
            if reason:
                session.console.print(
                    f"{name}: {reason}", style="red", markup=False, highlight=False, soft_wrap=True
                )
                return cli.EXIT_FAILED
            folder = session.store.fetch_artifact(planner.plan.runs[keys[name]])
            reports[name] = json.loads((folder / "report.json").read_text(encoding="utf-8"))
            paths[name] = folder
        show_sets(session.console, experiment, reports)
        show_corpus(session.console, reports["corpus"])
        for name, path in paths.items():
            session.console.print(f"{name}: {path}", highlight=False, soft_wrap=True)
        pins = revisions.save()
        if pins:
            session.console.print(f"pinned in {revisions.path}:", highlight=False, soft_wrap=True)
            for line in pins:
                session.console.print(f"  {line}", highlight=False, soft_wrap=True)
    if args.contamination and args.contamination != load_experiment(args.experiment).corpus.contamination:
        session.console.print(
            f"this corpus is for corpus.contamination: {args.contamination}; set it in {args.experiment}, or "
            "the lanes will prepare another",
            highlight=False, soft_wrap=True,
        )  # fmt: skip
    return 0


def show_sets(console: Console, experiment: Experiment, reports: dict[str, Any]) -> None:
    """Print one line a data set: rows, digest or commit, where it came from."""
    table = Table("set", "rows", "digest", "source", title="data sets", title_justify="left")
    table.columns[1].justify = "right"
    rows = {"manta": reports["corpus"]["source_rows"], **reports["benchmarks"]["rows"]}
    for name, source in experiment.data.items():
        if name in rows:
            table.add_row(name, f"{rows[name]:,}", source.digest[:SHORT_DIGEST], source.source)
    console.print(table)


def show_corpus(console: Console, report: dict[str, Any]) -> None:
    """Print what the corpus came to: parts, what was left out, benchmark items found, calibration bins."""
    parts = ", ".join(f"{part} {report[f'{part}_rows']:,}" for part in PARTS)
    left_out = {"duplicates": report["duplicates"], "dropped for benchmark text": report["dropped"]}
    left_out |= {"passed over for calibration as too alike": report["calibration_too_alike"]}
    left_out |= report["refused"]
    out = "; ".join(f"{reason}: {count:,}" for reason, count in left_out.items() if count)
    console.print(f"corpus: {parts} of {report['rows']:,} rows read", highlight=False)
    console.print(f"left out: {out or 'nothing'}", highlight=False)
    title = f"contamination ({report['contamination_policy']})"
    columns = ("benchmark", "items", *(f"found in {part}" for part in PARTS), "too short to check")
    table = Table(*columns, title=title, title_justify="left")
    for name, count in report["benchmark_items"].items():
        found = [report["contamination"][part].get(name, 0) for part in PARTS]
        unchecked = report["benchmark_items_unchecked"][name]
        table.add_row(name, f"{count:,}", *(str(n) for n in found), str(unchecked),
                      style="yellow" if any(found) else None)  # fmt: skip
    console.print(table)
    table = Table(
        "tokens", "rows", "tokens in all", "mean complexity", title="calibration", title_justify="left"
    )
    for name, row in report["calibration_bins"].items():
        mean = "" if row["mean_complexity"] is None else f"{row['mean_complexity']:.2f}"
        table.add_row(name, f"{row['rows']:,}", f"{row['tokens']:,}", mean)
    console.print(table)


if __name__ == "__main__":
    cli.run_main(main)
