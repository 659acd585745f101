"""LoRA supervised fine-tuning with trl and peft, merged into the weights."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

import torch
from datasets import Dataset
from peft import LoraConfig
from trl import SFTConfig, SFTTrainer

from lanekit.conversations import encode_corpus
from lanekit.modelfiles import write_report
from lanekit.params import SftParams
from lanekit.progress import Progress
from trainer.models import choose_device, load_dense, load_tokenizer, save_dense
from trainer.training import PadCollator, ReportCallback, make_arguments


def run(spec: SftParams, inputs: Mapping[str, Path], out: Path, progress: Progress) -> None:
    """Train adapters on the answers of the corpus, merge and save.

    Raises:
        InputError: the model is not dense, or no sample fits.
        DivergedError: the loss is not finite.
    """
    device = choose_device(spec.device)
    tokenizer = load_tokenizer(inputs["model"])
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    model = load_dense(inputs["model"], device, dtype)
    samples = encode_corpus(tokenizer, inputs["corpus"] / "train.jsonl", spec.max_length)
    validation = encode_corpus(tokenizer, inputs["corpus"] / "validation.jsonl", spec.max_length)
    callback = ReportCallback(progress, "LoRA SFT")
    with tempfile.TemporaryDirectory(dir=out.parent) as work:
        trainer = SFTTrainer(
            model=model,
            args=make_arguments(
                spec, Path(work), device, SFTConfig,
                max_length=None, packing=False, eval_strategy="no",
                dataset_kwargs={"skip_prepare_dataset": True}, remove_unused_columns=False,
                per_device_eval_batch_size=spec.batch_size,
            ),
            train_dataset=Dataset.from_list(samples),
            eval_dataset=Dataset.from_list(validation),
            processing_class=tokenizer,
            data_collator=PadCollator(tokenizer.pad_token_id),
            peft_config=LoraConfig(
                r=spec.lora_rank,
                lora_alpha=spec.lora_alpha,
                lora_dropout=spec.lora_dropout,
                target_modules=list(spec.target_modules),
                task_type="CAUSAL_LM",
            ),
            callbacks=[callback],
        )  # fmt: skip
        progress(0, spec.steps, "measuring the loss before training")
        loss_before = trainer.evaluate()["eval_loss"]
        trainer.train()
        loss_after = trainer.evaluate()["eval_loss"]
        merged = trainer.model.merge_and_unload()
    save_dense(merged, inputs["model"], out)
    write_report(
        out,
        samples=len(samples),
        loss_curve=callback.curve,
        validation_loss_before=loss_before,
        validation_loss_after=loss_after,
        device=str(device),
    )
