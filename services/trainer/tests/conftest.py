"""The tiny model and the synthetic corpus, prepared once."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lanekit.params import PrepareCorpusParams
from lanekit.progress import ignore_progress
from tiny.datasets import build_datasets

FIXTURE = Path(__file__).parents[3] / "scripts" / "tiny" / "fixture"


@pytest.fixture(scope="session")
def tiny_model() -> Path:
    """The committed tiny EXAONE-4 model."""
    return FIXTURE


@pytest.fixture(scope="session")
def data_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The synthetic data sets as JSONL."""
    folder = tmp_path_factory.mktemp("data")
    for name, rows in build_datasets(42).items():
        lines = (json.dumps(row, ensure_ascii=False) for row in rows)
        (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
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
    run(spec, {}, out, ignore_progress)
    return out
