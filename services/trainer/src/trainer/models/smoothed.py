"""A model measured for smoothing and smoothed in place; how its scales are found: `models.smoothing`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import geometric_mean
from typing import Any

import torch
from torch import nn

from lanekit.errors import InputError
from lanekit.files.conversations import IGNORED_LABEL
from lanekit.progress import Progress
from trainer.models.smoothing import (
    LogitsFactor,
    average_log_scales,
    compute_log_scales,
    fold_heads,
    make_scales,
    normalize_scales,
    spread_heads,
)

MAX_STATES = 8_192  # tokens whose state is kept: 67 MB in float32 at 2048 channels
WATCHED = ("self_attn.q_proj", "self_attn.o_proj", "mlp.gate_proj", "mlp.down_proj")


@dataclass
class Measured:
    """What a model's linears were given: the largest absolute input by channel, by the module's name.

    `states` are the stream before the final norm, at positions from which an answer's token is predicted.
    """

    maxima: dict[str, torch.Tensor] = field(default_factory=dict)
    states: list[torch.Tensor] = field(default_factory=list)


@dataclass(frozen=True)
class Smoothing:
    """The scales by which a model is smoothed.

    `stream` are the residual stream's. By layer, `values` and `ups` are those of the outputs of v and up;
    `heads` are the values' at the query heads that read them, the inputs of o.
    """

    stream: torch.Tensor
    values: list[torch.Tensor]
    heads: list[torch.Tensor]
    ups: list[torch.Tensor]
    factor: LogitsFactor

    def find_inputs(self, name: str) -> torch.Tensor:
        """Return the scales of a measured linear's inputs, by the module's name."""
        layer = int(name.split(".")[2])
        by_layer = {"o_proj": self.heads, "down_proj": self.ups}.get(name.rpartition(".")[2])
        return self.stream if by_layer is None else by_layer[layer]


def check_layout(model: Any) -> None:
    """Refuse a decoder whose residual stream is not what its linears read.

    Raises:
        InputError: names what is missing, or in the way.
    """
    layer = model.model.layers[0]
    before = [name for name in ("input_layernorm", "pre_feedforward_layernorm") if hasattr(layer, name)]
    after = [n for n in ("post_attention_layernorm", "post_feedforward_layernorm") if not hasattr(layer, n)]
    if before or after:
        found = f"it has {', '.join(before)}" if before else f"it has no {', '.join(after)}"
        raise InputError(
            "'smooth' is for decoders whose norms are on the outputs of attention and MLP alone, as "
            f"EXAONE-4's; {found}",
            remedy="take smooth out of the lane file for this base model",
        )


@torch.inference_mode()
def measure_inputs(
    model: Any, samples: Sequence[Mapping[str, list[int]]], device: torch.device, progress: Progress
) -> Measured:
    """Run the samples through the decoder and keep the largest inputs of its linears."""
    found = Measured()
    quota = max(1, MAX_STATES // len(samples))
    asked: list[int] = []

    def keep_maxima(name: str, inputs: torch.Tensor) -> None:
        highest = inputs.abs().flatten(0, -2).amax(dim=0).float()
        found.maxima[name] = torch.maximum(found.maxima.get(name, highest), highest)

    def keep_states(_: nn.Module, args: tuple[torch.Tensor, ...]) -> None:
        found.states.append(args[0][0, asked].float().cpu())

    hooks = [model.model.norm.register_forward_pre_hook(keep_states)]
    hooks += [
        module.register_forward_pre_hook(lambda _, args, name=name: keep_maxima(name, args[0]))
        for name, module in model.named_modules()
        if name.endswith(WATCHED)
    ]
    try:
        for number, sample in enumerate(samples):
            progress(number, len(samples), "measuring the inputs of the linear layers")
            places = [i for i, label in enumerate(sample["labels"][1:]) if label != IGNORED_LABEL]
            asked[:] = places[:: -(-len(places) // quota)]
            model.model(torch.tensor([sample["input_ids"]], device=device), use_cache=False)
    finally:
        for hook in hooks:
            hook.remove()
    return found


def find_scales(model: Any, measured: Measured, strength: float, *, power_of_two: bool) -> Smoothing:
    """Return the scales for what was measured.

    Raises:
        InputError: an activation is not finite.
    """
    bad = [name for name, highest in measured.maxima.items() if not bool(highest.isfinite().all())]
    if bad:
        raise InputError(
            f"the activations are not finite at {', '.join(bad[:3])}",
            remedy="check the model that is smoothed: it gives no finite activations on the calibration rows",
        )
    n_heads, n_kv_heads, head_dim = _read_heads(model)
    stream, values, heads, ups = [], [], [], []
    for index, layer in enumerate(model.model.layers):
        attention, mlp = layer.self_attn, layer.mlp
        inputs = {name: measured.maxima[f"model.layers.{index}.{name}"].cpu() for name in WATCHED}
        for name, readers in (
            ("self_attn.q_proj", (attention.q_proj, attention.k_proj, attention.v_proj)),
            ("mlp.gate_proj", (mlp.gate_proj, mlp.up_proj)),
        ):
            columns = torch.stack([_find_columns(linear) for linear in readers]).amax(dim=0)
            stream.append(compute_log_scales(inputs[name], columns, strength))
        read = fold_heads(inputs["self_attn.o_proj"], n_kv_heads, head_dim)
        columns = fold_heads(_find_columns(attention.o_proj), n_kv_heads, head_dim)
        logs = compute_log_scales(read, columns, strength)
        values.append(make_scales(logs, power_of_two=power_of_two))
        heads.append(spread_heads(values[-1], n_heads, head_dim))
        logs = compute_log_scales(inputs["mlp.down_proj"], _find_columns(mlp.down_proj), strength)
        ups.append(make_scales(logs, power_of_two=power_of_two))
    scales, factor = normalize_scales(
        average_log_scales(stream),
        torch.cat(measured.states),
        float(model.config.rms_norm_eps),
        power_of_two=power_of_two,
    )
    return Smoothing(scales, values, heads, ups, factor)


@torch.no_grad()
def smooth_model(model: Any, smoothing: Smoothing, dtype: torch.dtype) -> int:
    """Smooth a model in place; return how many weights cannot be scaled back exactly in `dtype`.

    Powers of two change exponents alone: there a weight loses bits only where it leaves the dtype's range.
    """
    stream, lost = smoothing.stream, 0
    is_tied = model.get_output_embeddings().weight is model.get_input_embeddings().weight

    def scale(tensor: torch.Tensor, factor: torch.Tensor) -> None:
        nonlocal lost
        factor = factor.to(tensor.device, torch.float32)
        scaled = (tensor.float() * factor).to(dtype)
        lost += int(((scaled.float() / factor).to(dtype) != tensor.to(dtype)).sum())
        tensor.copy_(scaled)

    scale(model.model.embed_tokens.weight, 1 / stream)
    layers = zip(model.model.layers, smoothing.values, smoothing.heads, smoothing.ups, strict=True)
    for layer, value, head, up in layers:
        attention, mlp = layer.self_attn, layer.mlp
        for linear in (attention.q_proj, attention.k_proj, mlp.gate_proj):
            scale(linear.weight, stream)
        for linear, rows in ((attention.v_proj, value), (mlp.up_proj, up)):
            scale(linear.weight, stream / rows[:, None])
            if linear.bias is not None:
                scale(linear.bias, 1 / rows)
        scale(attention.o_proj.weight, head)
        scale(mlp.down_proj.weight, up)
        scale(layer.post_attention_layernorm.weight, 1 / stream)
        scale(layer.post_feedforward_layernorm.weight, 1 / stream)
    scale(model.model.norm.weight, stream.square() if is_tied else stream)
    return lost


def measure_spread(measured: Measured, smoothing: Smoothing) -> tuple[float, float]:
    """Return how far a linear's largest input stands above its median channel, before and after.

    It is the geometric mean over the linears: by so much the scale of most channels is too wide; 1 is best.
    """
    before = [_find_spread(highest.cpu()) for highest in measured.maxima.values()]
    after = [_find_spread(h.cpu() / smoothing.find_inputs(n)) for n, h in measured.maxima.items()]
    return geometric_mean(before), geometric_mean(after)


def _find_spread(highest: torch.Tensor) -> float:
    floor = torch.finfo(torch.float32).tiny
    return float(highest.max().clamp(min=floor) / highest.median().clamp(min=floor))


def _find_columns(linear: nn.Linear) -> torch.Tensor:
    return linear.weight.detach().abs().amax(dim=0).float().cpu()


def _read_heads(model: Any) -> tuple[int, int, int]:
    """Return the numbers of query heads and of value heads, and a head's width."""
    config = model.config
    n_heads = int(config.num_attention_heads)
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // n_heads
    return n_heads, int(config.num_key_value_heads), int(head_dim)
