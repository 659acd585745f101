"""Evaluate one model: benchmarks and seconds per token, against the baseline in the same sitting.

With --baseline the model is the uncompressed one: its record goes to results/baseline.json. Otherwise it
goes to results/<lane-id>/metrics.json, and the speed is measured in turn with the baseline's, whose
model is the one of results/baseline.json, or else the experiment's base model. `compare_logits` is no part of
it: it wants the corpus. vLLM is the engine where
CUDA is, transformers elsewhere; --engine decides otherwise.

  python scripts/04_eval_vllm.py --model LGAI-EXAONE/EXAONE-4.0-1.2B --baseline
  python scripts/04_eval_vllm.py --model ./sft-w4 --lane-id my_sft_w4
"""

from __future__ import annotations

from pathlib import Path

from lanekit.commands import adhoc, cli
from lanekit.commands.outcome_table import show_record
from lanekit.commands.preflight import Asked, read_inputs
from lanekit.errors import InputError, PermanentError
from lanekit.plan.graph import BASELINE
from lanekit.plan.planner import Planner
from lanekit.results.collect import collect_record
from lanekit.results.folder import check_results, read_records, write_record
from lanekit.results.schema import LaneRecord
from lanekit.spec.lane_file import LANE_NAME, NAME_RULE, RESERVED_NAMES


def find_baseline(results: Path) -> LaneRecord | None:
    """Return the recorded baseline, if there is one."""
    if not (results / "baseline.json").is_file():
        return None
    return next((r for r in read_records(results) if r.lane == BASELINE), None)


def main() -> int:
    """Evaluate and write the record."""
    parser = cli.make_parser(__doc__)
    parser.add_argument("--model", required=True, help="model folder or hub id")
    parser.add_argument("--baseline", action="store_true", help="the model is the uncompressed baseline")
    parser.add_argument("--lane-id", help="name in the tables (default: the model folder's name)")
    adhoc.add_source_option(parser)
    args = parser.parse_args()
    name = BASELINE if args.baseline else (args.lane_id or adhoc.name_model(args.model).replace("-", "_"))
    if not args.baseline and (not LANE_NAME.match(name) or name in RESERVED_NAMES):
        raise InputError(f"'{name}' cannot name a lane", remedy=f"give it a name with --lane-id: {NAME_RULE}")
    check_results(args.results, [name])
    recorded = None if args.baseline else find_baseline(args.results)
    base = () if args.baseline or recorded else ("base_model",)
    inputs = read_inputs(args.experiment, lambda e: adhoc.replace_sources(e, args.sources))
    asked = Asked(
        engine=cli.choose_engine(args, inputs.experiment),
        model=adhoc.find_model(args.model),
        is_base=args.baseline,
        parts=("benchmarks", *base),
    )
    experiment = cli.prepare_inputs(args, inputs, asked)
    with cli.open_session(args, experiment) as session:
        planner = Planner(experiment, session.engine, session.lock_digests, session.hardware)
        model = adhoc.add_input_model(planner, args.model)
        if args.baseline:
            baseline = model
        elif recorded:
            run = session.store.load_run(recorded.model)
            planner.plan.runs.setdefault(run.key, run)
            baseline = run.key
        else:
            baseline = planner.add_base()
        group = "Baseline" if args.baseline else "Own"
        planner.add_lane(name, args.model, group, model, (), baseline, with_screen=False)
        state = session.run(planner.plan)
        record = collect_record(planner.plan, state, session.store, name)
        path = write_record(args.results, record)
        if record.status == "failed":
            raise PermanentError(record.reason, remedy="mend that, then run the same command again")
        show_record(session.console, record)
        session.console.print(f"record: {path}", highlight=False, soft_wrap=True)
    return 0


if __name__ == "__main__":
    cli.run_main(main)
