"""The tiny model and the synthetic corpus, prepared once."""

from __future__ import annotations

from pathlib import Path

import pytest

from lanekit.progress import ignore_progress
from lanekit.spec.params import PrepareCorpusParams
from tiny.datasets import build_datasets, write_datasets

FIXTURE = Path(__file__).parents[3] / "scripts" / "tiny" / "fixture"


@pytest.fixture(scope="session")
def tiny_model() -> Path:
    """The committed tiny EXAONE-4 model."""
    return FIXTURE


@pytest.fixture(scope="session")
def data_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The synthetic data sets as JSONL."""
    folder = tmp_path_factory.mktemp("data")
    write_datasets(build_datasets(42), folder)
    return folder


@pytest.fixture(scope="session")
def corpus(data_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus artifact's folder."""
    from trainer.stages.prepare_corpus import run

    out = tmp_path_factory.mktemp("corpus")
    spec = PrepareCorpusParams.model_validate(
        {
            "corpus": {"source": str(data_folder / "manta.jsonl")},
            "train_rows": 400,
            "validation_rows": 32,
            "calibration_rows": 64,
        }
    )
    run(spec, {"model": FIXTURE, "suite": data_folder}, out, ignore_progress)
    return out
