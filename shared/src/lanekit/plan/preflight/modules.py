"""Names of the model's modules that stages ask for, against those that there are."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from lanekit.errors import did_you_mean
from lanekit.files.small_files import CONFIG
from lanekit.plan.preflight.finding import Finding
from lanekit.plan.preflight.request import Request
from lanekit.spec.lane_file import LaneStage
from lanekit.spec.params import SftParams
from lanekit.spec.quantization import CompressParams

HEAD = "lm_head"
MATRIX = 2  # axes of a linear layer's weight
_REGEX = "re:"
_CLASSES = ("Linear",)


def check_modules(request: Request) -> Iterator[Finding]:
    """Check which layers LoRA adapts and which a quantization leaves out."""
    shapes = request.model.shapes if request.model else {}
    config = request.model.peek_object(CONFIG) if request.model else {}
    linears = list_linears(shapes)
    is_tied = bool(config.get("tie_word_embeddings"))
    for stage in request.list_stages():
        if isinstance(stage.params, SftParams):
            yield from _check_targets(stage, stage.params, linears, is_tied=is_tied)
        if isinstance(stage.params, CompressParams):
            yield from _check_ignored(stage, stage.params, linears, is_tied=is_tied)


def list_linears(shapes: Mapping[str, tuple[int, ...]]) -> list[str]:
    """Return the full names of the linear layers among a model's tensors; none where those are not known."""
    weights = [
        n.removesuffix(".weight") for n, s in shapes.items() if n.endswith(".weight") and len(s) == MATRIX
    ]
    return [name for name in weights if "embed" not in name.rpartition(".")[2]]


def _check_targets(
    stage: LaneStage, params: SftParams, linears: list[str], *, is_tied: bool
) -> Iterator[Finding]:
    where = stage.locate("target_modules")
    if not params.target_modules:
        yield Finding(where, "target_modules names no layer", "name layers, or leave target_modules out")
    adaptable = [name for name in linears if name != HEAD or not is_tied]
    known = sorted({name.rpartition(".")[2] for name in adaptable})
    for target in params.target_modules if known else ():
        if not any(name == target or name.endswith(f".{target}") for name in adaptable):
            yield Finding(
                where,
                f"target_modules: the model has no linear layer '{target}' to adapt"
                f"{did_you_mean(target, known)}",
                "its linear layers are: " + ", ".join(known),
            )


def _check_ignored(
    stage: LaneStage, params: CompressParams, linears: list[str], *, is_tied: bool
) -> Iterator[Finding]:
    where = stage.locate("ignore")
    names = [*linears, HEAD]
    matched: set[str] = set()
    for entry in params.ignore:
        try:
            found = {name for name in names if is_ignored(name, entry)}
        except re.error as error:
            yield Finding(
                where, f"ignore: '{entry}' is no regular expression: {error}", "correct the pattern"
            )
            matched.add(HEAD)
            continue
        if not found and linears and entry not in _CLASSES:
            hint = did_you_mean(entry, names)
            yield Finding(
                where,
                f"ignore: '{entry}' is no layer of the model{hint}, so that nothing would be left out",
                "give a layer's full name, e.g. model.layers.0.mlp.down_proj, or a pattern: re:.*down_proj",
            )
        matched |= found
    if is_tied and HEAD not in matched:
        yield Finding(
            where,
            f"ignore does not name {HEAD}, which is tied to the embedding: quantizing it would tear them "
            "apart",
            f"add {HEAD} to ignore",
        )


def is_ignored(name: str, entry: str) -> bool:
    """Whether `entry` leaves the layer `name` out of a quantization, as compressed-tensors reads it.

    Raises:
        re.error: the entry is no regular expression.
    """
    if entry.startswith(_REGEX):
        return re.match(entry.removeprefix(_REGEX), name) is not None
    return entry == name or entry in _CLASSES
