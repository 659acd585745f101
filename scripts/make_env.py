"""Write .env for the composed stack: .env.example with a fresh random secret for every empty one.

The file is readable by its owner alone. An existing one is kept unless --force is given: new secrets lock
out whoever still uses the old ones. They take effect with the next `docker compose up --detach`; the
object store's accounts are then given their new keys, and no data is lost.

Examples
  python scripts/make_env.py                     # then: docker compose up --build --detach
  python scripts/make_env.py --output /tmp/env   # then: docker compose --env-file /tmp/env up --detach
"""

from __future__ import annotations

import argparse
import os
import secrets
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ROOT_USER = "lanes-root"
SECRET_BYTES = 16  # 32 hexadecimal digits: safe in URLs, shells and Redis' configuration


def is_secret(name: str) -> bool:
    """Whether a setting gets a random value."""
    return name.endswith(("_PASSWORD", "_SECRET_KEY"))


def fill_template(template: str) -> str:
    """Return the template with a value for every empty secret and for the root account's name."""
    lines = []
    for line in template.splitlines():
        name, equals, value = line.partition("=")
        if equals and not value and is_secret(name):
            line = f"{name}={secrets.token_hex(SECRET_BYTES)}"
        elif line == "MINIO_ROOT_USER=":
            line = f"{name}={ROOT_USER}"
        lines.append(line)
    return "\n".join(lines[2:]).lstrip("\n") + "\n"  # without the two lines about the template itself


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner can read, whole or not at all."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    temporary.replace(path)


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--output", type=Path, default=ROOT / ".env", metavar="FILE", help="file to write (default: .env)"
    )
    parser.add_argument("--force", action="store_true", help="replace an existing file and its secrets")
    return parser.parse_args()


def main() -> int:
    """Write the file, or say why not."""
    args = parse_arguments()
    if args.output.exists() and not args.force:
        print(f"error: {args.output} exists; it is kept", file=sys.stderr)
        print("  remedy: use it as it is, or give --force to replace it with new secrets", file=sys.stderr)
        return 2
    if not args.output.parent.is_dir():
        print(f"error: there is no folder {args.output.parent}", file=sys.stderr)
        print("  remedy: make it first, or choose another --output", file=sys.stderr)
        return 2
    write_private(args.output, fill_template((ROOT / ".env.example").read_text(encoding="utf-8")))
    print(f"wrote {args.output} (mode 0600); next: docker compose up --build --detach")
    return 0


if __name__ == "__main__":
    sys.exit(main())
