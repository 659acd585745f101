"""Quantize: the whole chain of one lane, or one scheme on any dense model.

Schemes are compressed-tensors presets: W4A16, W4A16_ASYM, W8A16, W8A8 (GPTQ), FP8, FP8_DYNAMIC.

  python scripts/03_quantize.py --lane lane01_gptq_w4a16
  python scripts/03_quantize.py --input-model ./sft --output ./sft-w4 --scheme W4A16 --dampening 0.02
"""

from __future__ import annotations

from typing import get_args

from lanekit.commands import adhoc, cli
from lanekit.errors import InputError, did_you_mean
from lanekit.plan.planner import Planner
from lanekit.spec.lane_file import select_lanes
from lanekit.spec.params import Fp8Scheme, GptqScheme
from lanekit.spec.preflight import check_lanes

SCHEMES = {
    **dict.fromkeys(get_args(GptqScheme), "gptq"),
    **dict.fromkeys(get_args(Fp8Scheme), "fp8"),
}


def main() -> int:
    """Make one quantized model."""
    parser = cli.make_parser(__doc__)
    choice = parser.add_mutually_exclusive_group(required=True)
    choice.add_argument("--lane", help="a lane, by name or number: its whole chain is run")
    choice.add_argument("--scheme", help="the scheme for --input-model: " + ", ".join(SCHEMES))
    parser.add_argument("--dampening", type=float, metavar="F", help="GPTQ's dampening fraction, e.g. 0.01")
    adhoc.add_model_options(parser)
    adhoc.add_source_option(parser)
    args = parser.parse_args()
    if args.scheme and args.scheme not in SCHEMES:
        hint = did_you_mean(args.scheme, SCHEMES)
        raise InputError(f"unknown scheme '{args.scheme}'{hint}", remedy="one of " + ", ".join(SCHEMES))
    if args.lane and (args.input_model or args.dampening is not None or args.overrides):
        raise InputError(
            "a lane's model and parameters stand in its file",
            remedy="leave --input-model, --dampening and --set out, or give --scheme in place of --lane",
        )
    experiment, lanes = cli.load_inputs(args, lambda e: adhoc.replace_sources(e, args.sources))
    if args.lane:
        lane = select_lanes(lanes, [args.lane])[0]
        check_lanes(experiment, [lane])
        name, stages = lane.name, [(s.type.name, s.params) for s in lane.stages]
    else:
        name, stage = f"quantize-{args.scheme.lower()}", SCHEMES[args.scheme]
        if stage == "fp8" and args.dampening:
            raise InputError("--dampening belongs to GPTQ; FP8 has none", remedy="leave --dampening out")
        fixed = {"scheme": args.scheme, "dampening": args.dampening}
        defaults = cli.read_stage_defaults(args, stage)
        stages = [(stage, adhoc.make_params(stage, defaults, args.overrides, **fixed))]
    with cli.open_session(args, experiment) as session:
        planner = Planner(experiment, session.engine, session.lock_digests)
        start = adhoc.add_input_model(planner, args.input_model)
        chain = planner.add_chain(start, stages)
        planner.add_lane(name, name, "", start, chain, baseline=None)
        folder = adhoc.run_to_model(session, planner.plan, name, args.output)
        session.console.print(f"model: {folder}", highlight=False, soft_wrap=True)
    return 0


if __name__ == "__main__":
    cli.run_main(main)
