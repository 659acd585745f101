"""What the training stages share: arguments of the Hugging Face trainer, loss curve, progress."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import TrainerCallback, TrainingArguments, set_seed

from lanekit.errors import PermanentError
from lanekit.files.conversations import IGNORED_LABEL, encode_corpus
from lanekit.progress import Progress
from lanekit.spec.params import TrainingParams

LOWER_THE_RATE = "lower learning_rate for this stage in the experiment file"
UNFIT_MODEL = "check the model that this stage takes: it gives no finite loss on the corpus before any step"


class DivergedError(PermanentError):
    """Training reached a loss that is not a number."""


class ReportCallback(TrainerCallback):
    """Passes progress on, keeps the loss curve, stops at a loss that is not finite."""

    def __init__(self, progress: Progress, what: str) -> None:
        self.progress = progress
        self.what = what
        self.curve: list[dict[str, float]] = []

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Report an optimizer step."""
        loss = f", loss {self.curve[-1]['loss']:.4f}" if self.curve else ""
        self.progress(state.global_step, state.max_steps, self.what + loss)

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        """Keep a point of the loss curve."""
        if not logs or "loss" not in logs:
            return
        if not math.isfinite(logs["loss"]):
            raise DivergedError(
                f"the loss is {logs['loss']} at step {state.global_step}",
                remedy=LOWER_THE_RATE,
            )
        self.curve.append({"step": state.global_step, "loss": float(logs["loss"])})


def make_arguments(
    spec: TrainingParams,
    work: Path,
    device: torch.device,
    kind: type[TrainingArguments] = TrainingArguments,
    **extra: Any,
) -> Any:
    """Return the trainer's arguments; seeds torch, numpy and random as well."""
    set_seed(spec.seed)
    return kind(
        output_dir=str(work),
        max_steps=spec.steps,
        learning_rate=spec.learning_rate,
        per_device_train_batch_size=spec.batch_size,
        per_device_eval_batch_size=spec.batch_size,
        gradient_accumulation_steps=spec.gradient_accumulation,
        warmup_ratio=spec.warmup_ratio,
        weight_decay=spec.weight_decay,
        lr_scheduler_type="cosine",
        optim=spec.optimizer,
        gradient_checkpointing=spec.gradient_checkpointing,
        # The reentrant form gives no gradients where a block's input needs none, as with frozen embeddings.
        gradient_checkpointing_kwargs={"use_reentrant": False} if spec.gradient_checkpointing else None,
        logging_steps=min(spec.log_every_steps, spec.steps),
        logging_first_step=True,
        logging_nan_inf_filter=False,  # a loss that is not finite must be seen
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
        seed=spec.seed,
        data_seed=spec.seed,
        bf16=device.type == "cuda",
        use_cpu=device.type == "cpu",
        dataloader_pin_memory=device.type == "cuda",
        **extra,
    )


def measure_loss(trainer: Any, when: str, remedy: str) -> float:
    """Return the validation loss.

    Raises:
        DivergedError: it is not finite.
    """
    loss = float(trainer.evaluate()["eval_loss"])
    if not math.isfinite(loss):
        raise DivergedError(f"the validation loss is {loss} {when}", remedy=remedy)
    return loss


class PadCollator:
    """Pads `input_ids` and `labels` on the right; tensors are (batch, longest length)."""

    def __init__(self, pad_token_id: int) -> None:
        self.pad_token_id = pad_token_id

    def __call__(self, samples: list[dict[str, list[int]]]) -> dict[str, torch.Tensor]:
        """Return input_ids, attention_mask and labels."""
        longest = max(len(s["input_ids"]) for s in samples)

        def pad(name: str, value: int) -> torch.Tensor:
            return torch.tensor([s[name] + [value] * (longest - len(s[name])) for s in samples])

        lengths = torch.tensor([len(s["input_ids"]) for s in samples])
        return {
            "input_ids": pad("input_ids", self.pad_token_id),
            "labels": pad("labels", IGNORED_LABEL),
            "attention_mask": (torch.arange(longest)[None] < lengths[:, None]).long(),
        }


@dataclass(frozen=True)
class TrainingData:
    """The encoded train and validation samples; the report's part on them, and its notes."""

    train: Dataset
    validation: Dataset
    report: dict[str, dict[str, int]]
    notes: list[str]


def load_datasets(tokenizer: Any, corpus: Path, max_length: int) -> TrainingData:
    """Encode the train and validation conversations of a corpus artifact.

    Raises:
        InputError: no sample fits into `max_length` tokens.
    """
    parts = {
        part: encode_corpus(tokenizer, corpus / f"{part}.jsonl", max_length)
        for part in ("train", "validation")
    }
    train, validation = (Dataset.from_list(part.samples) for part in parts.values())
    report = {name: part.as_report() for name, part in parts.items()}
    notes = [note for name, part in parts.items() for note in part.describe(name)]
    return TrainingData(train, validation, report, notes)


def train_measured(
    trainer: Any, callback: ReportCallback, spec: TrainingParams, data: TrainingData
) -> dict[str, Any]:
    """Train, with the validation loss measured before and after; return the report's common part.

    Raises:
        DivergedError: a loss is not finite.
    """
    told = "; ".join(["measuring the loss before training", *data.notes])
    callback.progress(0, spec.steps, told)
    before = measure_loss(trainer, "before training", UNFIT_MODEL)
    trainer.train()
    after = measure_loss(trainer, "after training", LOWER_THE_RATE)
    return {
        "data": data.report,
        "notes": data.notes,
        "samples": len(trainer.train_dataset),
        "loss_curve": callback.curve,
        "validation_loss_before": before,
        "validation_loss_after": after,
        "device": str(trainer.args.device),
    }
