"""Engines behind one interface; each library is imported only where its engine is loaded."""

from __future__ import annotations

from pathlib import Path

from evaluator.engines.base import Engine
from lanekit.errors import InputError
from lanekit.spec.evaluation import EngineParams


def load_engine(model: Path, params: EngineParams) -> Engine:
    """Load a model folder.

    Raises:
        InputError: the folder is no model that the engine can read.
    """
    if not (model / "config.json").is_file():
        raise InputError(f"{model}: no config.json", remedy="give a model folder in Hugging Face form")
    if params.engine == "vllm":
        from evaluator.engines.vllm_engine import VllmEngine

        return VllmEngine(model, params)
    from evaluator.engines.transformers_engine import TransformersEngine

    return TransformersEngine(model, params)
