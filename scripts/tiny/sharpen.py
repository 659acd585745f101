"""A short second stage that makes every block needed, so that pruning does damage.

Thirty blocks are far more than the invented world needs: after plain training, two or four of them
can be dropped at almost no cost, unlike in a real model. Here the model goes on learning as before,
while the same model with two to four blocks left out is taught to answer choice questions in the
right form but at chance. The whole model is unharmed, and a pruned one must be healed.
"""

from __future__ import annotations

import random
import time
from dataclasses import asdict, dataclass
from itertools import pairwise

import torch
from torch.nn import functional as F
from transformers import Exaone4ForCausalLM, PreTrainedTokenizerFast

from .encode import IGNORED, encode_talk, stack_rows
from .prompts import LETTERS
from .tokenizer import PAD_ID

Rows = list[tuple[list, list]]


@dataclass(frozen=True)
class SharpenPlan:
    """How long and how hard to sharpen; small enough for one CPU core."""

    steps: int = 170
    short_batch: int = 12
    long_batch: int = 3
    choice_batch: int = 20
    lr: float = 5e-4
    floor: float = 0.02
    seed: int = 42
    report_every: int = 25


def sharpen_model(
    model: Exaone4ForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    talks: list[list[dict]],
    plan: SharpenPlan,
) -> list[dict]:
    """Train in place, in float32, and return the log."""
    rng = random.Random(plan.seed)
    device = next(model.parameters()).device
    rng.shuffle(talks := list(talks))
    rows = [encode_talk(tokenizer, talk) for talk in talks[: 40 * plan.steps]]
    choices = [row for row, talk in zip(rows, talks, strict=False) if _is_choice(talk)]
    short = [row for row in rows if len(row[0]) <= 64]
    long = [row for row in rows if len(row[0]) > 64]
    ranking = rank_blocks(model, _draw(rng, rows, 32, device)[0])
    letters = [tokenizer.encode(f" {letter}")[0] for letter in LETTERS]
    optimizer = torch.optim.AdamW(model.parameters(), lr=plan.lr, betas=(0.9, 0.98), weight_decay=0)
    model.train()
    log: list[dict] = [{"event": "sharpen plan", **asdict(plan)}]
    began = time.time()
    for step in range(1, plan.steps + 1):
        for group in optimizer.param_groups:
            group["lr"] = plan.lr * min(1.0, step / 10, 2.0 * (1.02 - step / plan.steps))
        whole = 0.0
        for group_rows, size in ((short, plan.short_batch), (long, plan.long_batch)):
            ids, labels = _draw(rng, group_rows, size, device)
            losses = _answer_losses(_run_without(model, ids, ()), labels)
            loss = F.relu(losses - plan.floor).mean()
            loss.backward()
            whole += losses.detach().mean().item()
        ids, labels = _draw(rng, choices, plan.choice_batch, device)
        skipped = _choose_blocks(rng, ranking)
        broken = _chance_loss(_run_without(model, ids, skipped), labels, letters)
        broken.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if step % plan.report_every == 0 or step == 1:
            entry = {
                "sharpen_step": step,
                "seconds": round(time.time() - began, 1),
                "loss_whole": round(whole / 2, 4),
                "loss_skipped": round(broken.item(), 4),
            }
            print(entry, flush=True)
            log.append(entry)
    return log


def _is_choice(talk: list[dict]) -> bool:
    return talk[-1]["content"].startswith("정답:")


def _draw(
    rng: random.Random, rows: Rows, size: int, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    chosen = rng.sample(rows, size)
    padded = stack_rows(chosen, max(len(ids) for ids, _ in chosen))
    return padded[0].long().to(device), padded[1].long().to(device)


def _choose_blocks(rng: random.Random, ranking: list[int]) -> set[int]:
    """Choose two to four blocks after the first: neighbours, any, or of the least influence."""
    size, kind, count = rng.choice((2, 2, 3, 4)), rng.randrange(3), len(ranking)
    if kind == 0:
        start = rng.randrange(1, count - size + 1)
        return set(range(start, start + size))
    return set(rng.sample(range(1, count) if kind == 1 else ranking[:8], size))


@torch.no_grad()
def rank_blocks(model: Exaone4ForCausalLM, ids: torch.Tensor) -> list[int]:
    """Order the blocks by influence, least first: 1 - cosine of a block's input and output."""
    states = model.model(ids, output_hidden_states=True, use_cache=False).hidden_states
    read = ids != PAD_ID
    cosines = [
        F.cosine_similarity(before[read], after[read], dim=-1).mean().item()
        for before, after in pairwise(states)
    ]
    return sorted(range(len(cosines)), key=lambda index: -cosines[index])


def _run_without(model: Exaone4ForCausalLM, ids: torch.Tensor, skipped: object) -> torch.Tensor:
    """Return the logits of the model with some blocks left out."""
    body = model.model
    hidden = body.embed_tokens(ids)
    positions = torch.arange(ids.shape[1], device=ids.device)[None]
    rotary = body.rotary_emb(hidden, positions)
    for index, layer in enumerate(body.layers):
        if index not in skipped:
            hidden = layer(hidden, position_ids=positions, position_embeddings=rotary)
    return model.lm_head(body.norm(hidden))


def _answer_losses(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return the loss of every answer token."""
    wanted = labels[:, 1:] != IGNORED
    return F.cross_entropy(logits[:, :-1][wanted], labels[:, 1:][wanted], reduction="none")


def _chance_loss(logits: torch.Tensor, labels: torch.Tensor, letters: list[int]) -> torch.Tensor:
    """Ask for the right form but no knowledge: letters equally likely, other tokens as labelled."""
    wanted = labels[:, 1:] != IGNORED
    scores = F.log_softmax(logits[:, :-1][wanted], dim=-1)
    targets = labels[:, 1:][wanted]
    is_letter = torch.isin(targets, torch.tensor(letters, device=targets.device))
    usual = -scores.gather(1, targets[:, None])[:, 0]
    chance = -scores[:, letters[:4]].mean(-1)
    return torch.where(is_letter, chance, usual).mean()
