"""Post-SFT: train the norm weights of a (quantized) model; every other tensor stays, bit for bit."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from transformers import Trainer

from lanekit.files.finite_weights import check_written_model
from lanekit.files.model_folder import WEIGHT_INDEX, carry_files, write_report
from lanekit.files.safetensors_header import check_model_folder
from lanekit.progress import Progress
from lanekit.spec.params import PostSftParams
from trainer.models.dense import choose_device, load_tokenizer
from trainer.models.packed import compare_tensors, hash_tensors, load_as_dense, rewrite_tensors
from trainer.models.training import (
    LOWER_THE_RATE,
    PadCollator,
    ReportCallback,
    load_datasets,
    make_arguments,
    train_measured,
)

TRAINED_SUFFIX = "norm.weight"


def run(spec: PostSftParams, inputs: Mapping[str, Path], out: Path, progress: Progress) -> None:
    """Train on an unpacked float32 copy, then rewrite only the norms of the stored checkpoint.

    Saving the unpacked model would store weights twice (W4A16) or corrupt them (FP8), so it never is.

    Raises:
        InputError: the checkpoint is truncated or stores a tied head, or no sample fits.
        TensorsChangedError: a tensor other than a norm would change.
        DivergedError: the loss is not finite.
        NonFiniteWeightsError: the norms are not.
    """
    source = inputs["model"]
    check_model_folder(source)
    device = choose_device(spec.device)
    tokenizer = load_tokenizer(source)
    model = load_as_dense(source, device)
    trained = {n for n, _ in model.named_parameters() if n.endswith(TRAINED_SUFFIX)}
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in trained)
    data = load_datasets(tokenizer, inputs["corpus"], spec.max_length)
    callback = ReportCallback(progress, "training the norms")
    with tempfile.TemporaryDirectory(dir=out.parent) as work:
        trainer = Trainer(
            model=model,
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
    before = hash_tensors(source)
    rewrite_tensors(source, out, {n: p for n, p in model.named_parameters() if n in trained})
    changed = compare_tensors(before, hash_tensors(out), trained)
    for name in ("config.json", WEIGHT_INDEX):
        if (source / name).is_file():
            shutil.copy2(source / name, out / name)
    carry_files(source, out)
    check_written_model(out, LOWER_THE_RATE)
    write_report(
        out,
        norms=len(trained),
        norms_changed=len(changed),
        tensors_bit_identical=len(before) - len(changed),
        **report,
    )
