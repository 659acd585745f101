"""Fine-tune one model: LoRA SFT, post-SFT of the norms, or (pruning and) knowledge distillation.

  sft       trl and peft; the adapters are merged into the weights
  post_sft  trains the norm weights of a quantized or dense model; every other tensor stays bit-identical
  kd        prunes to --keep-layers and distils from the input model; a model that is pruned already wants
            --teacher

Numbers come from the experiment file's stage_defaults; --set changes one for this run.

  python scripts/02_finetune_sft.py --mode sft --output ./sft
  python scripts/02_finetune_sft.py --mode post_sft --input-model ./w4a16 --output ./w4a16-post
  python scripts/02_finetune_sft.py --mode kd --keep-layers 28 --output ./kd28 --set steps=500
"""

from __future__ import annotations

from lanekit.commands import adhoc, cli
from lanekit.errors import InputError
from lanekit.plan.planner import Planner
from lanekit.spec.params import Parameters

STAGES = {"sft": "sft", "post_sft": "post_sft", "kd": "distill"}


def main() -> int:
    """Run one mode on one model."""
    parser = cli.make_parser(__doc__)
    parser.add_argument("--mode", required=True, choices=tuple(STAGES), help="what to do")
    parser.add_argument("--keep-layers", type=int, metavar="N", help="kd: prune to N layers first")
    parser.add_argument(
        "--teacher", metavar="MODEL", help="kd: the teacher (default with --keep-layers: the input model)"
    )
    adhoc.add_model_options(parser)
    adhoc.add_source_option(parser)
    args = parser.parse_args()
    if args.mode != "kd" and (args.keep_layers is not None or args.teacher):
        raise InputError(
            "--keep-layers and --teacher belong to --mode kd", remedy="leave them out, or give --mode kd"
        )
    if args.mode == "kd" and args.keep_layers is None and not args.teacher:
        raise InputError(
            "--mode kd would distil a model from itself",
            remedy="give --keep-layers N to prune first, or --teacher MODEL for a pruned model",
        )
    experiment, _ = cli.load_inputs(args, lambda e: adhoc.replace_sources(e, args.sources))
    stages: list[tuple[str, Parameters]] = []
    if args.keep_layers is not None:
        defaults = cli.read_stage_defaults(args, "prune")
        stages.append(("prune", adhoc.make_params("prune", defaults, [], keep_layers=args.keep_layers)))
    stage = STAGES[args.mode]
    stages.append((stage, adhoc.make_params(stage, cli.read_stage_defaults(args, stage), args.overrides)))
    with cli.open_session(args, experiment) as session:
        planner = Planner(experiment, session.engine, session.lock_digests)
        start = adhoc.add_input_model(planner, args.input_model)
        teacher = adhoc.add_input_model(planner, args.teacher) if args.teacher else None
        chain = planner.add_chain(start, stages, teacher)
        planner.add_lane(args.mode, args.mode, "", start, chain, baseline=None)
        folder = adhoc.run_to_model(session, planner.plan, args.mode, args.output)
        session.console.print(f"model: {folder}", highlight=False, soft_wrap=True)
    return 0


if __name__ == "__main__":
    cli.run_main(main)
