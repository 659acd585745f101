"""Which models can be smoothed: those whose linears read the residual stream itself."""

from __future__ import annotations

import json
from collections.abc import Iterator

from lanekit.files.small_files import CONFIG
from lanekit.plan.preflight.finding import Finding
from lanekit.plan.preflight.request import Request
from lanekit.spec.params import SmoothParams

SMOOTHABLE = ("exaone4",)


def check_smoothing(request: Request) -> Iterator[Finding]:
    """Refuse `smooth` for a model that is not known to have no norms before attention and MLP."""
    kind = request.model.peek_object(CONFIG).get("model_type") if request.model else None
    if kind is None or kind in SMOOTHABLE:
        return
    for stage in request.list_stages():
        if isinstance(stage.params, SmoothParams):
            yield Finding(
                stage.locate(),
                "'smooth' scales the residual stream, and needs attention and MLP to read it without a norm, "
                f"as in {', '.join(SMOOTHABLE)}; model_type {json.dumps(kind)} has norms there, or is not "
                "known to have none",
                "take smooth out of the lanes of this base model",
            )
