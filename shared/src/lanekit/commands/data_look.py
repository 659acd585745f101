"""A look at the data sets' rows before the first stage, with the stages' own readers."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from lanekit.errors import InputError
from lanekit.files.parquet import can_read
from lanekit.plan.preflight.request import DataLook
from lanekit.sources.data_rows import choose_files, count_rows, explain_no_rows, iterate_local_rows
from lanekit.spec.calibration import CORPORA, count_drawn
from lanekit.spec.corpus_rows import look_at_rows
from lanekit.spec.experiment_file import is_local
from lanekit.spec.params import CorpusSettings, Source
from lanekit.spec.rows import BadRows, check_rows


def look_at_data(
    sources: Mapping[str, Source], read: Collection[str], corpus: CorpusSettings
) -> dict[str, DataLook]:
    """Return what can be known of each set: of a local one its rows, of one on the hub what was published.

    Args:
        read: the sets that a stage will read: of these the rows are read too, the others are only counted.
    """
    return {
        name: _look_at_set(name, source, corpus, is_read=name in read)
        if is_local(source.source)
        else DataLook(source.rows)
        for name, source in sources.items()
    }


def _look_at_set(name: str, source: Source, corpus: CorpusSettings, *, is_read: bool) -> DataLook:
    """Look at a local set; where pyarrow is not installed, one of Parquet is passed over."""
    try:
        files = choose_files(source).files
        if not all(map(can_read, files)):
            return DataLook()
    except InputError as error:
        return DataLook(error=error)
    try:
        if not is_read:
            return DataLook(sum(map(count_rows, files)))
        look = _read_corpus(name, source, files, corpus) if name in CORPORA else _read_benchmark(name, source)
        return look if look.n_rows else DataLook(error=explain_no_rows(source, name))
    except InputError as error:
        return DataLook(error=error if is_read else None)
    except OSError as error:
        message = f"{error.filename or source.source}: cannot be read: {error.strerror or error}"
        return DataLook(
            error=InputError(message, remedy="give this user the right to read it, or another source")
        )


def _read_corpus(name: str, source: Source, files: Sequence[Path], corpus: CorpusSettings) -> DataLook:
    n_rows = sum(map(count_rows, files))
    n_needed = sum(count_drawn(name, corpus))
    return DataLook(n_rows, first=look_at_rows(iterate_local_rows(source, name), n_rows, n_needed))


def _read_benchmark(name: str, source: Source) -> DataLook:
    bad = BadRows()
    n_good = sum(1 for _ in check_rows(name, iterate_local_rows(source, name), bad))
    return DataLook(n_good + bad.count, bad.make_error())
