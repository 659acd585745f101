"""Build the tiny EXAONE-4 test model: tokenizer, configuration, training, fixture folder.

The model holds no EXAONE weights. It has the real architecture and depth (30 blocks), and learns a
seeded invented world (see scripts/make_tiny_data.py). Two stages: training from random weights,
for which a GPU is wanted, and a short sharpening that makes every block needed, for which one CPU
core is enough. The defaults are those of the committed fixture.

Examples
  python scripts/make_tiny_model.py --output /tmp/tiny --steps 9000          # both stages; see TRAINING.md
  python scripts/make_tiny_model.py --stage train --output /tmp/plain        # the first alone
  python scripts/make_tiny_model.py --stage sharpen --start /tmp/plain --output /tmp/tiny
  python scripts/make_tiny_model.py --steps 3 --talks 500 --sharpen-steps 1 --output /tmp/smoke
"""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path

import torch

from tiny.datasets import build_datasets, collect_benchmark_prompts
from tiny.encode import collect_talks, encode_talks, list_exams
from tiny.fixture import load_fixture, read_log, save_fixture, write_log
from tiny.measure import score_forced, score_greedy
from tiny.model import build_config, build_model
from tiny.sharpen import SharpenPlan, sharpen_model
from tiny.tokenizer import train_tokenizer
from tiny.train import Plan, train_model
from tiny.world import build_world


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    plan, sharp = Plan(), SharpenPlan()
    add = parser.add_argument
    add("--output", type=Path, required=True, metavar="DIR", help="fixture folder to write")
    add("--stage", choices=("both", "train", "sharpen"), default="both", help="what to run")
    add("--start", type=Path, metavar="DIR", help="trained folder to sharpen (--stage sharpen)")
    add("--device", default="cuda" if torch.cuda.is_available() else "cpu", help="cuda or cpu")
    add("--hardware", default="", metavar="TEXT", help="words on the machine for TRAINING.md")
    add("--seed", type=int, default=plan.seed, help="of world, weights and batches")
    add("--steps", type=int, default=plan.steps, help="optimizer steps of the first stage")
    add("--talks", type=int, default=150_000, help="training conversations beyond manta")
    add("--lr", type=float, default=plan.lr, help="peak learning rate of the first stage")
    add("--ffn", type=int, default=128, help="feed-forward width, a multiple of 128")
    add("--sharpen-steps", type=int, default=sharp.steps, help="steps of the second stage")
    add("--sharpen-lr", type=float, default=sharp.lr, help="learning rate of the second stage")
    add("--no-graph", action="store_true", help="do not capture a CUDA graph (slower)")
    args = parser.parse_args()
    if (args.stage == "sharpen") != (args.start is not None):
        parser.error("--start goes with --stage sharpen, and only with it")
    return args


def main() -> None:
    """Run the stages, save the fixture, and print the scores of what loads back."""
    args = parse_arguments()
    world, rows = build_world(args.seed), build_datasets(args.seed)
    talks = collect_talks(world, rows, args.seed, args.talks)
    exams = list_exams(rows)
    command = {"event": "command", "line": "python " + shlex.join(sys.argv)}
    command |= {"hardware": args.hardware, "torch": torch.__version__}
    log = [*(read_log(args.start) if args.start else []), command]
    if args.stage == "sharpen":
        model, tokenizer = load_fixture(args.start)
        model.to(args.device)
    else:
        corpus = [turn["content"] for row in rows["manta"] for turn in row["conversations"]]
        tokenizer = train_tokenizer([*corpus, *sorted(collect_benchmark_prompts(rows))])
        encoded = encode_talks(tokenizer, talks)
        model = build_model(build_config(len(tokenizer), ffn=args.ffn), args.seed)
        plan = Plan(steps=args.steps, lr=args.lr, seed=args.seed, graph=not args.no_graph)
        log += train_model(
            model, encoded, plan, args.device, lambda live: score_forced(live, tokenizer, exams)
        )
    if args.stage != "train":
        sharp = SharpenPlan(steps=args.sharpen_steps, lr=args.sharpen_lr, seed=args.seed)
        log += sharpen_model(model, tokenizer, talks, sharp)
    saved = save_fixture(model, tokenizer, args.output)
    log.append({"event": "saved, reloaded, greedy", **score_greedy(saved, tokenizer, exams)})
    write_log(args.output, log)
    print(log[-1])


if __name__ == "__main__":
    main()
