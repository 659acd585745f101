"""Run lanes on the Docker Compose stack: plan them here, hand the run to the controller.

Say which lanes: by name or number, those that the experiment runs (--all), every lane file (--all-lanes), or
the first N. What the run needs that stands on this host alone (a local model, data files) is uploaded. The
engine and the hardware are those of the stack's evaluators. The same request is the same run: enqueued again,
a run that failed or was cancelled goes on from what is committed, and one that is complete stays as it is.

  python scripts/enqueue_lane.py --all --watch
  python scripts/enqueue_lane.py lane01 lane04_fp8_dynamic
  python scripts/enqueue_lane.py --only lane01,lane04
  python scripts/enqueue_lane.py --max-lanes 3 --experiment lanes/experiment.demo.yaml
  python scripts/enqueue_lane.py lane01 lane12 --replicates 3     # finalists, over 3 draws each

Exit codes: 0 enqueued (with --watch: complete, no lane failed), 1 a lane failed, 2 the input or the stack
is at fault and nothing was queued, 130 Ctrl-C; with --watch the run goes on then.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from lanekit.commands import cli
from lanekit.commands.preflight import Asked, Inputs, check_host, check_inputs, read_inputs
from lanekit.commands.replicates import add_replicates_option, choose_replicates, describe_replicates
from lanekit.commands.stack.cli import make_stack_parser, open_stack
from lanekit.commands.stack.follow import follow_run
from lanekit.commands.stack.submit import (
    check_lock_digests,
    choose_hardware,
    count_committed,
    describe_next,
    find_local_paths,
    hand_over,
    is_cuda,
    list_needed_workers,
    upload_sources,
)
from lanekit.errors import InputError
from lanekit.host.checkout import find_project_root
from lanekit.host.settings import load_host_settings
from lanekit.jobs.signs import read_workers
from lanekit.plan.evaluation import plan_engine
from lanekit.plan.planner import plan_lanes
from lanekit.plan.preflight.finding import Finding, gather_faults, raise_faults
from lanekit.plan.preflight.request import Host
from lanekit.plan.run_document import describe_run
from lanekit.sources.locks import load_lock_digests
from lanekit.sources.resolve import resolve_sources
from lanekit.spec.lane_file import Lane, parse_names


def parse_arguments() -> argparse.Namespace:
    """Return the command line's options."""
    parser = make_stack_parser(__doc__)
    parser.add_argument("lanes", nargs="*", metavar="LANE", help="lanes, by name or number")
    parser.add_argument("--all", action="store_true", help="every lane that the experiment runs")
    parser.add_argument(
        "--all-lanes", action="store_true",
        help="every lane file, also those that `lanes` of the experiment leaves out",
    )  # fmt: skip
    parser.add_argument("--only", metavar="A,B", help="lanes, with commas between")
    parser.add_argument("--max-lanes", type=int, metavar="N", help="the first N lanes")
    add_replicates_option(parser)
    parser.add_argument("--watch", action="store_true", help="follow the run; Ctrl-C leaves it running")
    parser.add_argument(
        "--experiment", type=Path, default=find_project_root() / "lanes" / "experiment.yaml",
        help="experiment file (default: lanes/experiment.yaml; experiment.demo.yaml is the small one)",
    )  # fmt: skip
    parser.add_argument(
        "--engine", choices=("vllm", "transformers"), default=load_host_settings().engine,
        help="evaluation engine (default: the experiment's; 'auto' is vllm where the evaluators have CUDA)",
    )  # fmt: skip
    parser.add_argument(
        "--hardware", metavar="NAME", help="measure speed on this, where the evaluators have several kinds"
    )
    return parser.parse_args()


def choose_lanes(args: argparse.Namespace, inputs: Inputs) -> list[Lane]:
    """Return the lanes that were asked for, in one of the five ways.

    Raises:
        InputError: none, or more than one way was used, or a lane is unknown.
    """
    ways = [bool(args.lanes), args.all, args.all_lanes, args.only is not None, args.max_lanes is not None]
    known = "lanes: " + ", ".join(lane.name for lane in inputs.lanes)
    if sum(ways) != 1:
        ask = "say which lanes: LANE…, --all, --all-lanes, --only A,B or --max-lanes N"
        raise InputError(ask if not any(ways) else f"{ask}; one of them, not {sum(ways)}", remedy=known)
    names = args.lanes or parse_names(args.only)
    return choose_replicates(
        inputs.choose_lanes(names, args.max_lanes, every=args.all_lanes),
        args.replicates, is_named=bool(names), how="LANE…, or --only A,B",
    )  # fmt: skip


def count_lanes(count: int) -> str:
    """Return e.g. "1 lane"."""
    return f"{count} lane{'' if count == 1 else 's'}"


def main() -> int:
    """Enqueue the run; see the docstring for the exit codes."""
    args = parse_arguments()
    inputs = read_inputs(args.experiment)
    lanes = choose_lanes(args, inputs)
    needed = list_needed_workers(inputs.experiment, lanes)
    faults: list[Finding] = []
    with gather_faults(faults, "--env-file"):
        stack = open_stack(args.env_file, needed)
    with gather_faults(faults, "--experiment"):
        check_inputs(inputs, Asked(lanes, plan_engine(inputs.experiment, lambda: False, args.engine)))
    raise_faults(faults)
    console = cli.make_console()

    workers = [worker.report for worker in read_workers(stack.redis)]
    lock_digests = load_lock_digests(find_project_root())
    check_lock_digests(workers, needed, lock_digests)
    hardware = choose_hardware(workers, args.hardware)
    engine = plan_engine(inputs.experiment, lambda: is_cuda(workers, hardware), args.engine)
    is_gpu = is_cuda(workers, hardware)
    host = Host(has_cuda=is_gpu, gpu=hardware if is_gpu else "")
    check_host(inputs, Asked(lanes, engine, host=host))
    experiment = resolve_sources(inputs.experiment, revisions=inputs.revisions, lanes=lanes)
    plan = plan_lanes(experiment, lanes, engine, lock_digests, hardware)
    spec = describe_run(experiment, plan, engine, lock_digests, hardware)

    console.print(
        f"run {spec.run_id}: {count_lanes(len(lanes))} and the baseline ask for {plan.count_asked()} "
        f"stage runs, {len(plan.runs)} of them distinct; {count_committed(stack, plan)} are committed "
        f"already. Engine: {engine.engine} on {hardware}",
        soft_wrap=True, highlight=False,
    )  # fmt: skip
    for line in describe_replicates(lanes):
        console.print(f"  {line}", soft_wrap=True, highlight=False, markup=False)
    upload_sources(stack.client, find_local_paths(plan), console)
    enqueued = hand_over(stack, spec)
    for line in describe_next(enqueued, spec.run_id):
        console.print(line, soft_wrap=True, highlight=False, markup=False)
    return follow_run(stack, spec.run_id, console) if args.watch else 0


if __name__ == "__main__":
    cli.run_main(main)
