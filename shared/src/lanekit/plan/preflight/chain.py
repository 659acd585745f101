"""Each lane's stages as a chain: what one leaves is what the next one gets."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from lanekit.files.small_files import CONFIG
from lanekit.plan.preflight.finding import Finding
from lanekit.plan.preflight.request import Request
from lanekit.spec.lane_file import Lane, LaneStage
from lanekit.spec.params import AutoRoundParams, AwqParams, DistillParams, GptqParams, PruneParams

GROUP_SIZES = {"W4A16": 128, "W4A16_ASYM": 128}
GROUPED = (GptqParams, AwqParams, AutoRoundParams)


def check_chains(request: Request) -> Iterator[Finding]:
    """Follow every lane's model from stage to stage."""
    config = request.model.peek_object(CONFIG) if request.model else {}
    for lane in request.lanes:
        yield from _follow_layers(lane, read_count(config, "num_hidden_layers"))
        yield from _follow_teacher(lane, is_taught=not request.has_teacher)
        for stage in lane.stages:
            yield from _check_groups(stage, config)
        if "quantization_config" in config and not request.is_base:
            yield from _check_packed_start(lane)
    yield from _find_twins(request)


def read_count(config: dict[str, Any], name: str) -> int | None:
    """Return a positive whole number of a config; None where there is none."""
    value = config.get(name)
    return value if type(value) is int and value > 0 else None


def _follow_layers(lane: Lane, n_layers: int | None) -> Iterator[Finding]:
    """Compare each pruning with the layers that are left when it comes; None: not known."""
    was_pruned = False
    for stage in lane.stages:
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


def _check_groups(stage: LaneStage, config: dict[str, Any]) -> Iterator[Finding]:
    """Refuse a group size that does not divide the widths of the model's linear layers."""
    params = stage.params
    if not isinstance(params, GROUPED) or params.scheme not in GROUP_SIZES:
        return
    group_size = GROUP_SIZES[params.scheme]
    bad = {name: width for name, width in list_input_widths(config).items() if width % group_size}
    if bad:
        widths = ", ".join(f"{name} {width}" for name, width in bad.items())
        yield Finding(
            stage.locate("scheme"),
            f"{params.scheme} needs widths that divide by its group size {group_size}; "
            f"the model has {widths}",
            "use gptq: {scheme: W8A16}, which is per channel",
        )


def list_input_widths(config: dict[str, Any]) -> dict[str, int]:
    """Return the input widths of a decoder's linear layers by name, as far as the config tells them."""
    heads, hidden = read_count(config, "num_attention_heads"), read_count(config, "hidden_size")
    head_dim = read_count(config, "head_dim") or (hidden // heads if heads and hidden else None)
    widths = {
        "hidden_size": hidden,
        "num_attention_heads x head_dim": heads * head_dim if heads and head_dim else None,
        "intermediate_size": read_count(config, "intermediate_size"),
    }
    return {name: width for name, width in widths.items() if width is not None}


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
