"""Write what `pytest -m gpu` ended with into the result of a real-size run, beside the device that it ran on.

Examples
  pytest -m gpu --junitxml=gpu.xml | tee gpu.log
  python scripts/benchmarks/record_gpu_tests.py --xml gpu.xml --log gpu.log --into scripts/benchmarks/results/real_size_h100.json
"""  # noqa: E501  a command is one line

from __future__ import annotations

import argparse
import json
import re
import xml.etree.ElementTree as ET
from pathlib import Path

from benchmarks.real_size.report import read_commit, render_markdown
from lanekit.commands import cli
from lanekit.errors import InputError
from lanekit.host.devices import list_devices
from lanekit.host.gpu_query import run_query

CLOSING = re.compile(r"^=+ (\d+ (?:passed|failed|skipped|error).* in .*?) =+$", re.MULTILINE)


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--xml", type=Path, required=True, help="what --junitxml wrote")
    parser.add_argument("--log", type=Path, required=True, help="what pytest printed")
    parser.add_argument(
        "--into", type=Path, required=True, help="the result's JSON; its page is written anew"
    )
    parser.add_argument(
        "--device", help="the GPU's name, where the tests ran elsewhere (default: this host's)"
    )
    parser.add_argument("--driver", help="its driver's version (default: this host's)")
    parser.add_argument("--commit", default=read_commit(), help="what was tested (default: git's)")
    return parser.parse_args()


def read_tests(xml: Path, log: Path) -> dict[str, object]:
    """Return closing line, date, numbers of tests, and the properties that tests recorded, by test.

    Raises:
        InputError: the log has no closing line.
    """
    closing = CLOSING.findall(log.read_text(encoding="utf-8"))
    if not closing:
        raise InputError(f"{log} has no closing line of pytest", remedy="run pytest to its end, without -q")
    suite = next(ET.parse(xml).getroot().iter("testsuite"))
    recorded = {
        case.attrib["name"]: {one.attrib["name"]: one.attrib["value"] for one in case.iter("property")}
        for case in suite.iter("testcase")
    }
    return {
        "closing_line": closing[-1],
        "date": suite.attrib["timestamp"][:10],
        **{name: int(suite.attrib[name]) for name in ("tests", "failures", "errors", "skipped")},
        "recorded": {name: found for name, found in recorded.items() if found},
    }


def main() -> int:
    """Add the tests to the result and render its page."""
    args = parse_arguments()
    result = json.loads(args.into.read_text(encoding="utf-8"))
    result["gpu_tests"] = {
        **read_tests(args.xml, args.log),
        "device": args.device or list_devices()[0].name,
        "driver": args.driver or run_query(["driver_version"]).splitlines()[0],
        "commit": args.commit,
    }
    args.into.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    args.into.with_suffix(".md").write_text(render_markdown(result), encoding="utf-8")
    return 0


if __name__ == "__main__":
    cli.run_main(main)
