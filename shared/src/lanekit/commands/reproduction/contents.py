"""The files of a bundle, laid out in a folder that is then zipped. Weights never go in."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path

import yaml

from lanekit.commands.preflight import Inputs
from lanekit.commands.reproduction.bundle import (
    BASE_MODEL,
    BUNDLE_NAME,
    LANES,
    SOURCE_TAR,
    Bundle,
    SourceRecord,
    find_needed_sources,
    is_handed_in,
)
from lanekit.commands.reproduction.source_tree import write_archive
from lanekit.errors import InputError
from lanekit.files.hashing import digest_json
from lanekit.files.hub_card import is_licence_or_notice
from lanekit.files.json_lines import read_json_lines
from lanekit.plan.graph import Plan
from lanekit.sources.revisions import REVISIONS_NAME, Revisions
from lanekit.spec.experiment_file import Experiment, is_local
from lanekit.spec.params import Source
from lanekit.store.folder import FolderStore

LICENCES_NAME = "licences.yaml"
REBUILD_NAME = "rebuild.sh"
UNKNOWN_LICENCE = "not recorded"
LOCKS = ("scripts/env/*.lock", "services/*/requirements.lock")

README = """# {lane} of {experiment}: how its package is made again

Commit `{commit}`; the package is `{package}`.

```sh
bash rebuild.sh --base-model FOLDER --data FOLDER
```

It unpacks `source.tar`, makes the environment from the locks in it (`./scripts/dev setup`, which wants
Python 3.10 to 3.12 and a package index; `VENV=/path/to/.venv` takes one that is there, and then nothing
outside is asked), runs the lane's stages and the package's, and compares each file's sha256 with
`bundle.json`. It ends with 0 where all are the same; else it names the first that differs, the stage where
that begins, and what is different on this machine.

`--base-model` is the base model's folder. `--data` holds the data sets under the names below; what is on the
hub and is not there is fetched at its commit. A lane whose stages read no data needs none.

| source | name | digest | licence | read |
| :--- | :--- | :--- | :--- | :--- |
{sources}

| file of the package | sha256 |
| :--- | :--- |
{files}

| here | is |
| :--- | :--- |
| `bundle.json` | stages with parameters, inputs, versions and every file's digest; sources; environment |
| `lanes/` | the lane, the experiment, its benchmarks, the commits that the hub's branches stood for |
| `locks/` | every package of every environment with its hashes |
| `rows/` | the corpus rows that the lane's stages read, by number in the set and by sha256, in order |
| `licences/` | the base model's |
| `environment.txt` | the packages that were installed, and the machine |
"""


def describe_sources(
    written: Experiment, resolved: Experiment, plan: Plan, folder: Path
) -> dict[str, SourceRecord]:
    """Return every source with its digest and licence; `folder` may hold the file of licences."""
    licences = read_licences(folder / LICENCES_NAME)
    needed = find_needed_sources(plan)
    found: dict[str, tuple[Source, Source]] = {BASE_MODEL: (written.base_model, resolved.base_model)}
    found |= {name: (written.data[name], resolved.data[name]) for name in sorted(resolved.data)}
    records = {}
    for role, (asked, source) in found.items():
        local = is_local(source.source)
        name = Path(source.source).name if local else source.source
        records[role] = SourceRecord(
            name=name, is_local=local, revision="" if local else source.revision, split=asked.split,
            digest=source.digest, licence=licences.get(name, UNKNOWN_LICENCE), needed=role in needed,
        )  # fmt: skip
    return records


def read_licences(path: Path) -> dict[str, str]:
    """Return licences by hub id or by a local source's name; none without the file.

    Raises:
        InputError: it is no mapping of names to texts.
    """
    if not path.is_file():
        return {}
    remedy = "write one line for each source: its hub id, or a local file's name, a colon, and the licence"
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError, ValueError) as error:
        raise InputError(f"{path}: {' '.join(str(error).split())}", remedy=remedy) from error
    if not isinstance(content, dict) or not all(isinstance(v, str) for v in content.values()):
        raise InputError(f"{path}: not a mapping of sources to licences", remedy=remedy)
    return {str(name): value for name, value in content.items()}


def lay_out(
    out: Path, bundle: Bundle, inputs: Inputs, path: Path, plan: Plan, store: FolderStore, root: Path
) -> None:
    """Write a bundle's files into an empty folder; `path` is the experiment file's, `root` the checkout's."""
    (out / BUNDLE_NAME).write_text(bundle.model_dump_json(indent=1) + "\n", encoding="utf-8")
    (out / "README.md").write_text(render_readme(bundle), encoding="utf-8")
    script = files("lanekit.commands.reproduction").joinpath(REBUILD_NAME).read_text(encoding="utf-8")
    (out / REBUILD_NAME).write_text(script, encoding="utf-8")
    for source, name in list_lane_files(inputs, path, bundle.lane).items():
        _copy(source, out / LANES / name)
    save_pins(inputs.revisions, out / LANES / REVISIONS_NAME)
    for pattern in LOCKS:
        for lock in sorted(root.glob(pattern)):
            _copy(lock, out / "locks" / lock.relative_to(root))
    (out / "environment.txt").write_text(render_environment(bundle), encoding="utf-8")
    write_rows(out / "rows", plan, store)
    base = next(run for run in plan.runs.values() if run.type.name == "fetch_model")
    for licence in sorted(store.locate(base).iterdir()):
        if licence.is_file() and is_licence_or_notice(licence.name):
            _copy(licence, out / "licences" / licence.name)
    write_archive(root, bundle.commit, out / SOURCE_TAR)


def list_lane_files(inputs: Inputs, path: Path, lane: str) -> dict[Path, str]:
    """Return the files of lanes/ that a bundle carries, each with its name there."""
    folder = path.parent
    names = [path.name, f"{lane}.yaml", LICENCES_NAME]
    names += [f"benchmarks/{benchmark.name}.yaml" for benchmark in inputs.experiment.benchmarks]
    return {folder / name: name for name in names if (folder / name).is_file()}


def find_own_paths(experiment: Path) -> list[tuple[int, str]]:
    """Return the paths of this machine that an experiment file names, from / or ~, each with its line."""
    found = []
    for token in yaml.scan(experiment.read_text(encoding="utf-8")):
        if isinstance(token, yaml.ScalarToken) and token.value.startswith(("/", "~")):
            found.append((token.start_mark.line + 1, token.value))
    return found


def save_pins(revisions: Revisions, path: Path) -> None:
    """Write the commits that the hub's branches stood for, those that were asked for just now as well."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Revisions(path, asked={**revisions.pinned, **revisions.asked}).save()


def write_rows(folder: Path, plan: Plan, store: FolderStore) -> None:
    """Write which rows of the corpus the stages read, in order: number, length, bin, and sha256 of the
    text."""
    parts = {
        (run.inputs["corpus"], run.type.corpus_part) for run in plan.runs.values() if "corpus" in run.inputs
    }
    for key, part in sorted(parts):
        corpus = plan.runs[key]
        folder.mkdir(exist_ok=True)
        with (folder / f"{corpus.name}-{part}.csv").open("w", encoding="utf-8", newline="") as stream:
            writer = csv.writer(stream, lineterminator="\n")
            writer.writerow(["place", "row", "tokens", "bin", "sha256"])
            for place, (_, row) in enumerate(read_json_lines(store.locate(corpus) / f"{part}.jsonl")):
                digest = digest_json(row["conversations"])
                writer.writerow([place, row["row"], row.get("n_tokens", ""), row.get("bin", ""), digest])


def render_readme(bundle: Bundle) -> str:
    """Return README.md's text."""
    sources = [
        f"| {role} | `{s.name}` | `{s.digest}` | {s.licence} | {'yes' if s.needed else 'no'} |"
        for role, s in bundle.sources.items()
    ]
    handed = [f"| `{n}` | `{e.sha256}` |" for n, e in bundle.package.files.items() if is_handed_in(n)]
    return README.format(
        lane=bundle.lane, experiment=bundle.experiment, commit=bundle.commit,
        package=bundle.package.name, sources="\n".join(sources), files="\n".join(handed),
    )  # fmt: skip


def render_environment(bundle: Bundle) -> str:
    """Return environment.txt's text, which pip can read: what is no package is a comment."""
    here = bundle.environment
    gpus: list[Mapping[str, str]] = list(here.gpus)
    facts = [f"device: {here.device}", f"machine: {here.machine}", f"Python: {here.python}"]
    facts += [f"GPU: {', '.join(f'{k} {v}' for k, v in gpu.items())}" for gpu in gpus]
    return "".join(f"# {fact}\n" for fact in facts) + "".join(
        f"{name}=={version}\n" for name, version in here.packages.items()
    )


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
