"""All checks, in the order in which a person would mend what they find."""

from __future__ import annotations

from collections.abc import Iterator

from lanekit.plan.preflight.amounts import check_amounts
from lanekit.plan.preflight.base_config import check_config
from lanekit.plan.preflight.chain import check_chains
from lanekit.plan.preflight.environment import check_environment
from lanekit.plan.preflight.finding import Finding
from lanekit.plan.preflight.lane_engines import check_lane_engines
from lanekit.plan.preflight.lengths import check_lengths
from lanekit.plan.preflight.mixes import check_mixes
from lanekit.plan.preflight.modules import check_modules
from lanekit.plan.preflight.replicates import check_replicates
from lanekit.plan.preflight.request import Request
from lanekit.plan.preflight.schemes import check_schemes
from lanekit.plan.preflight.serving import check_kernels
from lanekit.plan.preflight.smoothing import check_smoothing
from lanekit.plan.preflight.template import check_template
from lanekit.plan.preflight.tokenizer import check_tokenizer

CHECKS = (
    check_environment,
    check_lane_engines,
    check_kernels,
    check_config,
    check_tokenizer,
    check_template,
    check_chains,
    check_smoothing,
    check_schemes,
    check_modules,
    check_mixes,
    check_amounts,
    check_lengths,
    check_replicates,
)


def find_faults(request: Request) -> list[Finding]:
    """Return every finding, each once."""
    found = [finding for check in CHECKS for finding in check(request)]
    return list(dict.fromkeys([*_check_licence(request), *found]))


def _check_licence(request: Request) -> Iterator[Finding]:
    """Refuse a base model without the licence that a package carries: adding it later changes every key."""
    if request.is_base and request.model is not None and not request.model.has_licence:
        yield Finding(
            request.model.place,
            "the base model has no LICENSE file, and a package must carry one",
            "put the model's licence text as LICENSE beside its config.json now: once stages have run, it "
            "would change every key",
        )
