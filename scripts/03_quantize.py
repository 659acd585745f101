"""Quantize: the whole chain of one lane, or one scheme on any dense model.

Schemes are compressed-tensors presets: W4A16, W4A16_ASYM, W8A16, W8A8 (GPTQ, or rounded with --round), FP8,
FP8_DYNAMIC.

  python scripts/03_quantize.py --lane lane01_gptq_w4a16
  python scripts/03_quantize.py --input-model ./sft --output ./sft-w4 --scheme W4A16 --dampening 0.02
  python scripts/03_quantize.py --output ./w8a8 --scheme W8A8 --round
  python scripts/03_quantize.py --output ./kv8 --scheme FP8 --set format=modelopt --set kv_cache=fp8
"""

from __future__ import annotations

from typing import get_args

from lanekit.commands import adhoc, cli
from lanekit.commands.preflight import Asked, read_inputs
from lanekit.errors import InputError, did_you_mean
from lanekit.plan.planner import Planner
from lanekit.spec.quantization import Fp8Scheme, GptqScheme, RoundScheme

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
    parser.add_argument("--round", action="store_true", help="round to nearest, without data, not by GPTQ")
    adhoc.add_model_options(parser)
    adhoc.add_source_option(parser)
    args = parser.parse_args()
    if args.scheme and args.scheme not in SCHEMES:
        hint = did_you_mean(args.scheme, SCHEMES)
        raise InputError(f"unknown scheme '{args.scheme}'{hint}", remedy="one of " + ", ".join(SCHEMES))
    if args.lane and (
        args.input_model is not None or args.dampening is not None or args.round or args.overrides
    ):
        raise InputError(
            "a lane's model and parameters stand in its file",
            remedy="leave --input-model, --dampening and --set out, or take --scheme instead of --lane",
        )
    inputs = read_inputs(args.experiment, lambda e: adhoc.replace_sources(e, args.sources))
    if args.lane:
        lanes = inputs.choose_lanes([args.lane])
    else:
        name, stage = f"quantize-{args.scheme.lower()}", SCHEMES[args.scheme]
        if stage == "fp8" and args.dampening is not None:
            raise InputError("--dampening belongs to GPTQ; FP8 has none", remedy="leave --dampening out")
        if args.round:
            stage = _choose_rounding(args.scheme, args.dampening)
        fixed = {"scheme": args.scheme, "dampening": args.dampening}
        defaults = cli.read_stage_defaults(args, stage)
        stages = [(stage, adhoc.make_params(stage, defaults, args.overrides, **fixed))]
        lanes = [adhoc.make_lane(name, f"--scheme {args.scheme}", stages)]
    experiment = cli.prepare_inputs(args, inputs, Asked(lanes, model=adhoc.find_model(args.input_model)))
    name, stages = lanes[0].name, [(stage.type.name, stage.params) for stage in lanes[0].stages]
    with cli.open_session(args, experiment) as session:
        planner = Planner(experiment, session.engine, session.lock_digests)
        start = adhoc.add_input_model(planner, args.input_model)
        chain = planner.add_chain(start, stages)
        planner.add_lane(name, name, "", start, chain, baseline=None)
        folder = adhoc.run_to_model(session, planner.plan, name, args.output)
        session.console.print(f"model: {folder}", highlight=False, soft_wrap=True)
    return 0


def _choose_rounding(scheme: str, dampening: float | None) -> str:
    """Return the stage that rounds.

    Raises:
        InputError: the scheme is FP8's, or dampening is asked for.
    """
    if scheme not in get_args(RoundScheme):
        message = "--round belongs to the integer schemes; FP8 rounds anyway"
        raise InputError(message, remedy="leave --round out")
    if dampening is not None:
        raise InputError("--dampening belongs to GPTQ; rounding has none", remedy="leave one of them out")
    return "round"


if __name__ == "__main__":
    cli.run_main(main)
