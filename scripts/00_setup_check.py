"""Check this machine before a run: versions, GPU, disk, memory, services. Changes nothing.

Each line begins with ✓ (good), ! (works, but read it) or ✗ (the main job would fail) and says what to do.
The exit code is 0 when no line has ✗, else 1.

  python scripts/00_setup_check.py                                            # for the real model
  python scripts/00_setup_check.py --experiment lanes/experiment.demo.yaml    # for the demo
  python scripts/00_setup_check.py --store /data/lanes                        # with another store

LANEKIT_REDIS_URL and LANEKIT_MINIO_URL, where they are set, are tried with a TCP connection.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from pathlib import Path

try:
    from rich.console import Console
    from rich.text import Text

    from lanekit.commands.cli import run_main
    from lanekit.commands.setup.check import check_setup
    from lanekit.commands.setup.finding import MARKS
    from lanekit.host.checkout import find_project_root
    from lanekit.host.settings import load_host_settings
except ModuleNotFoundError as missing:
    print(f"✗ {missing.name} is not installed in {sys.executable}\n    → run ./scripts/dev setup")
    sys.exit(1)

STYLES = {"ok": "green", "warning": "yellow", "fault": "bold red"}


def parse_arguments() -> argparse.Namespace:
    """Return the command line's options."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--experiment", type=Path, default=find_project_root() / "lanes" / "experiment.yaml",
        help="experiment whose needs are estimated (default: lanes/experiment.yaml)",
    )  # fmt: skip
    parser.add_argument(
        "--store", type=Path, default=load_host_settings().store, help="artifact store (default: %(default)s)"
    )
    return parser.parse_args()


def main() -> int:
    """Print the report; 1 if anything would stop the main job."""
    args = parse_arguments()
    console = Console()
    findings = check_setup(args.experiment, args.store)
    width = max(len(finding.subject) for finding in findings)
    for finding in findings:
        text = Text(f"{MARKS[finding.level]} ", style=STYLES[finding.level])
        text.append(f"{finding.subject:<{width}}  {finding.found}", style="")
        console.print(text, soft_wrap=True)
        if finding.remedy:
            console.print(Text(f"    → {finding.remedy}", style="dim"), soft_wrap=True)
    levels = Counter(finding.level for finding in findings)
    console.print(f"{levels['fault']} ✗, {levels['warning']} !", highlight=False)
    return 1 if levels["fault"] else 0


if __name__ == "__main__":
    run_main(main)
