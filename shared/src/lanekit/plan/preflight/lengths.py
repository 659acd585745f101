"""Lengths against the model's positions and the engine's `max_model_len`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from lanekit.files.small_files import CONFIG
from lanekit.plan.preflight.finding import Finding
from lanekit.plan.preflight.kernels import read_count
from lanekit.plan.preflight.request import Request
from lanekit.spec.lengths import has_room, list_long_forms

MAX_FACTOR = 1e6  # beyond it the number is a slip, infinite or not
_STRETCHED = ("linear", "dynamic", "yarn")  # with these, vLLM counts the positions times their factor


def check_lengths(request: Request) -> Iterator[Finding]:
    """Check what is evaluated and timed, and what the stages train and calibrate on."""
    positions = count_positions(request.model.peek_object(CONFIG)) if request.model else None
    if positions is not None:
        yield from _check_positions(request, positions)
    if request.engine is None:
        return
    limit = request.engine.max_model_len
    experiment = request.experiment
    for name, (n_prompt, n_new) in list_long_forms(experiment.speed, limit).items():
        key = "prefill_tokens" if name == "prefill" else "decode_tokens"
        yield Finding(
            request.locate("speed", key),
            f"speed, form {name}: {n_prompt} prompt and {n_new} new tokens exceed max_model_len {limit}",
            "lower speed.prompt_tokens, decode_tokens or prefill_tokens, or raise evaluation.max_model_len",
        )
    thinking = experiment.evaluation.enable_thinking
    for benchmark in experiment.benchmarks:
        if not has_room(benchmark, limit, thinking=thinking):
            name = "thinking_max_new_tokens" if thinking else "max_new_tokens"
            n_new = benchmark.count_new_tokens(thinking=thinking)
            yield Finding(
                request.locate("evaluation", "max_model_len"),
                f"{benchmark.name}: replies of up to {n_new} tokens leave no room for a prompt in "
                f"max_model_len {limit}",
                f"raise evaluation.max_model_len above {n_new}, or lower {name} in "
                f"benchmarks/{benchmark.name}.yaml",
            )


def count_positions(config: dict[str, Any]) -> int | None:
    """Return how many positions a model has; None where its config does not tell."""
    positions, scaling = read_count(config, "max_position_embeddings"), config.get("rope_scaling")
    if positions is None or not isinstance(scaling, dict):
        return positions
    kind, factor = scaling.get("rope_type", scaling.get("type")), scaling.get("factor")
    if kind not in _STRETCHED or not isinstance(factor, (int, float)) or not 1 < factor < MAX_FACTOR:
        return positions
    original = read_count(scaling, "original_max_position_embeddings")
    start = original if kind == "yarn" and original else positions
    return max(positions, int(start * factor))


def _check_positions(request: Request, positions: int) -> Iterator[Finding]:
    beyond = f"but the model has {positions} positions (max_position_embeddings)"
    if request.engine is not None and request.engine.max_model_len > positions:
        yield Finding(
            request.locate("evaluation", "max_model_len"),
            f"max_model_len is {request.engine.max_model_len}, {beyond}",
            f"lower evaluation.max_model_len to at most {positions}",
        )
    for stage in request.list_stages():
        max_length = getattr(stage.params, "max_length", None)
        if max_length is not None and stage.type.needs_corpus(stage.params) and max_length > positions:
            yield Finding(
                stage.locate("max_length"),
                f"max_length of '{stage.type.name}' is {max_length}, {beyond}",
                f"lower max_length to at most {positions}",
            )
