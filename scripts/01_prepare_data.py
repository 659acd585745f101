"""Read the data sets, check their columns, split the corpus and store the result.

Sources come from the experiment file: hub ids, or local JSONL and Parquet files in the same schemas. The
corpus is split into train and validation with the experiment's seed; the calibration set is drawn from
train. Gated sets want their terms accepted on the hub and HF_TOKEN set.

  python scripts/01_prepare_data.py --experiment lanes/experiment.demo.yaml
  python scripts/01_prepare_data.py --source kmmlu_pro=./kmmlu_pro.parquet
"""

from __future__ import annotations

import json

from lanekit import adhoc, cli
from lanekit.plan import LanePlan, Planner, plan_suite


def main() -> int:
    """Prepare the data and say what was made."""
    parser = cli.make_parser(__doc__)
    adhoc.add_source_option(parser)
    args = parser.parse_args()
    experiment, _ = cli.load_inputs(args, lambda e: adhoc.replace_sources(e, args.sources), parts=("data",))
    with cli.open_session(args, experiment) as session:
        planner = Planner(experiment, session.engine, session.environments)
        keys = {
            "corpus": planner.add_corpus(),
            "benchmarks": planner.add_run("prepare_benchmarks", plan_suite(experiment), {}),
        }
        for name, key in keys.items():
            planner.plan.lanes[name] = LanePlan(name, name, "Data", (), key)
        state = session.run(planner.plan)
        for name, key in keys.items():
            reason = state.explain_lane(name)
            if reason:
                session.console.print(f"{name}: {reason}", style="red", markup=False)
                return cli.EXIT_FAILED
            folder = session.store.fetch_artifact(planner.plan.runs[key])
            report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
            rows = {k: v for k, v in report.items() if k.endswith("rows") or k == "refused"}
            session.console.print(f"{name}: {folder}\n  {rows}", highlight=False, soft_wrap=True)
    return 0


if __name__ == "__main__":
    cli.run_main(main)
