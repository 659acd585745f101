"""The screens of two lanes beside each other, out of a results folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from lanekit.results.collect import METRICS_NAME
from lanekit.results.screen import ScreenResult, subtract_screens


def read_screen(results: Path, lane: str) -> ScreenResult | None:
    """Return a lane's screen; None where it has none, or its record cannot be read."""
    try:
        content = json.loads((results / lane / METRICS_NAME).read_text(encoding="utf-8"))
        return ScreenResult.model_validate(content["screen"]) if content.get("screen") else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def describe_screens(a: ScreenResult | None, b: ScreenResult | None) -> dict[str, Any]:
    """Return both lanes' numbers and B's less A's as data; None where there is none."""
    difference = subtract_screens(b, a) if a and b else None
    sides = {"a": a, "b": b, "difference": difference}
    leave_out = {"sequence_tokens", "sequence_kl"}
    return {name: x.model_dump(mode="json", exclude=leave_out) if x else None for name, x in sides.items()}


def list_lines(a: ScreenResult | None, b: ScreenResult | None) -> list[str]:
    """Return what a terminal shows of two screens: a line each, and one of the difference."""
    lines = [f"{name}: {_show(screen)}" for name, screen in (("A", a), ("B", b)) if screen]
    if not lines:
        return []
    if a and b:
        found = subtract_screens(b, a)
        if found is None:
            lines.append("B − A: not the same text, so that no difference is shown")
        else:
            lines.append(
                f"B − A: KL {found.kl:+.4f}{_show_error(found.kl_error)}, same top-1 "
                f"{100 * found.same_top:+.1f} points, PPL/base {found.ppl_ratio:+.4f}"
            )
    return [f"screen, {line}" for line in lines]


def _show(screen: ScreenResult) -> str:
    return (
        f"KL {screen.kl_mean:.4f}{_show_error(screen.kl_error)}, same top-1 {screen.same_top:.1%}, "
        f"PPL/base {screen.ppl_ratio:.4f} ({screen.n_tokens} held-out tokens)"
    )


def _show_error(error: float | None) -> str:
    return "" if error is None else f" ± {error:.4f}"
