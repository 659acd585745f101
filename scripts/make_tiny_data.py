"""Write the synthetic data sets: the real column schemas, an invented world, no real item.

The same seed always writes the same bytes. Seed 42 is the world that the tiny model of
scripts/make_tiny_model.py has learned; with another seed its benchmark scores fall to chance.

Example
  python scripts/make_tiny_data.py --output /tmp/tiny-data
"""

from __future__ import annotations

import argparse
from pathlib import Path

from tiny.datasets import build_datasets, write_datasets
from tiny.notes import describe_data


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="folder to fill")
    parser.add_argument("--seed", type=int, default=42, help="the world to build (default: 42)")
    return parser.parse_args()


def main() -> None:
    """Build, check and write the data sets, then print how many rows each one has."""
    args = parse_arguments()
    rows = build_datasets(args.seed)
    write_datasets(rows, args.output)
    (args.output / "README.md").write_text(describe_data(rows, args.seed), encoding="utf-8")
    for name, items in sorted(rows.items()):
        print(f"{args.output / name}.jsonl  {len(items)} rows")
    print("no benchmark item occurs in manta.jsonl")


if __name__ == "__main__":
    main()
