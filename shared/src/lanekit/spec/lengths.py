"""Lengths in tokens against the room that an engine has: the one rule, for the plan and for the stages."""

from __future__ import annotations

from lanekit.spec.benchmark import Benchmark
from lanekit.spec.evaluation import SpeedSettings


def list_long_forms(speed: SpeedSettings, max_model_len: int) -> dict[str, tuple[int, int]]:
    """Return the forms of fixed length that do not fit: prompt and new tokens by name."""
    forms = {f"decode_b{max(speed.batch_sizes)}": (speed.prompt_tokens, speed.decode_tokens)}
    if speed.prefill_tokens:
        forms["prefill"] = (speed.prefill_tokens, 1)
    return {name: lengths for name, lengths in forms.items() if sum(lengths) > max_model_len}


def has_room(benchmark: Benchmark, max_model_len: int, *, thinking: bool) -> bool:
    """Whether the longest reply leaves room for a prompt; a judged one takes the room that is left."""
    return benchmark.metric == "judge" or benchmark.count_new_tokens(thinking=thinking) < max_model_len
