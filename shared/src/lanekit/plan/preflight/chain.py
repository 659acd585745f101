"""Each lane's stages as a chain: what one leaves is what the next one gets."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from lanekit.files.small_files import CONFIG
from lanekit.plan.preflight.finding import Finding
from lanekit.plan.preflight.kernels import read_count
from lanekit.plan.preflight.request import Request
from lanekit.spec.lane_file import Lane, LaneStage
from lanekit.spec.params import DistillParams, PruneParams
from lanekit.spec.quantization import CompressParams


def check_chains(request: Request) -> Iterator[Finding]:
    """Follow every lane's model from stage to stage."""
    config = request.model.peek_object(CONFIG) if request.model else {}
    for lane in request.lanes:
        yield from _follow_layers(lane, read_count(config, "num_hidden_layers"))
        yield from _follow_teacher(lane, is_taught=not request.has_teacher)
        if "quantization_config" in config and not request.is_base:
            yield from _check_packed_start(lane)
    yield from _find_twins(request)


def _follow_layers(lane: Lane, n_layers: int | None) -> Iterator[Finding]:
    """Compare prunings and kept layers with the layers that are there when they come; None: not known."""
    was_pruned = False
    for stage in lane.stages:
        if isinstance(stage.params, CompressParams):
            yield from _check_kept(stage, stage.params, n_layers, was_pruned=was_pruned)
        if not isinstance(stage.params, PruneParams):
            continue
        keep = stage.params.keep_layers
        if n_layers is not None and keep >= n_layers:
            at_this_point = " at this point of the lane" if was_pruned else ""
            can = f"at most {n_layers - 1} can be kept" if n_layers > 1 else "none can be dropped"
            yield Finding(
                stage.locate("keep_layers"),
                f"keep_layers is {keep}, but the model has {_count(n_layers)}{at_this_point}: {can}",
                "take this stage out" + (f", or set keep_layers to at most {n_layers - 1}" * (n_layers > 1)),
            )
            continue
        n_layers, was_pruned = keep, True


def _check_kept(
    stage: LaneStage, params: CompressParams, n_layers: int | None, *, was_pruned: bool
) -> Iterator[Finding]:
    """Refuse to keep a layer that is not there, or every one."""
    if params.keep is None or n_layers is None:
        return
    missing = [number for number in params.keep.layers if number >= n_layers]
    at_this_point = " at this point of the lane" if was_pruned else ""
    if missing:
        yield Finding(
            stage.locate("keep"),
            f"keep.layers names {', '.join(map(str, missing))}, but the model has {_count(n_layers)}"
            f"{at_this_point}: 0 to {n_layers - 1}",
            f"name layers from 0 to {n_layers - 1}"
            + (": those that pruning leaves are numbered anew" if was_pruned else ""),
        )
    elif len(params.keep.layers) == n_layers or (params.keep.count or 0) >= n_layers:
        what = "layers names" if params.keep.layers else f"count is {params.keep.count}, which is"
        yield Finding(
            stage.locate("keep"),
            f"keep.{what} every layer that there is{at_this_point}: nothing would be quantized",
            "keep fewer layers, or take the stage out",
        )


def _count(n_layers: int) -> str:
    return f"{n_layers} layer{'' if n_layers == 1 else 's'}"


def _follow_teacher(lane: Lane, *, is_taught: bool) -> Iterator[Finding]:
    """Refuse a distillation whose student is still its teacher; `is_taught`: the chain's start teaches."""
    for number, stage in enumerate(lane.stages):
        if isinstance(stage.params, DistillParams) and is_taught and number == 0:
            yield Finding(
                stage.locate(),
                "'distill' would train the base model towards itself: it learns from the base model, and no "
                "earlier stage has changed it",
                "put a stage that changes the model before it, e.g. prune: {keep_layers: 28}; or take it out",
            )


def _check_packed_start(lane: Lane) -> Iterator[Finding]:
    """Refuse a first stage that wants a dense model where the chain starts from a quantized one."""
    first = lane.stages[0]
    if "packed" not in first.type.takes:
        yield Finding(
            first.locate(),
            f"'{first.type.name}' needs an unquantized model, and the one that goes in is quantized already",
            "give the model from before its quantization as --input-model",
        )


def _find_twins(request: Request) -> Iterator[Finding]:
    """Tell of lanes that do the same: they would stand in the table twice."""
    first: dict[tuple[Any, ...], str] = {}
    for lane in request.lanes:
        stages = [(stage.type.name, stage.params.model_dump_json()) for stage in lane.stages]
        content = (str(lane.engine), *stages)
        twin = first.setdefault(content, lane.name)
        if twin != lane.name:
            yield Finding(
                str(lane.stages[0].file),
                f"{lane.name} does the same as {twin}: both get the same result",
                "change one of them, or take one out",
                "warning",
            )
