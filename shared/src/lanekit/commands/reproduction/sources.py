"""The sources of a bundle on this machine: each is found by name, and is what the bundle's digest says."""

from __future__ import annotations

from pathlib import Path

from lanekit.commands.reproduction.bundle import BASE_MODEL, Bundle, SourceRecord
from lanekit.errors import InputError
from lanekit.files.data_files import SUFFIXES
from lanekit.files.hashing import hash_source
from lanekit.spec.experiment_file import Experiment
from lanekit.spec.params import Source


def place_sources(
    bundle: Bundle, experiment: Experiment, base_model: Path, data: Path | None
) -> tuple[Experiment, list[str]]:
    """Return the experiment with the sources of this machine and their digests, and what is to be told.

    A source that no stage reads keeps the digest alone. One of the hub is taken from `data` where it is
    there, else from the hub at its commit.

    Raises:
        InputError: sources are missing or of other content; all of them at once.
    """
    found: dict[str, Source] = {}
    notes: list[str] = []
    faults: list[InputError] = []
    for role, record in bundle.sources.items():
        written = experiment.base_model if role == BASE_MODEL else experiment.data[role]
        try:
            path = (
                base_model if role == BASE_MODEL else find_data(role, record, data) if record.needed else None
            )
            found[role] = place_source(role, record, written, path)
        except InputError as error:
            faults.append(error)
            continue
        if path is not None and not record.is_local:
            notes.append(f"{role}: {path} stands in for {record.name} at {record.digest[:12]} of the hub")
    if faults:
        raise InputError(
            "\n".join(fault.message for fault in faults),
            remedy="; ".join(dict.fromkeys(fault.remedy for fault in faults)),
        )
    base = experiment.base_model.model_copy(update=found.pop(BASE_MODEL).model_dump(include=CHANGED))
    return experiment.model_copy(update={"base_model": base, "data": found}), notes


CHANGED = {"source", "revision", "digest"}


def find_data(role: str, record: SourceRecord, data: Path | None) -> Path | None:
    """Return a data set's place below the folder `data`; None for one to be fetched from the hub.

    Raises:
        InputError: it is a local one, and is not there.
    """
    own = record.name.rpartition("/")[2]
    names = [own, role, *(f"{role}{suffix}" for suffix in SUFFIXES)]
    for path in (data / name for name in names) if data else ():
        if path.exists():
            return path
    if not record.is_local:
        return None
    where = f"{data} holds no {own}" if data else f"{own} is needed"
    raise InputError(f"{role}: {where}", remedy=f"put it there: --data FOLDER, with {own} in it")


def place_source(role: str, record: SourceRecord, written: Source, path: Path | None) -> Source:
    """Return a source as it is read here.

    Raises:
        InputError: what stands at the path is not what the bundle was made from.
    """
    if path is None:
        revision = written.revision if record.is_local else record.revision
        return written.model_copy(update={"digest": record.digest, "revision": revision})
    path = path.expanduser().resolve()
    digest = hash_source(path)
    if record.is_local and digest != record.digest:
        raise InputError(
            f"{role}: {path} is not what the bundle was made from: its digest is {digest[:12]}…, the "
            f"bundle's {record.digest[:12]}…",
            remedy=f"give {record.name} as it was: same files, same bytes (hidden files do not count)",
        )
    return written.model_copy(update={"source": str(path), "digest": digest})
