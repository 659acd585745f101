"""Drive all lanes and the baseline through the product's own course at EXAONE-4.0-1.2B's size, on a GPU host.

No hub and no real weights: the model is random, the data synthetic and small, training has a few steps. It
goes on from what is committed, so that it can be run in pieces (--minutes); each piece writes what is known
so far to the output folder. With several GPUs a stage runs on each at once.

Examples
  python scripts/benchmarks/run_real_size.py --folder /data/real-size
  python scripts/benchmarks/run_real_size.py --folder /data/real-size --gpus 0,1,2,3 --minutes 9
  python scripts/benchmarks/run_real_size.py --folder /tmp/small --tiny --engine transformers --only lane04
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.real_size.driving import MANY, CrowdedSession, GpuBoard, WatchedCaller, read_facts, stop_after
from benchmarks.real_size.inputs import read_model_config, write_inputs
from benchmarks.real_size.report import (
    collect_result,
    compare_estimates,
    measure_disk,
    read_commit,
    render_markdown,
)
from lanekit.commands import cli
from lanekit.commands.outcome_table import show_outcome
from lanekit.commands.preflight import Asked, read_inputs
from lanekit.commands.session import export_outcome
from lanekit.execute.driver import hold_store
from lanekit.execute.environment import make_child_environment
from lanekit.execute.pool import ChildPool
from lanekit.files.model_folder import measure_weights
from lanekit.host.checkout import find_project_root
from lanekit.host.devices import detect_cuda, list_devices, name_hardware
from lanekit.plan.planner import plan_lanes
from lanekit.plan.run_document import describe_run
from lanekit.results.course import Outcome, direct_run
from lanekit.sources.locks import load_lock_digests
from lanekit.spec.estimates import read_shape
from lanekit.spec.experiment_file import Experiment
from lanekit.spec.lane_file import parse_names
from lanekit.store.folder import FolderStore


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folder", type=Path, required=True, help="model, data, store and results; 60 GB")
    parser.add_argument("--output", type=Path, help="where the result's two files go (default: the folder)")
    parser.add_argument("--gpus", default="0", help="GPUs by number, with commas between (default: 0)")
    parser.add_argument(
        "--gpus-file", type=Path, metavar="FILE",
        help="read again and again: once it is there it says which GPUs, so that some can join or leave",
    )  # fmt: skip
    parser.add_argument(
        "--share-gb", type=float, default=0.0, metavar="N",
        help="training and quantizing stages share a GPU while their estimates fit into N GB",
    )  # fmt: skip
    parser.add_argument(
        "--share-stages", type=int, default=MANY, metavar="N", help="and while they are no more than N"
    )
    parser.add_argument("--enforce-eager", action="store_true", help="engines without compiling: they start "
                        "in a third of the time, and their speeds say nothing")  # fmt: skip
    parser.add_argument("--minutes", type=float, help="stop after so long; run it again to go on")
    parser.add_argument("--only", help="lanes, by name or number (default: all)")
    parser.add_argument("--engine", choices=("vllm", "transformers"), help="default: vllm where CUDA is")
    parser.add_argument("--tiny", action="store_true", help="a small model, to try the script itself")
    parser.add_argument("--commit", default=read_commit(), help="stands in the result (default: git's)")
    args = parser.parse_args()
    args.experiment = args.folder.resolve() / "lanes" / "experiment.yaml"
    return args


@contextmanager
def open_session(
    args: argparse.Namespace, experiment: Experiment, board: GpuBoard
) -> Iterator[CrowdedSession]:
    """Give a session like that of run_all.py, with one slot for each GPU."""
    store = FolderStore(args.folder.resolve() / "store")
    with hold_store(store):
        pool = ChildPool(store.root / "logs", make_child_environment())
        shape = read_shape(read_model_config(args.folder))
        caller = WatchedCaller(pool, board, shape, args.folder / "stages.jsonl")
        try:
            yield CrowdedSession(
                experiment=experiment,
                store=store,
                call=caller,
                engine=cli.choose_engine(args, experiment),
                lock_digests=load_lock_digests(find_project_root()),
                console=cli.make_console(),
                slots=MANY if len(board.gpus) > 1 or board.gpus_file or board.share_bytes else 1,
                hardware=name_hardware(list_devices()),
            )
        finally:
            caller.close()


def main() -> int:
    """Run until done or out of time, and write the result; 1 where it is not complete."""
    args = parse_arguments()
    args.folder.mkdir(parents=True, exist_ok=True)
    if args.minutes:
        stop_after(args.minutes)
    device = "cuda" if detect_cuda() else "cpu"
    write_inputs(args.folder.resolve(), tiny=args.tiny, device=device, enforce_eager=args.enforce_eager)
    only = parse_names(args.only)
    inputs = read_inputs(args.experiment)
    lanes = inputs.choose_lanes(only)
    experiment = cli.prepare_inputs(args, inputs, Asked(lanes, cli.choose_engine(args, inputs.experiment)))
    outcome: Outcome | None = None
    board = GpuBoard(args.gpus.split(","), int(args.share_gb * 1e9), args.share_stages, args.gpus_file)
    with open_session(args, experiment, board) as session:
        plan = plan_lanes(experiment, lanes, session.engine, session.lock_digests, session.hardware)
        spec = describe_run(experiment, plan, session.engine, session.lock_digests, session.hardware)
        try:
            outcome = session.follow(direct_run(spec, plan, session.store))
            export_outcome(session.store, outcome, args.folder / "results", args.folder / "submissions")
            show_outcome(session.console, outcome)
        finally:
            facts = read_facts(args.folder / "stages.jsonl")
            told = {
                "commit": args.commit,
                "gpus": board.list_gpus(),
                "enforce_eager": experiment.evaluation.enforce_eager,
                "is_crowded": session.slots > 1,
                "estimates": compare_estimates(
                    plan, facts, lanes, read_model_config(args.folder), experiment.packaging.top_k,
                    measure_weights(args.folder / "model"),
                    measure_disk(plan, outcome, session.store, args.folder / "submissions") if outcome else 0,
                    [lane for lane in lanes if outcome and lane.name in outcome.packages],
                ),
            }  # fmt: skip
            result = collect_result(plan, outcome, session.store, facts, **told)
            write_result(result, args.output or args.folder)
    return 0 if outcome and outcome.is_complete else cli.EXIT_FAILED


def write_result(result: dict[str, object], folder: Path) -> None:
    """Write real_size.json and real_size.md."""
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(result, indent=1, ensure_ascii=False) + "\n"
    (folder / "real_size.json").write_text(text, encoding="utf-8")
    (folder / "real_size.md").write_text(render_markdown(result), encoding="utf-8")


if __name__ == "__main__":
    cli.run_main(main)
