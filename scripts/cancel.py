"""Cancel a run of the Docker Compose stack: its queued stages are dropped, its running ones stopped.

What is committed stays. Stages that another run needs as well go on. To take it up again, enqueue it
again, or: python scripts/retry.py RUN

  python scripts/cancel.py                       # where there is one run
  python scripts/cancel.py exaone-4-0-1-2b-3f    # the start of a run's id is enough
"""

from __future__ import annotations

import time

from lanekit.commands import cli
from lanekit.commands.stack.cli import add_run_argument, choose_run, make_stack_parser, open_stack
from lanekit.store.documents import RunPaths


def main() -> int:
    """Write the run's cancellation for the controller to find."""
    parser = make_stack_parser(__doc__)
    add_run_argument(parser)
    args = parser.parse_args()
    stack = open_stack(args.env_file)
    run_id = choose_run(stack.documents.list_runs(), args.run)
    outcome = stack.read_outcome(run_id)
    console = cli.make_console()
    if outcome is not None:
        console.print(f"run {run_id} has ended already: {outcome.phase}", highlight=False)
        return 0
    if stack.documents.read(run_id, RunPaths.CANCELLED) is not None:
        console.print(f"run {run_id} is being cancelled already", highlight=False)
        return 0
    stack.documents.write(run_id, RunPaths.CANCELLED, {"at": time.time()})
    console.print(f"run {run_id} is being cancelled; what is committed stays", highlight=False)
    console.print(f"  python scripts/status.py {run_id}   # see it end", highlight=False)
    console.print(f"  python scripts/retry.py {run_id}    # take it up again", highlight=False)
    return 0


if __name__ == "__main__":
    cli.run_main(main)
