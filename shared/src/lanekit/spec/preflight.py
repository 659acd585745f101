"""Checks of lanes against the base model before any time is spent. Pure, but for reading config.json."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lanekit.files.safetensors_header import check_model_folder
from lanekit.files.strict_yaml import FileProblem, InputProblems
from lanekit.spec.experiment_file import Experiment, is_local
from lanekit.spec.lane_file import Lane, LaneStage
from lanekit.spec.params import GptqParams, PruneParams

GROUP_SIZES = {"W4A16": 128, "W4A16_ASYM": 128}


def check_lanes(experiment: Experiment, lanes: list[Lane]) -> None:
    """Compare the lanes with a local base model's config; a hub model is checked by the stages.

    Raises:
        InputError: the base model's folder is no model, or a weight file is truncated.
        InputProblems: a lane keeps more layers than there are, or a width does not divide by the group
            size; names the lane file and line.
    """
    if not is_local(experiment.base_model.source):
        return
    config = dict(check_model_folder(Path(experiment.base_model.source)).config)
    problems = [p for lane in lanes for stage in lane.stages for p in check_stage(stage, config)]
    if problems:
        raise InputProblems(problems)


def check_stage(stage: LaneStage, config: dict[str, Any]) -> list[FileProblem]:
    """Return what cannot work of one stage on a model of this config."""

    def report(message: str) -> list[FileProblem]:
        return [FileProblem(stage.file, stage.line, 1, message)]

    params = stage.params
    n_layers = int(config.get("num_hidden_layers", 0))
    if isinstance(params, PruneParams) and params.keep_layers >= n_layers:
        return report(
            f"keep_layers is {params.keep_layers}, but the model has {n_layers} layers: "
            f"at most {n_layers - 1} can be kept"
        )
    if isinstance(params, GptqParams) and params.scheme in GROUP_SIZES:
        group_size = GROUP_SIZES[params.scheme]
        bad = {name: w for name, w in list_input_widths(config).items() if w % group_size}
        if bad:
            widths = ", ".join(f"{name} {width}" for name, width in bad.items())
            return report(
                f"{params.scheme} needs widths that divide by its group size {group_size}; "
                f"the model has {widths}: use W8A16, which is per channel"
            )
    return []


def list_input_widths(config: dict[str, Any]) -> dict[str, int]:
    """Return the input widths of a decoder's linear layers by name."""
    heads = int(config["num_attention_heads"])
    hidden = int(config["hidden_size"])
    head_dim = int(config.get("head_dim") or hidden // heads)
    return {
        "hidden_size": hidden,
        "num_attention_heads x head_dim": heads * head_dim,
        "intermediate_size": int(config["intermediate_size"]),
    }
