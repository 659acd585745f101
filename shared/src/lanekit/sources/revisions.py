"""Pinned revisions: which commit a branch of the hub stands for, in `revisions.yaml` beside the experiment.

The file maps kind, hub id and revision to a commit:

    datasets:
      LGAI-EXAONE/KMMLU-Pro:
        main: <40 hex digits>
    models:
      LGAI-EXAONE/EXAONE-4.0-1.2B:
        main: <40 hex digits>
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from lanekit.errors import did_you_mean, explain_os_errors
from lanekit.files.atomic import write_text_atomically
from lanekit.files.strict_yaml import FileProblem, InputProblems, KeyPath, read_yaml
from lanekit.sources.hub import HubKind

REVISIONS_NAME = "revisions.yaml"
COMMIT = re.compile(r"^[0-9a-f]{40}$")
_SECTIONS: dict[str, HubKind] = {"datasets": "dataset", "models": "model"}
_HEADER = (
    "# Commits that the hub's branches stood for; written by scripts/01_prepare_data.py, which renews them\n"
    "# with --update-revisions. Keep this file under version control: runs that share it share their data.\n"
)

PinName = tuple[HubKind, str, str]


@dataclass
class Revisions:
    """Commits by kind, hub id and revision: those of the file, and those that were asked for since."""

    path: Path | None = None
    pinned: dict[PinName, str] = field(default_factory=dict)
    asked: dict[PinName, str] = field(default_factory=dict)
    renew: bool = False

    def find(self, kind: HubKind, repo: str, revision: str) -> str | None:
        """Return the pinned commit; None where there is none, or where pins are to be renewed."""
        return None if self.renew else self.pinned.get((kind, repo, revision))

    def note(self, kind: HubKind, repo: str, revision: str, commit: str) -> None:
        """Keep what the hub answered, for `save`."""
        self.asked[kind, repo, revision] = commit

    def save(self) -> list[str]:
        """Write new and renewed pins to the file; return one line for each, none where nothing changed.

        Raises:
            LanekitError: the file cannot be written.
        """
        changed = {name: commit for name, commit in self.asked.items() if self.pinned.get(name) != commit}
        if not changed or self.path is None:
            return []
        lines = []
        for name, commit in sorted(changed.items()):
            was = f" (was {self.pinned[name][:12]})" if name in self.pinned else ""
            lines.append(f"{name[0]} {name[1]}: {name[2]} is {commit[:12]}{was}")
        self.pinned |= changed
        tree: dict[str, dict[str, dict[str, str]]] = {}
        for section, kind in _SECTIONS.items():
            for (of_kind, repo, revision), commit in sorted(self.pinned.items()):
                if of_kind == kind:
                    tree.setdefault(section, {}).setdefault(repo, {})[revision] = commit
        with explain_os_errors(f"writing {self.path}"):
            write_text_atomically(self.path, _HEADER + yaml.safe_dump(tree, sort_keys=False))
        return lines


def load_revisions(path: Path, *, renew: bool = False) -> Revisions:
    """Read a file of pins; without the file there are none.

    Raises:
        InputProblems: every problem of the file, with its line.
    """
    revisions = Revisions(path, renew=renew)
    if not path.exists():
        return revisions
    document = read_yaml(path)
    problems: list[FileProblem] = []

    def is_mapping(value: Any, place: KeyPath, wanted: str) -> bool:
        if not isinstance(value, dict):
            problems.append(document.problem(place, f"must be a mapping of {wanted}"))
        return isinstance(value, dict)

    for section, repos in (
        document.data.items() if is_mapping(document.data, (), "'datasets' and 'models'") else ()
    ):
        if section not in _SECTIONS:
            hint = did_you_mean(section, _SECTIONS)
            problems.append(document.problem((section,), f"unknown name '{section}'{hint}"))
            continue
        for repo, commits in repos.items() if is_mapping(repos, (section,), "hub ids") else ():
            place: KeyPath = (section, repo)
            for revision, commit in (
                commits.items() if is_mapping(commits, place, "revisions to commits") else ()
            ):
                if isinstance(commit, str) and COMMIT.match(commit):
                    revisions.pinned[_SECTIONS[section], repo, revision] = commit
                else:
                    message = f"'{commit}' is no commit: 40 hexadecimal digits, quoted if all are digits"
                    problems.append(document.problem((*place, revision), f"{revision}: {message}"))
    if problems:
        raise InputProblems(problems)
    return revisions
