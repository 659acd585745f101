"""Push a package, or a lane's model, to a repository on the Hugging Face hub.

WHAT is a package's zip (it is sent unpacked), a lane of results/, whose model comes from the store, or an
artifact of the store, models/NAME or checkpoints/NAME. REPO is OWNER/NAME; where there is none it is made,
private unless --public is passed. Nothing is sent before this command, and with --dry-run not by it either:
that lists the files and their sizes and asks the hub nothing.

A model goes with its card and its licence, or it does not go; the name of a derivative of EXAONE begins with
EXAONE, as its licence asks. The token comes from HF_TOKEN, or from where `hf auth login` put it; it wants
write access. Cut off or stopped, the same command sends what is missing. In the end every file on the hub is
compared with the one here: sha256 and size.

  python scripts/push.py submissions/submit_top1.zip me/EXAONE-4.0-1.2B-top1 --dry-run
  python scripts/push.py submissions/submit_top1.zip me/EXAONE-4.0-1.2B-top1
  python scripts/push.py lane01_gptq_w4a16 me/EXAONE-4.0-1.2B-w4a16
  python scripts/push.py lane01_gptq_w4a16 me/EXAONE-4.0-1.2B-w4a16 --public --yes

Exit codes: 0 it is there; 1 the hub could not be reached, or a file there or in the store is damaged; 2 the
input, the token or its rights are at fault and nothing was committed.
"""

from __future__ import annotations

import argparse
import sys

from rich.console import Console

from lanekit.commands import cli
from lanekit.commands.push.checks import check_content
from lanekit.commands.push.content import Content, open_content
from lanekit.commands.push.faults import require_token
from lanekit.commands.push.upload import Remote, find_missing, find_others, make_repository, upload
from lanekit.errors import InputError
from lanekit.files.owned import show_some
from lanekit.host.settings import load_host_settings
from lanekit.store.folder import FolderStore


def parse_arguments() -> argparse.Namespace:
    """Return the command line's arguments."""
    settings = load_host_settings()
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "what", metavar="WHAT", help="a package's zip, a lane, models/NAME or checkpoints/NAME"
    )
    parser.add_argument("repo", metavar="REPO", help="OWNER/NAME on the hub")
    parser.add_argument("--dry-run", action="store_true", help="list what would go, and send nothing")
    parser.add_argument(
        "--public", action="store_true", help="anyone may read it; asks once more, or wants --yes"
    )
    parser.add_argument("--yes", action="store_true", help="do not ask about --public")
    parser.add_argument(
        "--replace", action="store_true", help="remove the repository's files that are not of this content"
    )
    parser.add_argument(
        "--store", type=cli.read_folder, default=settings.store, help="artifact store (default: %(default)s)"
    )
    parser.add_argument(
        "--results", type=cli.read_folder, default=settings.results,
        help="folder of the lanes' records (default: %(default)s)",
    )  # fmt: skip
    return parser.parse_args()


def main() -> int:
    """Push it; see the docstring for the exit codes."""
    args = parse_arguments()
    console = cli.make_console()
    submissions = load_host_settings().submissions
    with open_content(args.what, FolderStore(args.store), args.results, submissions) as content:
        check_content(content, args.repo)
        if args.dry_run:
            show_content(console, content)
            say(console, f"nothing was sent; {args.repo} would be {'public' if args.public else 'private'}")
            return 0
        require_token()
        if args.public and not args.yes:
            confirm_public(args.repo)
        push(console, content, args)
    return 0


def push(console: Console, content: Content, args: argparse.Namespace) -> None:
    """Send the content, and say where it is.

    Raises:
        LanekitError: see `upload`.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.utils import disable_progress_bars

    if not console.is_terminal:
        disable_progress_bars()
    api = HfApi()
    remote = make_repository(api, args.repo, is_public=args.public)
    others = find_others(content, remote)
    if others and not args.replace:
        raise InputError(
            f"{args.repo}: it holds files that are not of {content.what}: "
            f"{show_some(others)}; nothing was sent",
            remedy="name another repository, or pass --replace, which removes them in the same commit",
        )
    tell_amount(console, content, remote)
    commit = upload(api, args.repo, content, remote, others, lambda line: say(console, line))
    privacy = "private" if remote.is_private else "public"
    say(console, f"{len(content.entries)} files compared, sha256 and size: all are there ({privacy})")
    say(console, f"{api.endpoint}/{args.repo}/tree/{commit}")


def tell_amount(console: Console, content: Content, remote: Remote) -> None:
    """Say how much there is, and how much of it is there already."""
    missing = find_missing(content, remote)
    size_bytes = sum(content.entries[name].size_bytes for name in missing)
    there = len(content.entries) - len(missing)
    say(console, f"{content.what}: {describe(len(content.entries), content.size_bytes)}")
    say(
        console,
        f"{there} are there already" if not missing else f"to send: {describe(len(missing), size_bytes)}",
    )


def confirm_public(repo: str) -> None:
    """Ask whether everyone may read it.

    Raises:
        InputError: there is no one to ask, or the answer is another.
    """
    if not sys.stdin.isatty():
        raise InputError(
            "--public is asked about, and there is no terminal to ask on", remedy="pass --yes too"
        )
    answer = input(f"Everyone will be able to read {repo}. Type its name to go on: ")
    if answer.strip() != repo:
        raise InputError(
            "not confirmed; nothing was sent", remedy="leave --public out for a private repository"
        )


def show_content(console: Console, content: Content) -> None:
    """List the files with their sizes."""
    say(console, f"{content.what}: {describe(len(content.entries), content.size_bytes)}")
    for name, entry in sorted(content.entries.items()):
        say(console, f"{entry.size_bytes:>15,}  {entry.sha256[:12]}  {name}")


def describe(count: int, size_bytes: int) -> str:
    """Return e.g. "3 files, 12.5 MB"."""
    return f"{count} file{'' if count == 1 else 's'}, {size_bytes / 1e6:.1f} MB"


def say(console: Console, line: str) -> None:
    """Print a line as it is."""
    console.print(line, highlight=False, markup=False, soft_wrap=True)


if __name__ == "__main__":
    cli.run_main(main)
