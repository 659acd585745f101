"""The sources that a stage's calibration mix names, against those that the experiment has."""

from __future__ import annotations

from collections.abc import Iterator

from lanekit.plan.preflight.finding import Finding
from lanekit.plan.preflight.request import Request
from lanekit.spec.params import CalibratedParams


def check_mixes(request: Request) -> Iterator[Finding]:
    """Refuse a mix of what the experiment has no source for, and a choice where nothing is calibrated."""
    for stage in request.list_stages():
        params = stage.params
        if not isinstance(params, CalibratedParams) or params.calibration is None:
            continue
        where = stage.locate("calibration")
        if not stage.type.needs_corpus(params):
            yield Finding(
                where,
                f"'{stage.type.name}' calibrates nothing with these parameters, and has a calibration",
                "take calibration out of this stage, or give it parameters that look at data",
            )
        for share in params.calibration.mix:
            if share.source not in request.experiment.data:
                yield Finding(
                    where,
                    f"the mix takes rows of '{share.source}', and the experiment has no source of that name",
                    f"add {share.source} to data of {request.document.path}, or take it out of the mix",
                )
