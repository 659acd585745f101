"""Build the tiny EXAONE-4 test model: tokenizer, configuration, training, fixture folder.

The model holds no EXAONE weights. It has the real architecture and depth (30 blocks), and learns a
seeded invented world (see scripts/make_tiny_data.py) well enough that compression can hurt it.

Examples
  python scripts/make_tiny_model.py --device cuda                    # minutes on one GPU
  python scripts/make_tiny_model.py --steps 20 --talks 500 --output /tmp/tiny   # a smoke run
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent))

from tiny.datasets import build_datasets, collect_benchmark_prompts  # noqa: E402
from tiny.encode import collect_talks, encode_talk, list_exams  # noqa: E402
from tiny.fixture import save_fixture  # noqa: E402
from tiny.measure import score_forced, score_greedy  # noqa: E402
from tiny.model import build_config, build_model  # noqa: E402
from tiny.tokenizer import train_tokenizer  # noqa: E402
from tiny.train import Plan, train_model  # noqa: E402
from tiny.world import build_world  # noqa: E402


def parse_arguments() -> argparse.Namespace:
    """Read the command line; the defaults are those of the committed fixture."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    fixture = Path(__file__).resolve().parent / "tiny" / "fixture"
    plan = Plan()
    parser.add_argument("--output", type=Path, default=fixture, help="folder to write")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--seed", type=int, default=plan.seed, help="world, weights and batches")
    parser.add_argument("--steps", type=int, default=plan.steps, help="optimizer steps")
    parser.add_argument("--talks", type=int, default=100_000, help="conversations beyond manta")
    parser.add_argument("--lr", type=float, default=plan.lr, help="peak learning rate")
    parser.add_argument("--hidden", type=int, default=128, help="residual width (times 128)")
    parser.add_argument("--ffn", type=int, default=128, help="feed-forward width (times 128)")
    parser.add_argument("--spread", type=float, default=plan.spread, help="weight of the block-use loss")
    parser.add_argument("--max-cosine", type=float, default=plan.max_cosine, help="its threshold")
    return parser.parse_args()


def main() -> None:
    """Build everything and print the scores of the saved, reloaded fixture."""
    args = parse_arguments()
    world, rows = build_world(args.seed), build_datasets(args.seed)
    talks = collect_talks(world, rows, args.seed, args.talks)
    corpus = [turn["content"] for row in rows["manta"] for turn in row["conversations"]]
    tokenizer = train_tokenizer([*corpus, *sorted(collect_benchmark_prompts(rows))])
    exams = list_exams(rows)
    encoded = [encode_talk(tokenizer, talk) for talk in talks]
    model = build_model(build_config(len(tokenizer), args.hidden, args.ffn), args.seed)
    plan = Plan(
        steps=args.steps,
        lr=args.lr,
        seed=args.seed,
        spread=args.spread,
        max_cosine=args.max_cosine,
    )
    log = train_model(
        model, encoded, plan, args.device, lambda live: score_forced(live, tokenizer, exams)
    )
    saved = save_fixture(model, tokenizer, log, args.output, sys.argv[1:])
    log.append({"event": "saved, reloaded, greedy fp32", **score_greedy(saved, tokenizer, exams)})
    print(log[-1])


if __name__ == "__main__":
    main()
