"""Data sets of the hub: fetched at a commit, with retries, and errors that say which page to open."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from typing import Any

from tenacity import (
    before_sleep_log,
    retry,
    retry_if_exception_type,
    stop_after_attempt,
    wait_exponential,
)

from lanekit.errors import InputError, TransientError
from lanekit.sources.hub import explain_hub_error, name_page
from lanekit.sources.revisions import COMMIT
from lanekit.spec.params import Source

ATTEMPTS = 3  # the libraries retry each request themselves, for about 20 s
FIRST_WAIT_S = 2.0
MAX_WAIT_S = 20.0

_logger = logging.getLogger(__name__)
_FETCHED_COMMIT = re.compile(r"@([0-9a-f]{40})/")


def fetch_dataset(source: Source, load: Callable[..., Any] | None = None) -> Any:
    """Return a split of a hub data set as a memory-mapped `datasets.Dataset`.

    Args:
        load: in the place of `datasets.load_dataset`.

    Raises:
        InputError: gated, unknown, no such split or revision, or another number of rows than `source.rows`.
        TransientError: the hub could not be reached, ATTEMPTS times over.
    """
    dataset = _load(source, load)
    if source.rows is not None and len(dataset) != source.rows:
        raise InputError(
            f"{source.source}: the split '{source.split}' of revision '{source.revision}' has {len(dataset)} "
            f"rows, {source.rows} are expected",
            remedy="the set was changed: pin the revision that has that many, or correct 'rows' in the "
            "experiment file",
        )
    return dataset


@retry(
    retry=retry_if_exception_type(TransientError),
    stop=stop_after_attempt(ATTEMPTS),
    wait=wait_exponential(multiplier=FIRST_WAIT_S, max=MAX_WAIT_S),
    before_sleep=before_sleep_log(_logger, logging.WARNING),
    reraise=True,
)
def _load(source: Source, load: Callable[..., Any] | None) -> Any:
    from datasets import load_dataset
    from datasets.data_files import EmptyDatasetError
    from datasets.exceptions import DataFilesNotFoundError, DatasetGenerationError

    try:
        dataset = (load or load_dataset)(source.source, split=source.split, revision=source.revision)
    except (DataFilesNotFoundError, EmptyDatasetError) as error:
        raise InputError(
            f"{source.source}: the data set has no files that can be read: {error}",
            remedy=f"see {name_page(source.source, 'dataset')}/tree/{source.revision}",
        ) from error
    except (ValueError, DatasetGenerationError) as error:  # an unknown split or configuration, damaged files
        raise InputError(
            f"{source.source}: {error}",
            remedy="correct 'split' in the experiment file; see the splits on "
            f"{name_page(source.source, 'dataset')}",
        ) from error
    except Exception as error:  # what it raises for the network comes from four libraries
        cause = _find_cause(source) or error
        raise explain_hub_error(cause, source.source, "dataset", source.revision) from error
    _check_commit(source, dataset)
    return dataset


def _find_cause(source: Source) -> Exception | None:
    """Ask the hub itself why a set cannot be loaded: `load_dataset` lets go of the answer that it had."""
    from huggingface_hub import HfApi

    api = HfApi()
    try:
        api.repo_info(source.source, repo_type="dataset", revision=source.revision, timeout=30)
        api.auth_check(source.source, repo_type="dataset")
    except Exception as error:
        return error
    return None


def _check_commit(source: Source, dataset: Any) -> None:
    """Refuse another commit: where the hub is out of reach, the library takes what its cache has."""
    addresses = dataset.info.download_checksums or {}
    commits = {c for address in addresses for c in _FETCHED_COMMIT.findall(str(address))}
    if not COMMIT.match(source.revision) or not commits or commits == {source.revision}:
        return
    cause = _find_cause(source)
    if cause is not None:
        raise explain_hub_error(cause, source.source, "dataset", source.revision) from cause
    raise TransientError(
        f"{source.source}: the hub cache gave the commit {', '.join(sorted(commits))}, {source.revision} is "
        "asked for",
        remedy="run again: the cache was read because the hub could not be asked",
    )
