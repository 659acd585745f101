"""The training loop: fixed-shape batches in two lengths, AdamW, warm-up, plateau and decay."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass

import torch
from torch.nn import functional as F
from transformers import Exaone4ForCausalLM

from .encode import IGNORED, stack_rows
from .tokenizer import PAD_ID

SHORT, LONG = 64, 128
Batch = tuple[torch.Tensor, torch.Tensor]


@dataclass(frozen=True)
class Plan:
    """How long and how hard to train.

    `reading` weighs the loss on the tokens of the prompts (the answers weigh 1). Two terms make the
    model worth compressing, so that damage shows. `floor`: an answer token whose loss is below it
    teaches nothing more, so that the margins stay as thin as those of a real model. `spread`
    weighs a loss that asks every block to turn the residual stream: the mean over blocks of how
    far the cosine between a block's input and output exceeds `max_cosine`.
    """

    steps: int = 3600
    short_batch: int = 224
    long_batch: int = 80
    lr: float = 2e-3
    warmup: int = 200
    decay_from: float = 0.7
    weight_decay: float = 0.05
    reading: float = 0.2
    floor: float = 0.1
    spread: float = 1.0
    spread_rows: int = 32
    max_cosine: float = 0.9
    seed: int = 42
    graph: bool = True
    report_every: int = 250


def draw_batches(rows: list[tuple[list, list]], plan: Plan, device: str) -> Iterator[tuple[Batch, Batch]]:
    """Yield, for each step, one batch of short rows and one of long rows, reshuffled each round."""
    short = stack_rows([row for row in rows if len(row[0]) <= SHORT], SHORT)
    long = stack_rows([row for row in rows if SHORT < len(row[0]) <= LONG], LONG)
    return zip(
        _cycle_rows(*short, plan.short_batch, plan.seed, device),
        _cycle_rows(*long, plan.long_batch, plan.seed, device),
        strict=True,
    )


def _cycle_rows(
    ids: torch.Tensor, labels: torch.Tensor, size: int, seed: int, device: str
) -> Iterator[Batch]:
    ids, labels = ids.to(device), labels.to(device)
    generator = torch.Generator().manual_seed(seed)
    while True:
        order = torch.randperm(len(ids), generator=generator).to(device)
        for start in range(0, len(order) - size + 1, size):
            chosen = order[start : start + size]
            yield ids[chosen].long(), labels[chosen].long()


def run_blocks(model: Exaone4ForCausalLM, ids: torch.Tensor, plan: Plan) -> tuple[torch.Tensor, torch.Tensor]:
    """Run the decoder on right-padded ids; return its logits and the mean excess cosine."""
    body = model.model
    hidden = body.embed_tokens(ids)
    positions = torch.arange(ids.shape[1], device=ids.device)[None]
    rotary = body.rotary_emb(hidden, positions)
    excess = torch.zeros((), device=ids.device)
    for layer in body.layers:
        before = hidden
        hidden = layer(before, position_ids=positions, position_embeddings=rotary)
        if plan.spread:
            pair = before[: plan.spread_rows].float(), hidden[: plan.spread_rows].float()
            excess = excess + F.relu(F.cosine_similarity(*pair, dim=-1) - plan.max_cosine).mean()
    return model.lm_head(body.norm(hidden)), excess / len(body.layers)


def compute_loss(model: Exaone4ForCausalLM, batch: Batch, plan: Plan) -> tuple[torch.Tensor, ...]:
    """Return the full loss of a batch, and its answer loss alone."""
    ids, labels = batch
    on_gpu = ids.is_cuda
    with torch.autocast("cuda" if on_gpu else "cpu", torch.bfloat16, enabled=on_gpu):
        logits, excess = run_blocks(model, ids, plan)
    targets = ids[:, 1:].flatten()
    each = F.cross_entropy(logits[:, :-1].float().flatten(0, 1), targets, reduction="none")
    answers = (labels[:, 1:] != IGNORED).flatten()
    reading = (targets != PAD_ID) & ~answers
    answer_loss = (each * answers).sum() / answers.sum()
    to_learn = (F.relu(each - plan.floor) * answers).sum() / answers.sum()
    reading_loss = (each * reading).sum() / reading.sum()
    return to_learn + plan.reading * reading_loss + plan.spread * excess, answer_loss


class Stepper:
    """One optimizer step, replayed as a CUDA graph on a GPU (thirty thin blocks are launch-bound).

    `lr` is a tensor so that the schedule reaches the captured optimizer.
    """

    def __init__(self, model: Exaone4ForCausalLM, plan: Plan, first: tuple[Batch, Batch]) -> None:
        self.model, self.plan = model, plan
        self.on_gpu = first[0][0].is_cuda
        self.lr = torch.tensor(0.0, device=first[0][0].device)
        self.optimizer = _build_optimizer(model, plan, self.lr, self.on_gpu)
        self.inputs = [tuple(part.clone() for part in batch) for batch in first]
        self.outputs: tuple[torch.Tensor, ...] = ()
        self.graph: torch.cuda.CUDAGraph | None = None
        if self.on_gpu and plan.graph:
            self._capture()

    def _capture(self) -> None:
        torch.set_float32_matmul_precision("high")
        layers = self.model.model.layers
        for layer in layers:
            layer.compile()
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(3):  # lr is 0 here: compiles and warms up, changes nothing
                self._run()
        torch.cuda.current_stream().wait_stream(side)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            self._run()
        for layer in layers:  # evaluation runs plain modules
            layer._compiled_call_impl = None

    def _run(self) -> None:
        self.optimizer.zero_grad(set_to_none=True)
        pairs = [compute_loss(self.model, batch, self.plan) for batch in self.inputs]
        sum(total for total, _ in pairs).backward()
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.outputs = (*(answer.detach() for _, answer in pairs), norm.detach())

    def advance(self, batches: tuple[Batch, Batch], lr: float) -> None:
        """Take one step at the given learning rate."""
        self.lr.fill_(lr)
        for mine, new in zip(self.inputs, batches, strict=True):
            for target, source in zip(mine, new, strict=True):
                target.copy_(source)
        if self.graph is None:
            self._run()
        else:
            self.graph.replay()


def train_model(
    model: Exaone4ForCausalLM,
    rows: list[tuple[list, list]],
    plan: Plan,
    device: str,
    examine: Callable[[Exaone4ForCausalLM], dict[str, float]],
) -> list[dict]:
    """Train in place and return the log: one entry every `report_every` steps."""
    model.to(device).train()
    batches = draw_batches(rows, plan, device)
    stepper = Stepper(model, plan, next(batches))
    log: list[dict] = [{"event": "plan", **asdict(plan), "rows": len(rows), "device": device}]
    began = time.time()
    for step in range(1, plan.steps + 1):
        stepper.advance(next(batches), plan.lr * _schedule(step, plan))
        if step % plan.report_every == 0 or step in (1, plan.steps):
            short, long, norm = (value.item() for value in stepper.outputs)
            entry = {
                "step": step,
                "seconds": round(time.time() - began, 1),
                "loss_short": round(short, 4),
                "loss_long": round(long, 4),
                "grad_norm": round(norm, 3),
                **examine(model),
            }
            model.train()
            print(entry, flush=True)
            log.append(entry)
    return log


def _build_optimizer(
    model: Exaone4ForCausalLM, plan: Plan, lr: torch.Tensor, on_gpu: bool
) -> torch.optim.AdamW:
    matrices = [p for p in model.parameters() if p.ndim > 1]
    scales = [p for p in model.parameters() if p.ndim == 1]
    groups = [
        {"params": matrices, "weight_decay": plan.weight_decay},
        {"params": scales, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(
        groups, lr=lr, betas=(0.9, 0.98), fused=True if on_gpu else None, capturable=on_gpu
    )


def _schedule(step: int, plan: Plan) -> float:
    """Warm up linearly, hold the peak, then follow half a cosine down to 2 % of it."""
    if step <= plan.warmup:
        return step / plan.warmup
    start = plan.decay_from * plan.steps
    done = min(1.0, max(0.0, (step - start) / max(1.0, plan.steps - start)))
    return 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * done))
