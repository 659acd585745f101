"""LoRA supervised fine-tuning with trl and peft, merged into the weights."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

import torch
from peft import LoraConfig
from trl import SFTConfig, SFTTrainer

from lanekit.files.model_folder import write_report
from lanekit.progress import Progress
from lanekit.spec.params import SftParams
from trainer.models.dense import choose_device, load_dense, load_tokenizer, save_dense
from trainer.models.training import (
    LOWER_THE_RATE,
    PadCollator,
    ReportCallback,
    load_datasets,
    make_arguments,
    train_measured,
)


def run(spec: SftParams, inputs: Mapping[str, Path], out: Path, progress: Progress) -> None:
    """Train adapters on the answers of the corpus, merge and save.

    Raises:
        InputError: the model is not dense, or no sample fits.
        DivergedError: the loss is not finite.
        NonFiniteWeightsError: the merged weights are not.
    """
    device = choose_device(spec.device)
    tokenizer = load_tokenizer(inputs["model"])
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    model = load_dense(inputs["model"], device, dtype)
    data = load_datasets(tokenizer, inputs["corpus"], spec.max_length)
    callback = ReportCallback(progress, "LoRA SFT")
    with tempfile.TemporaryDirectory(dir=out.parent) as work:
        trainer = SFTTrainer(
            model=model,
            args=make_arguments(
                spec, Path(work), device, SFTConfig,
                max_length=None, packing=False, eval_strategy="no",
                dataset_kwargs={"skip_prepare_dataset": True}, remove_unused_columns=False,
            ),
            train_dataset=data.train,
            eval_dataset=data.validation,
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
        report = train_measured(trainer, callback, spec, data)
        merged = trainer.model.merge_and_unload()
    save_dense(merged, inputs["model"], out, LOWER_THE_RATE)
    write_report(out, **report)
