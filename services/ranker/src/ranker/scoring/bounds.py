"""What the verdicts on host, memory and compute mean for a ranking. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from lanekit.results.schema import LaneRecord


def warn_of_host(records: Iterable[LaneRecord]) -> list[str]:
    """Return a warning for each device on which the host bounds a form of timing."""
    found: dict[str, dict[str, list[bool]]] = defaultdict(lambda: defaultdict(list))
    scored = set()
    for record in records:
        speed = record.speed
        for name, bound in speed.cost.bounds.items() if speed and speed.cost else ():
            assert speed
            found[speed.device][name].append(bound.verdict == "host")
            scored.add(speed.form)
    warnings = []
    for device, forms in found.items():
        bound_forms = {name: verdicts for name, verdicts in forms.items() if any(verdicts)}
        if not bound_forms:
            continue
        counted = ", ".join(f"{n} ({sum(v)} of {len(v)} models)" for n, v in bound_forms.items())
        score = "; the score's speed is one of these" if scored & set(bound_forms) else ""
        warnings.append(
            f"On {device} the host bounds {counted}, not the GPU{score}: there, ranks on this GPU do not "
            "carry over to a slower one."
        )
    return warnings


def note_unknown_devices(records: Iterable[LaneRecord]) -> list[str]:
    """Return a note for each GPU of which too little is known to say what bounds it."""
    unknown = {
        record.speed.device: None
        for record in records
        if record.speed and not record.speed.is_cpu and record.speed.bandwidth_bytes_per_s is None
    }
    return [
        f"What bounds a step on {device} is not said: its memory bandwidth and tensor peak are not in the "
        "table of GPUs."
        for device in unknown
    ]
