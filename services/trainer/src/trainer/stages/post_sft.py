"""Post-SFT: train the norm weights of a (quantized) model; every other tensor stays, bit for bit."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

import torch
from transformers import Trainer

from lanekit.files.finite_weights import check_written_model
from lanekit.files.model_folder import WEIGHT_INDEX, carry_files, write_report
from lanekit.files.safetensors_header import check_model_folder
from lanekit.progress import Progress
from lanekit.spec.params import PostSftParams
from trainer.models.dense import choose_device, load_tokenizer
from trainer.models.packed import (
    compare_tensors,
    hash_tensors,
    load_as_dense,
    read_tensors,
    rewrite_tensors,
)
from trainer.models.rounding import RoundedUpdate, round_update
from trainer.models.training import (
    LOWER_THE_RATE,
    PadCollator,
    ReportCallback,
    load_datasets,
    make_arguments,
    measure_loss,
    train_measured,
)

MOST = 0.5
RAISE_STEPS = "Raise steps or learning_rate of post_sft in the experiment file"
TRAINED_SUFFIX = "norm.weight"


def run(spec: PostSftParams, inputs: Mapping[str, Path], out: Path, progress: Progress) -> None:
    """Train on an unpacked float32 copy, then rewrite only the norms of the stored checkpoint.

    The norms are rounded to their stored dtype by chance, seeded: to the nearest, updates below half a step
    were lost, and with them what was trained (`models.rounding`). The loss on record is of what is written.

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
        trained_loss = report["validation_loss_after"]
        norms = {name: p for name, p in model.named_parameters() if name in trained}
        update = round_update(norms, read_tensors(source, trained), spec.seed)
        with torch.no_grad():
            for name, rounded in update.tensors.items():
                norms[name].copy_(rounded)
        written_loss = measure_loss(trainer, "after rounding", LOWER_THE_RATE)
    before = hash_tensors(source)
    rewrite_tensors(source, out, update.tensors)
    changed = compare_tensors(before, hash_tensors(out), trained)
    for name in ("config.json", WEIGHT_INDEX):
        if (source / name).is_file():
            shutil.copy2(source / name, out / name)
    carry_files(source, out)
    check_written_model(out, LOWER_THE_RATE)
    report |= {
        "validation_loss_after": written_loss,
        "validation_loss_before_rounding": trained_loss,
        "notes": [*data.notes, *describe_update(update, report["validation_loss_before"], written_loss)],
    }
    write_report(
        out,
        norms=len(trained),
        norms_changed=len(changed),
        tensors_bit_identical=len(before) - len(changed),
        weights_trained=update.n_trained,
        weights_changed_by_training=update.n_changed,
        updates_lost_share=update.lost_share,
        updates_lost_share_to_nearest=update.lost_share_to_nearest,
        **report,
    )


def describe_update(update: RoundedUpdate, loss_before: float, loss_after: float) -> list[str]:
    """Return notes where training changed nothing that is stored, lost most of it, or helped nothing."""
    if update.n_lost == update.n_changed:
        return [
            f"post_sft changed nothing: training moved {update.n_changed} of {update.n_trained} weights, "
            f"and each has its old value once stored: the model is the one that went in. {RAISE_STEPS}"
        ]
    notes = []
    if update.lost_share > MOST:
        notes.append(
            f"post_sft: {update.lost_share:.1%} of the norm weights that training moved have their old value "
            f"once they are stored. {RAISE_STEPS}"
        )
    if loss_after >= loss_before:
        notes.append(
            f"post_sft: the validation loss of what is stored is {loss_after:.4f}, and was {loss_before:.4f} "
            "before training: it helped nothing"
        )
    return notes
