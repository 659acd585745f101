"""Knowledge distillation: the pruned model learns the unpruned one's next-token distribution."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional
from transformers import Trainer

from lanekit.errors import InputError
from lanekit.files.model_folder import write_report
from lanekit.progress import Progress
from lanekit.spec.params import DistillParams
from trainer.models.dense import choose_device, load_dense, load_tokenizer, save_dense
from trainer.models.training import (
    LOWER_THE_RATE,
    PadCollator,
    ReportCallback,
    load_datasets,
    make_arguments,
    train_measured,
)


def compute_distillation_loss(
    student: torch.Tensor, teacher: torch.Tensor, mask: torch.Tensor, temperature: float
) -> torch.Tensor:
    """Return T²·KL(teacher ‖ student), averaged over the tokens in `mask` (Hinton et al. 2015).

    Args:
        student: logits, (batch, length, vocabulary).
        teacher: logits of the same shape.
        mask: (batch, length), true where a token counts.
    """
    student_log = functional.log_softmax(student[mask].float() / temperature, dim=-1)
    teacher_log = functional.log_softmax(teacher[mask].float() / temperature, dim=-1)
    divergence = functional.kl_div(student_log, teacher_log, log_target=True, reduction="batchmean")
    return divergence * temperature**2


class DistillTrainer(Trainer):
    """The Hugging Face trainer with a teacher."""

    def __init__(self, *args: Any, teacher: Any, spec: DistillParams, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.teacher = teacher
        self.spec = spec
        # The loss is a mean over tokens already: the trainer must divide it by the accumulation steps.
        self.model_accepts_loss_kwargs = False

    def compute_loss(self, model: Any, inputs: Any, return_outputs: bool = False, **_: Any) -> Any:
        """Return the weighted sum of the divergence and, where asked for, the cross entropy."""
        with torch.no_grad():
            teacher = self.teacher(
                input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"], use_cache=False
            )
        weight = self.spec.cross_entropy_weight
        asked = {name: value for name, value in inputs.items() if weight or name != "labels"}
        outputs = model(**asked, use_cache=False)
        mask = inputs["attention_mask"].bool()
        loss = compute_distillation_loss(outputs.logits, teacher.logits, mask, self.spec.temperature)
        if weight:
            loss = (1 - weight) * loss + weight * outputs.loss
        return (loss, outputs) if return_outputs else loss


def run(spec: DistillParams, inputs: Mapping[str, Path], out: Path, progress: Progress) -> None:
    """Distil the base model (`teacher`) into the lane's model.

    Raises:
        InputError: a model is not dense, the vocabularies differ, or no sample fits.
        DivergedError: the loss is not finite.
        NonFiniteWeightsError: the student's weights are not.
    """
    device = choose_device(spec.device)
    tokenizer = load_tokenizer(inputs["model"])
    student = load_dense(inputs["model"], device, torch.float32)
    teacher_dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    teacher = load_dense(inputs["teacher"], device, teacher_dtype).eval()
    if teacher.config.vocab_size != student.config.vocab_size:
        raise InputError(
            f"teacher and student have different vocabularies: "
            f"{teacher.config.vocab_size} and {student.config.vocab_size} tokens",
            remedy="give --teacher the model that the student was pruned from",
        )
    data = load_datasets(tokenizer, inputs["corpus"], spec.max_length)
    callback = ReportCallback(progress, "distillation")
    with tempfile.TemporaryDirectory(dir=out.parent) as work:
        trainer = DistillTrainer(
            model=student,
            teacher=teacher,
            spec=spec,
            args=make_arguments(
                spec,
                Path(work),
                device,
                prediction_loss_only=True,
            ),
            train_dataset=data.train,
            eval_dataset=data.validation,
            data_collator=PadCollator(tokenizer.pad_token_id),
            callbacks=[callback],
        )
        report = train_measured(trainer, callback, spec, data)
    save_dense(student, inputs["model"], out, LOWER_THE_RATE)
    write_report(out, **report)
