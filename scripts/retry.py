"""Try the failed stages of a run on the Docker Compose stack once more, or take up a cancelled run.

Failures are forgotten for the lanes that are named, or for all; what is committed stays committed. Mend
what the failure's remedy says first: `status.py RUN` shows it.

  python scripts/retry.py RUN
  python scripts/retry.py RUN lane04 lane12_fp8_static
"""

from __future__ import annotations

from pathlib import Path

from lanekit.commands import cli
from lanekit.commands.stack.cli import add_run_argument, choose_run, make_stack_parser, open_stack
from lanekit.commands.stack.submit import clear_run, find_lane_failures
from lanekit.spec.lane_file import match_names
from lanekit.store.documents import RunPaths


def main() -> int:
    """Drop the failures, the cancellation and the outcome."""
    parser = make_stack_parser(__doc__)
    add_run_argument(parser)
    parser.add_argument("lanes", nargs="*", metavar="LANE", help="only these lanes, by name or number")
    args = parser.parse_args()
    stack = open_stack(args.env_file)
    run_id = choose_run(stack.documents.list_runs(), args.run)
    console = cli.make_console()
    only = None
    if args.lanes:
        spec = stack.read_run(run_id)
        lanes = match_names([lane.name for lane in spec.lanes], args.lanes)
        failed = [Path(name).stem for name in stack.documents.list_names(run_id, RunPaths.FAILURES)]
        only = find_lane_failures(spec.make_plan(), failed, lanes)
    has_ended = stack.read_outcome(run_id) is not None
    was_cancelled = stack.documents.read(run_id, RunPaths.CANCELLED) is not None
    dropped = clear_run(stack, run_id, only)
    if not dropped and not has_ended and not was_cancelled:
        console.print(f"run {run_id} goes on, and nothing failed: nothing to do", highlight=False)
        return 0
    stages = "1 failed stage is" if dropped == 1 else f"{dropped} failed stages are"
    what = f"{stages} tried again" if dropped else "it goes on from what is committed"
    console.print(f"run {run_id}: {what}", highlight=False)
    console.print(f"  python scripts/status.py {run_id} --watch", highlight=False)
    return 0


if __name__ == "__main__":
    cli.run_main(main)
