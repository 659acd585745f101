"""Show the Docker Compose stack: services, workers with their devices, queues, and every run's lanes.

With a run, its lanes alone, each failure with its remedy and the end of its log, and what its stages noted:
where a result is not all that was asked for. With --watch a live view until the run ends (plain lines where
there is no terminal). Nothing is changed by looking.

  python scripts/status.py
  python scripts/status.py exaone-4-0-1-2b-3f        # the start of a run's id is enough
  python scripts/status.py exaone-4-0-1-2b-3f --watch
  python scripts/status.py --json | jq '.runs[].phase'

Exit codes: 0; with --watch 0 complete, 1 a lane failed; 1 something of the stack is away; 2 the input is
at fault; 130 Ctrl-C: a watched run goes on.
"""

from __future__ import annotations

from lanekit.commands import cli
from lanekit.commands.stack.cli import add_run_argument, choose_run, make_stack_parser, open_stack, print_json
from lanekit.commands.stack.follow import follow_run
from lanekit.commands.stack.health import StackError, check_minio
from lanekit.commands.stack.status import look_at_stack, show_stack
from lanekit.store.minio_client import RetryPolicy

BRIEF = RetryPolicy(total_seconds=3.0)


def main() -> int:
    """Show the stack or one run; see the docstring for the exit codes."""
    parser = make_stack_parser(__doc__)
    add_run_argument(parser)
    parser.add_argument("--watch", action="store_true", help="follow one run live")
    parser.add_argument("--json", action="store_true", help="print data for another program")
    args = parser.parse_args()
    if args.watch and args.json:
        parser.error("--watch and --json exclude each other")
    stack = open_stack(args.env_file, workers=None, retry=BRIEF)
    console = cli.make_console()
    wanted = None
    if args.run or args.watch:
        problem = check_minio(stack.settings)
        if problem:
            raise StackError([problem])
        wanted = choose_run(stack.documents.list_runs(), args.run)
        if args.watch:
            return follow_run(stack, wanted, console)
    status = look_at_stack(stack, [wanted] if wanted else None)
    if args.json:
        print_json(status.to_json())
    else:
        show_stack(console, status, is_one_run=wanted is not None)
    return cli.EXIT_FAILED if status.problems else 0


if __name__ == "__main__":
    cli.run_main(main)
