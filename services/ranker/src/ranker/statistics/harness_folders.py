"""Two folders of lm-evaluation-harness in place of two lanes: which is meant, and their rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lanekit.errors import InputError, did_you_mean
from ranker.statistics.harness_samples import Choice, load_samples, make_rows


def are_folders(results: Path, names: Sequence[str], choices: Sequence[str]) -> bool:
    """Whether both names are folders of samples; a lane of that name in `results` goes first.

    Raises:
        InputError: one is a folder and the other a lane, there is no such folder, or `choices` of metrics and
            filters are made for lanes.
    """
    folders: list[str] = []
    lanes: list[str] = []
    for name in names:
        is_path = "/" in name
        if is_path and not Path(name).is_dir():
            raise InputError(
                f"{name}: there is no such folder", remedy="name a folder of --log_samples, or a lane"
            )
        is_lane = not is_path and ((results / name).is_dir() or not Path(name).is_dir())
        (lanes if is_lane else folders).append(name)
    if folders and lanes:
        raise InputError(
            f"{folders[0]} is a folder of samples, {lanes[0]} a lane", remedy="name two folders, or two lanes"
        )
    if lanes and choices:
        raise InputError(
            f"--metric and --filter ({', '.join(choices)}) choose in folders of lm-evaluation-harness",
            remedy="leave them out for lanes",
        )
    return bool(folders)


def load_rows(
    names: Sequence[str],
    task: str | None,
    metrics: Mapping[str, str],
    filters: Mapping[str, str],
    notes: list[str],
) -> list[list[dict[str, Any]]]:
    """Return the rows of two folders of samples, of one `task` or of all; `notes` says what was taken.

    Raises:
        InputError: what cannot be read or compared, by file and line.
    """
    sides = [load_samples(Path(name), notes) for name in names]
    if task:
        known = list(dict.fromkeys(name for side in sides for name in side))
        if task not in known:
            raise InputError(
                f"no samples of the task '{task}'{did_you_mean(task, known)}",
                remedy=f"name one of {', '.join(known)}",
            )
        sides = [{name: found for name, found in side.items() if name == task} for side in sides]
    return list(make_rows(sides[0], sides[1], Choice(metrics, filters), notes))


def map_choices(given: Sequence[str]) -> dict[str, str]:
    """Return what is given as NAME or TASK=NAME by task, "" for every task."""
    split = [text.partition("=") if "=" in text else ("", "", text) for text in given]
    return {task: name for task, _, name in split}
